/*
 * quiet.h
 *		Deleting rows of cauce's own tables, and adding some, without executor and triggers.
 *
 * For code that does itself, for a whole session or account, what the triggers do for each statement.
 */
#ifndef CAUCE_QUIET_H
#define CAUCE_QUIET_H

#include "access/htup.h"
#include "access/tupdesc.h"
#include "nodes/pg_list.h"
#include "utils/uuid.h"

/*
 * QuietMay tells whether nobody else watches what is deleted from the tables that sessions, archives and
 * alert rules lie in, or put into them: no triggers, rules or foreign keys but cauce's own, and those of protected
 * tables (ProtectedTables), whose rows the caller takes away itself. It holds until the transaction ends.
 */
extern bool QuietMay(List *protected);

/*
 * QuietCan tells whether QuietDelete can be used with a table: an ordinary one with an index that begins with
 * account_id, and with session_column if that is not NULL. QuietCanSessions asks about all that a session has.
 */
extern bool QuietCan(const char *name, const char *session_column);
extern bool QuietCanSessions(void);

/* What is done with each row that goes. */
typedef void (*QuietVisitor)(HeapTuple row, TupleDesc descriptor, void *argument);

/*
 * QuietDelete deletes an account's rows from a table, or with session those of one session, in the order of the
 * index, the primary key if that serves, but for those that somebody was just changing, and gives their number;
 * visit may be NULL. The caller has locked the sessions.
 */
extern int64 QuietDelete(const char *name, const pg_uuid_t *account, const pg_uuid_t *session,
						 QuietVisitor visit, void *argument);

/* A table that rows are added to. */
typedef struct QuietWriter QuietWriter;

/*
 * QuietOpen opens a table to add rows to, of so many columns, whose CHECKs, so many, the caller keeps. NULL where
 * somebody watches what comes, or the table is another than it was made. In the current memory context. QuietAdd
 * raises as an INSERT does; later statements see its rows from QuietClose on.
 */
extern QuietWriter *QuietOpen(const char *name, int columns, int checks);
extern void QuietAdd(QuietWriter *writer, const Datum *values, const bool *nulls);
extern void QuietClose(QuietWriter *writer);

#endif
