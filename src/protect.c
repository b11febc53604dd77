/*
 * protect.c
 *		Applications' tables that are part of sessions: their rows are held and end with them.
 *
 * Which tables these are, the catalog tells: the view cauce.protected_table lists those that
 * have the sealing trigger and a foreign key to cauce.session. So there is nothing that a
 * dump, a DROP or a renaming could leave behind.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "erase.h"
#include "identity.h"
#include "protect.h"
#include "row_shape.h"
#include "spi.h"

PG_FUNCTION_INFO_V1(cauce_hold_row);

/* The session that cauce.hold_row() has asked about last; kept for one statement. */
typedef struct Asked
{
	RowShape *shape;
	bool known;
	pg_uuid_t account;
	pg_uuid_t session;
} Asked;

/* IsHeld asks whether a session is under legal hold, and keeps it from being put under one. */
static bool
IsHeld(const pg_uuid_t *account, const pg_uuid_t *session)
{
	static SPIPlanPtr plan = NULL;
	SpiScope scope;
	bool isnull;
	bool held;

	SpiEnter(&scope, false);
	held = SpiRunSession(&plan,
						 "SELECT legal_hold FROM cauce.session WHERE account_id = $1 AND id = $2"
						 " FOR SHARE",
						 account, session, false) == 1 &&
		   DatumGetBool(SpiValue(0, 1, &isnull));
	SpiLeave(&scope);
	return held;
}

/* AskedOf is the statement's memory. */
static Asked *
AskedOf(FunctionCallInfo fcinfo, Relation relation)
{
	Asked *asked = fcinfo->flinfo->fn_extra;
	const Trigger *seals;

	if (asked == NULL)
	{
		seals = RowShapeTrigger(relation);
		if (seals == NULL)
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
							errmsg("table \"%s\" has lost its trigger cauce.seal_row()",
								   RelationGetRelationName(relation)),
							errhint("Protect it again; drop trigger cauce_hold before.")));
		asked = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(Asked));
		asked->shape = RowShapeMake(relation, seals, fcinfo->flinfo->fn_mcxt);
		fcinfo->flinfo->fn_extra = asked;
	}
	return asked;
}

/* cauce.hold_row(), BEFORE UPDATE OR DELETE FOR EACH ROW: a legal hold on the row's session forbids it. */
Datum
cauce_hold_row(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Asked *asked;
	pg_uuid_t account;
	pg_uuid_t session;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("hold_row is a trigger ON UPDATE OR DELETE FOR EACH ROW")));
	asked = AskedOf(fcinfo, trigger->tg_relation);
	if (RowOwner(asked->shape, trigger->tg_relation, trigger->tg_trigtuple, &account, &session) &&
		!(asked->known && SameUuid(&asked->account, &account) &&
		  SameUuid(&asked->session, &session)))
	{
		if (IsHeld(&account, &session))
			RefuseHeld();
		asked->known = true;
		asked->account = account;
		asked->session = session;
	}
	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple
																	  : trigger->tg_trigtuple);
}

/*
 * HasReferrers tells, from what is known of a table of ours anyway, whether a table that
 * is not cauce's refers to it: each foreign key has its triggers there.
 */
static bool
HasReferrers(const char *name)
{
	Relation table = table_open(CauceTable(name), AccessShareLock);
	TriggerDesc *triggers = table->trigdesc;
	Oid ours = CauceSchema();
	bool found = false;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers && !found; i++)
	{
		Oid referrer = triggers->triggers[i].tgconstrrelid;

		found = OidIsValid(referrer) && get_rel_namespace(referrer) != ours;
	}
	table_close(table, AccessShareLock);
	return found;
}

/* ProtectedMayHang asks about the tables that a session consists of. */
bool
ProtectedMayHang(void)
{
	return HasReferrers("session") || HasReferrers("report") || HasReferrers("alert") ||
		   HasReferrers("transcript_segment");
}

/*
 * ProtectedTables lists them, those that refer to others first, so that rows can be deleted in
 * this order. immediate are the constraint triggers that could wait for the transaction's end,
 * when they would run as whoever that is.
 */
List *
ProtectedTables(void)
{
	static SPIPlanPtr plan = NULL;
	List *tables = NIL;
	uint64 count;

	if (!HasReferrers("session"))
		return NIL;
	count = SpiRun(
		&plan,
		"WITH RECURSIVE p AS MATERIALIZED (SELECT * FROM cauce.protected_table),"
		" f AS (SELECT DISTINCT conrelid AS a, confrelid AS b FROM pg_constraint"
		"  WHERE contype = 'f' AND conrelid <> confrelid AND conrelid IN (SELECT \"table\" FROM p)"
		"  AND confrelid IN (SELECT \"table\" FROM p)),"
		" r AS (SELECT a, b FROM f UNION SELECT r.a, f.b FROM r JOIN f ON f.a = r.b)"
		" SELECT c.oid, c.relowner, format('%I.%I', n.nspname, c.relname), p.\"table\"::text,"
		" quote_ident(p.account_column), quote_ident(p.session_column), p.adopting,"
		" (SELECT 'SET CONSTRAINTS ' || string_agg(DISTINCT format('%I.%I', s.nspname, k.conname), "
		"', ')"
		"  || ' IMMEDIATE' FROM pg_constraint k JOIN pg_namespace s ON s.oid = k.connamespace"
		"  WHERE k.contype = 't' AND k.condeferrable AND k.conrelid IN"
		"  (SELECT * FROM cauce.parts_of(p.\"table\")))"
		" FROM p JOIN pg_class c ON c.oid = p.\"table\" JOIN pg_namespace n ON n.oid = "
		"c.relnamespace"
		" ORDER BY (SELECT count(*) FROM r WHERE r.a = c.oid) DESC, p.\"table\"::text COLLATE "
		"\"C\"",
		0, NULL, NULL, NULL, false);
	for (uint64 i = 0; i < count; i++)
	{
		ProtectedTable *table = palloc(sizeof(ProtectedTable));
		bool isnull;
		Datum immediate;

		table->table = DatumGetObjectId(SpiValue(i, 1, &isnull));
		table->owner = DatumGetObjectId(SpiValue(i, 2, &isnull));
		table->name = TextDatumGetCString(SpiValue(i, 3, &isnull));
		table->shown = TextDatumGetCString(SpiValue(i, 4, &isnull));
		table->account_column = TextDatumGetCString(SpiValue(i, 5, &isnull));
		table->session_column = TextDatumGetCString(SpiValue(i, 6, &isnull));
		table->adopting = DatumGetBool(SpiValue(i, 7, &isnull));
		immediate = SpiValue(i, 8, &isnull);
		table->immediate = isnull ? NULL : TextDatumGetCString(immediate);
		tables = lappend(tables, table);
	}
	return tables;
}

/* ProtectedFireAtOnce has the table's triggers fire at the end of each statement, as its owner. */
void
ProtectedFireAtOnce(const ProtectedTable *table)
{
	SpiActor before;

	if (table->immediate == NULL)
		return;
	SpiBecome(table->owner, false, &before);
	if (SPI_execute(table->immediate, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not set the constraints of a protected table");
	SpiReturn(&before);
}

/*
 * CountAs runs a query that counts rows as the table's owner, as a foreign key would, and
 * like that with the latest snapshot. $1 is an account, $2 of the type given.
 */
static int64
CountAs(Oid owner, const char *sql, const pg_uuid_t *account, Oid type, Datum value)
{
	Oid types[] = {UUIDOID, type};
	Datum values[] = {UUIDPGetDatum(account), value};
	SPIPlanPtr plan;
	SpiActor before;
	bool isnull;

	SpiBecome(owner, false, &before);
	plan = SPI_prepare(sql, lengthof(types), types);
	if (plan == NULL || SpiExecuteLatest(plan, values, NULL) != 1)
		elog(ERROR, "could not count the rows of a protected table");
	SPI_freeplan(plan);
	SpiReturn(&before);
	return DatumGetInt64(SpiValue(0, 1, &isnull));
}

/* ProtectedRowsOf gives the condition. */
char *
ProtectedRowsOf(const ProtectedTable *table)
{
	char *mine = psprintf("%s = $2 AND %s = $1", table->session_column, table->account_column);

	if (!table->adopting)
		return mine;
	return psprintf("(%s OR %s = $2 AND %s IS NULL)", mine, table->session_column,
					table->account_column);
}

/* ProtectedCount counts. */
int64
ProtectedCount(const ProtectedTable *table, const pg_uuid_t *account, const pg_uuid_t *session)
{
	const char *sql =
		psprintf("SELECT count(*) FROM %s WHERE %s", table->name, ProtectedRowsOf(table));

	return CountAs(table->owner, sql, account, UUIDOID, UUIDPGetDatum(session));
}

/* DeleteAs deletes a table's rows as its owner, whose triggers fire then and there, and counts them. */
static int64
DeleteAs(const ProtectedTable *table, const char *condition, const pg_uuid_t *account, Oid type,
		 Datum value)
{
	const char *sql = psprintf("WITH gone AS (DELETE FROM %s WHERE %s RETURNING 1)"
							   " SELECT count(*) FROM gone",
							   table->name, condition);

	ProtectedFireAtOnce(table);
	return CountAs(table->owner, sql, account, type, value);
}

/* AppendCount adds a table's number of rows to a JSON object that has members already. */
static void
AppendCount(StringInfo counts, const ProtectedTable *table, int64 rows)
{
	appendStringInfoString(counts, ", ");
	escape_json(counts, table->shown);
	appendStringInfo(counts, ": " INT64_FORMAT, rows);
}

/* ProtectedRefuseLeft raises: a trigger of the application's can keep rows, or make new ones. */
void
ProtectedRefuseLeft(const ProtectedTable *table)
{
	ereport(ERROR, (errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
					errmsg("rows of table %s could not be taken away", table->shown),
					errdetail("Some are still there, so nothing was changed."),
					errhint("Does a trigger of the table keep them, or make new ones?")));
}

/* ProtectedErase deletes and counts. */
void
ProtectedErase(const pg_uuid_t *account, const pg_uuid_t *session, StringInfo counts)
{
	List *tables = ProtectedTables();
	ListCell *cell;

	foreach (cell, tables)
	{
		const ProtectedTable *table = lfirst(cell);

		AppendCount(
			counts, table,
			DeleteAs(table, ProtectedRowsOf(table), account, UUIDOID, UUIDPGetDatum(session)));
	}
	foreach (cell, tables)
	{
		if (ProtectedCount(lfirst(cell), account, session) > 0)
			ProtectedRefuseLeft(lfirst(cell));
	}
}

/*
 * RowsOfAccount is the condition on a table's rows of account $1, whose sessions are the
 * array $2: the foreign key says that they are in no other account's sessions.
 */
static char *
RowsOfAccount(const ProtectedTable *table)
{
	if (!table->adopting)
		return psprintf("%s = $1", table->account_column);
	return psprintf("(%s = $1 OR %s IS NULL AND %s = ANY ($2))", table->account_column,
					table->account_column, table->session_column);
}

/* SessionsOf is the array of an account's sessions. Inside of an SpiScope. */
static Datum
SessionsOf(const pg_uuid_t *account)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {UUIDOID};
	Datum values[] = {UUIDPGetDatum(account)};
	bool isnull;

	SpiRunLatest(&plan, "SELECT ARRAY(SELECT id FROM cauce.session WHERE account_id = $1)", 1,
				 types, values, NULL);
	return SpiValue(0, 1, &isnull);
}

/* ProtectedEraseAccount deletes and counts. */
void
ProtectedEraseAccount(const pg_uuid_t *account, StringInfo counts)
{
	List *tables = ProtectedTables();
	Datum sessions = tables != NIL ? SessionsOf(account) : (Datum) 0;
	ListCell *cell;

	foreach (cell, tables)
	{
		const ProtectedTable *table = lfirst(cell);

		AppendCount(counts, table,
					DeleteAs(table, RowsOfAccount(table), account, UUIDARRAYOID, sessions));
	}
	foreach (cell, tables)
	{
		const ProtectedTable *table = lfirst(cell);
		const char *left =
			psprintf("SELECT count(*) FROM %s WHERE %s", table->name, RowsOfAccount(table));

		if (CountAs(table->owner, left, account, UUIDARRAYOID, sessions) > 0)
			ProtectedRefuseLeft(table);
	}
}
