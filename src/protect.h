/*
 * protect.h
 *		Applications' tables that cauce.protect() made part of sessions.
 */
#ifndef CAUCE_PROTECT_H
#define CAUCE_PROTECT_H

#include "lib/stringinfo.h"
#include "utils/uuid.h"

/*
 * ProtectedErase appends to the JSON object in counts how many rows of each protected
 * table go with a session, whose row has been deleted: the foreign keys' cascade comes
 * next. Of a table that is still being adopted it deletes the rows itself, since the
 * cascade does not know all of them yet. Inside of an SpiScope.
 */
extern void ProtectedErase(const pg_uuid_t *account, const pg_uuid_t *session, StringInfo counts);

/*
 * ProtectedEraseAccount deletes all rows of an account and of its sessions, as the tables'
 * owners and with their triggers, and appends their numbers to the JSON object in counts.
 * Raises 09000 when some are there all the same. Inside of an SpiScope.
 */
extern void ProtectedEraseAccount(const pg_uuid_t *account, StringInfo counts);

/* ProtectedRefuseArchive raises 0A000 when a protected table has rows of the session. Inside of an SpiScope. */
extern void ProtectedRefuseArchive(const pg_uuid_t *account, const pg_uuid_t *session);

#endif
