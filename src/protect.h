/*
 * protect.h
 *		Applications' tables that cauce.protect() made part of sessions.
 */
#ifndef CAUCE_PROTECT_H
#define CAUCE_PROTECT_H

#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "utils/uuid.h"

/* A protected table, as cauce.protected_table lists it. */
typedef struct ProtectedTable
{
	Oid table;
	Oid owner;
	char *name; /* schema and table, quoted, whatever the search_path is */
	char *shown; /* as messages and certificates call it */
	char *account_column; /* quoted, as the next */
	char *session_column;
	char *immediate; /* the SET CONSTRAINTS of ProtectedFireAtOnce, or NULL */
	bool adopting;
} ProtectedTable;

/* ProtectedMayHang is false when no table of an application's refers to anything that is a session's. */
extern bool ProtectedMayHang(void);

/* ProtectedTables is the list of them, those that refer to others first. Inside of an SpiScope. */
extern List *ProtectedTables(void);

/* ProtectedRowsOf is an SQL condition on a table's rows: of session $2 of account $1. */
extern char *ProtectedRowsOf(const ProtectedTable *table);

/* ProtectedCount counts the rows of a session, as the table's owner. Inside of an SpiScope. */
extern int64 ProtectedCount(const ProtectedTable *table, const pg_uuid_t *account,
							const pg_uuid_t *session);

/*
 * ProtectedFireAtOnce comes before what fires a table's triggers: those that could wait for the
 * end of the transaction would run there with the rights of whoever ends it.
 */
extern void ProtectedFireAtOnce(const ProtectedTable *table);

/* ProtectedRefuseLeft raises 09000: rows are there that were taken away. */
extern void ProtectedRefuseLeft(const ProtectedTable *table);

/*
 * ProtectedErase deletes what each protected table has of a session, whose row has been deleted, as
 * the tables' owners and with their triggers: the foreign keys' cascade, which comes next, would run
 * triggers as whoever deleted the session. It appends the numbers of rows to the JSON object in
 * counts. Raises 09000 when some are there all the same. Inside of an SpiScope.
 */
extern void ProtectedErase(const pg_uuid_t *account, const pg_uuid_t *session, StringInfo counts);

/* ProtectedEraseAccount does so with all rows of an account and of its sessions. Inside of an SpiScope. */
extern void ProtectedEraseAccount(const pg_uuid_t *account, StringInfo counts);

#endif
