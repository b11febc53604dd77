/*
 * quiet.c
 *		Deleting rows of cauce's own tables, and adding some, without executor and triggers.
 *
 * The executor would collect all rows for triggers with a transition table, also while these are
 * off, and each foreign key would ask once more for what has been deleted already. For one row that
 * is added it sets up a plan and a CHECK, which takes several times as long as the row and its indexes.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_class.h"
#include "executor/executor.h"
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
										 "alert",	"archived_session",	  "alert_rule",
										 "data_key"};

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

/* Serves tells whether all rows can be found in an index by the columns that it begins with; second may be NULL. */
static bool
Serves(Relation table, Relation index, const char *first, const char *second)
{
	return index->rd_index->indisvalid && index->rd_rel->relam == BTREE_AM_OID &&
		   RelationGetIndexPredicate(index) == NIL && BeginsWith(table, index, 0, first) &&
		   (second == NULL ||
			(index->rd_index->indnkeyatts > 1 && BeginsWith(table, index, 1, second)));
}

/* OpenServing opens an index if it serves; else NULL. */
static Relation
OpenServing(Relation table, Oid oid, const char *first, const char *second)
{
	Relation index = index_open(oid, AccessShareLock);

	if (Serves(table, index, first, second))
		return index;
	index_close(index, AccessShareLock);
	return NULL;
}

/* IndexOf is an index, open, by which rows can be deleted: the primary key if it serves; NULL for none. */
static Relation
IndexOf(Relation table, const char *first, const char *second)
{
	Relation index = NULL;
	List *indexes;
	ListCell *cell;

	if (table->rd_rel->relkind != RELKIND_RELATION || table->rd_rel->relam != HEAP_TABLE_AM_OID)
		return NULL;
	indexes = RelationGetIndexList(table);
	if (OidIsValid(table->rd_pkindex))
		index = OpenServing(table, table->rd_pkindex, first, second);
	foreach (cell, indexes)
	{
		if (index == NULL)
			index = OpenServing(table, lfirst_oid(cell), first, second);
	}
	list_free(indexes);
	return index;
}

/* SessionColumn is what a table calls the session of a row. */
static const char *
SessionColumn(const char *name)
{
	return strcmp(name, "session") == 0 ? "id" : "session_id";
}

/* QuietCan looks at the table and its indexes. */
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
	static const char *const tables[] = {"session", "transcript_segment", "report", "alert",
										 "data_key"};

	for (Size i = 0; i < lengthof(tables); i++)
	{
		if (!QuietCan(tables[i], SessionColumn(tables[i])))
			return false;
	}
	return true;
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
	Relation index = IndexOf(table, "account_id", session != NULL ? SessionColumn(name) : NULL);
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

struct QuietWriter
{
	Relation table;
	EState *state;
	ResultRelInfo *target;
	TupleTableSlot *slot;
};

/* TakesRows tells whether rows can be added to a table behind the executor's back. */
static bool
TakesRows(Relation table, int columns, int checks)
{
	const TupleConstr *constraints = RelationGetDescr(table)->constr;
	const TriggerDesc *triggers = table->trigdesc;

	return table->rd_rel->relkind == RELKIND_RELATION &&
		   table->rd_rel->relam == HEAP_TABLE_AM_OID && RelationGetDescr(table)->natts == columns &&
		   table->rd_rules == NULL &&
		   (constraints == NULL ||
			(constraints->num_check <= checks && !constraints->has_generated_stored)) &&
		   (triggers == NULL ||
			!(triggers->trig_insert_before_row || triggers->trig_insert_after_row ||
			  triggers->trig_insert_before_statement || triggers->trig_insert_after_statement));
}

/* QuietOpen opens. */
QuietWriter *
QuietOpen(const char *name, int columns, int checks)
{
	Relation table = table_open(CauceTable(name), RowExclusiveLock);
	QuietWriter *writer;

	if (!TakesRows(table, columns, checks))
	{
		table_close(table, NoLock);
		return NULL;
	}
	writer = palloc(sizeof(QuietWriter));
	writer->table = table;
	writer->state = CreateExecutorState();
	writer->target = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->target, table, 0, NULL, 0);
	ExecOpenIndices(writer->target, false);
	writer->slot = MakeSingleTupleTableSlot(RelationGetDescr(table), &TTSOpsVirtual);
	return writer;
}

/* QuietAdd adds. */
void
QuietAdd(QuietWriter *writer, const Datum *values, const bool *nulls)
{
	TupleTableSlot *slot = writer->slot;
	int columns = RelationGetDescr(writer->table)->natts;

	ExecClearTuple(slot);
	memcpy(slot->tts_values, values, columns * sizeof(Datum));
	memcpy(slot->tts_isnull, nulls, columns * sizeof(bool));
	ExecStoreVirtualTuple(slot);
	table_tuple_insert(writer->table, slot, GetCurrentCommandId(true), 0, NULL);
	(void) ExecInsertIndexTuples(writer->target, slot, writer->state, false, false, NULL, NIL
#if PG_VERSION_NUM >= 160000
								 ,
								 false
#endif
	);
	ResetPerTupleExprContext(writer->state);
}

/* QuietClose closes. */
void
QuietClose(QuietWriter *writer)
{
	ExecCloseIndices(writer->target);
	ExecDropSingleTupleTableSlot(writer->slot);
	FreeExecutorState(writer->state);
	table_close(writer->table, NoLock);
	pfree(writer);
	CommandCounterIncrement();
}
