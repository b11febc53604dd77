/*
 * quiet.c
 *		Deleting rows of cauce's own tables without executor and triggers.
 *
 * The executor would collect all rows for triggers with a transition table, also while these are
 * off, and each foreign key would ask once more for what has been deleted already.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "protect.h"
#include "quiet.h"
#include "spi.h"

/* IsProtected tells whether a table is among the protected ones. */
static bool
IsProtected(Oid table, List *protected)
{
	ListCell *cell;

	foreach (cell, protected)
	{
		if (((const ProtectedTable *) lfirst(cell))->table == table)
			return true;
	}
	return false;
}

/* IsOurs tells a trigger of cauce's own, or of a foreign key of its tables or of a protected one. */
static bool
IsOurs(const Trigger *trigger, List *protected)
{
	Oid ours = CauceSchema();

	if (!trigger->tgisinternal)
		return get_func_namespace(trigger->tgfoid) == ours;
	return !OidIsValid(trigger->tgconstrrelid) ||
		   get_rel_namespace(trigger->tgconstrrelid) == ours ||
		   IsProtected(trigger->tgconstrrelid, protected);
}

/* IsWatched looks at the rules and triggers of one table, and keeps others from adding some. */
static bool
IsWatched(const char *name, List *protected)
{
	Relation table = table_open(CauceTable(name), RowExclusiveLock);
	TriggerDesc *triggers = table->trigdesc;
	bool watched = table->rd_rules != NULL;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers && !watched; i++)
		watched = !IsOurs(&triggers->triggers[i], protected);
	table_close(table, NoLock);
	return watched;
}

/* QuietMay looks at all of them. */
bool
QuietMay(List *protected)
{
	static const char *const tables[] = {"session", "transcript_segment", "report",
										 "alert",	"archived_session",	  "alert_rule"};

	for (Size i = 0; i < lengthof(tables); i++)
	{
		if (IsWatched(tables[i], protected))
			return false;
	}
	return true;
}

/* BeginsWith tells whether column at of an index is the one of that name. */
static bool
BeginsWith(Relation table, Relation index, int at, const char *name)
{
	AttrNumber column = index->rd_index->indkey.values[at];

	return column > 0 &&
		   strcmp(NameStr(TupleDescAttr(RelationGetDescr(table), column - 1)->attname), name) == 0;
}

/* IndexOf is the table's primary key, open, where rows can be deleted by the columns that it begins with; else NULL. */
static Relation
IndexOf(Relation table, const char *first, const char *second)
{
	Relation index;

	if (table->rd_rel->relkind != RELKIND_RELATION || table->rd_rel->relam != HEAP_TABLE_AM_OID)
		return NULL;
	list_free(RelationGetIndexList(table));
	if (!OidIsValid(table->rd_pkindex))
		return NULL;
	index = index_open(table->rd_pkindex, AccessShareLock);
	if (BeginsWith(table, index, 0, first) &&
		(second == NULL ||
		 (index->rd_index->indnkeyatts > 1 && BeginsWith(table, index, 1, second))))
		return index;
	index_close(index, AccessShareLock);
	return NULL;
}

/* QuietCan looks at the table and its primary key. */
bool
QuietCan(const char *name, const char *session_column)
{
	Relation table = table_open(CauceTable(name), RowExclusiveLock);
	Relation index = IndexOf(table, "account_id", session_column);

	if (index != NULL)
		index_close(index, AccessShareLock);
	table_close(table, NoLock);
	return index != NULL;
}

/* QuietCanSessions looks at the tables that a session consists of. */
bool
QuietCanSessions(void)
{
	return QuietCan("session", "id") && QuietCan("transcript_segment", "session_id") &&
		   QuietCan("report", "session_id") && QuietCan("alert", "session_id");
}

/*
 * DeleteRow deletes one row; false when somebody has changed it since the snapshot was taken. With its
 * session locked that is a rotation of keys, which asks about rows alone.
 */
static bool
DeleteRow(Relation table, ItemPointer row, Snapshot snapshot)
{
	TM_FailureData failure;
	TM_Result result = table_tuple_delete(table, row, GetCurrentCommandId(true), snapshot,
										  InvalidSnapshot, true, &failure, false);

	if (result != TM_Ok && result != TM_Updated && result != TM_Deleted)
		elog(ERROR, "could not delete a row of table \"%s\": %d", RelationGetRelationName(table),
			 result);
	return result == TM_Ok;
}

/* DeleteSeen deletes what the keys find with the latest snapshot, and tells whether that was all. */
static bool
DeleteSeen(Relation table, Relation index, ScanKey keys, int count, QuietVisitor visit,
		   void *argument, int64 *rows)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	SysScanDesc scan = systable_beginscan_ordered(table, index, snapshot, count, keys);
	bool all = true;
	HeapTuple row;

	while (HeapTupleIsValid(row = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		CHECK_FOR_INTERRUPTS();
		if (!DeleteRow(table, &row->t_self, snapshot))
		{
			all = false;
			continue;
		}
		if (visit != NULL)
			visit(row, RelationGetDescr(table),
				  argument); /* its page is pinned as long as it is the scan's */
		(*rows)++;
	}
	systable_endscan_ordered(scan);
	UnregisterSnapshot(snapshot);
	CommandCounterIncrement();
	return all;
}

/* QuietDelete deletes. */
int64
QuietDelete(const char *name, const pg_uuid_t *account, const pg_uuid_t *session,
			QuietVisitor visit, void *argument)
{
	Relation table = table_open(CauceTable(name), RowExclusiveLock);
	Relation index = index_open(table->rd_pkindex, AccessShareLock);
	ScanKeyData keys[2];
	int64 rows = 0;

	ScanKeyInit(&keys[0], index->rd_index->indkey.values[0], BTEqualStrategyNumber, F_UUID_EQ,
				UUIDPGetDatum(account));
	if (session != NULL)
		ScanKeyInit(&keys[1], index->rd_index->indkey.values[1], BTEqualStrategyNumber, F_UUID_EQ,
					UUIDPGetDatum(session));
	while (!DeleteSeen(table, index, keys, session != NULL ? 2 : 1, visit, argument, &rows))
		;
	index_close(index, AccessShareLock);
	table_close(table, NoLock);
	return rows;
}
