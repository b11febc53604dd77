/*
 * audit.h
 *		The append-only, hash-chained log of who did what to whose sessions.
 */
#ifndef CAUCE_AUDIT_H
#define CAUCE_AUDIT_H

#include "utils/uuid.h"

/*
 * AuditAppend adds one entry to the chain of account. actor is the subject of
 * the identity, or the database role; session and reason may be NULL.
 */
extern void AuditAppend(const pg_uuid_t *account, const pg_uuid_t *session, const char *actor,
						const char *role, const char *action, const char *reason);

#endif
