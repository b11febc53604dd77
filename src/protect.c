/*
 * protect.c
 *		What cauce.protect() and its kin need beyond SQL: sealing what an application's
 *		columns hold, and taking its rows along when their session ends.
 *
 * Which tables are protected, the catalog tells: the view cauce.protected_table lists
 * those that have protect()'s trigger and its foreign key to cauce.session. So there is
 * nothing that a dump, a DROP or a renaming could leave behind.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "authority.h"
#include "erase.h"
#include "identity.h"
#include "protect.h"
#include "row_shape.h"
#include "secret.h"
#include "spi.h"

PG_FUNCTION_INFO_V1(cauce_pgcrypto_key);
PG_FUNCTION_INFO_V1(cauce_seal_plain);
PG_FUNCTION_INFO_V1(cauce_seal_ahead);
PG_FUNCTION_INFO_V1(cauce_hold_row);

/* How a value of one type becomes a sealed one: out of the first as text, and in. */
typedef struct Sealing
{
	FmgrInfo out;
	FmgrInfo in;
	Oid in_argument;
} Sealing;

/* A column, and the one beside it that is to take its place. */
typedef struct Pair
{
	AttrNumber from;
	AttrNumber into;
	Sealing sealing;
} Pair;

/* What cauce.seal_ahead() knows of its table; kept with the trigger's function info. */
typedef struct Ahead
{
	AttrNumber account;
	AttrNumber session;
	int count;
	Pair pairs[FLEXIBLE_ARRAY_MEMBER];
} Ahead;

/* The session that cauce.hold_row() has asked about last; kept for one statement. */
typedef struct Asked
{
	RowShape *shape;
	bool known;
	pg_uuid_t account;
	pg_uuid_t session;
} Asked;

/* A protected table, as cauce.protected_table lists it. */
typedef struct ProtectedTable
{
	Oid owner;
	char *name; /* qualified and quoted */
	char *account_column; /* quoted, as the next */
	char *session_column;
	bool adopting;
} ProtectedTable;

static char *pgcrypto_key = NULL;

/* CheckKey lets the key be set in a session only: a stored one would lie in the catalog. */
static bool
CheckKey(char **newval, void **extra, GucSource source)
{
	if (*newval == NULL || (*newval)[0] == '\0')
		return true;
	if (source == PGC_S_TEST || (source >= PGC_S_GLOBAL && source <= PGC_S_DATABASE_USER))
	{
		GUC_check_errmsg("a key cannot be stored with a role, a database or a function");
		GUC_check_errhint("Set it where it is used: set_config('cauce.pgcrypto_key', $1, true).");
		return false;
	}
	return true;
}

/* ShowKey hides the key from SHOW and current_setting(). */
static const char *
ShowKey(void)
{
	return pgcrypto_key != NULL && pgcrypto_key[0] != '\0' ? "(set)" : "";
}

/* ProtectInit defines the setting. */
void
ProtectInit(void)
{
	DefineCustomStringVariable(
		"cauce.pgcrypto_key", "The key of columns that pgcrypto encrypted, for cauce.protect().",
		"Set it with set_config(.., true) and a parameter.", &pgcrypto_key, "", PGC_SUSET,
		GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE, CheckKey, NULL, ShowKey);
}

/* cauce.pgcrypto_key(): the key, for cauce's own SQL; superusers may call it. */
Datum
cauce_pgcrypto_key(PG_FUNCTION_ARGS)
{
	if (pgcrypto_key == NULL || pgcrypto_key[0] == '\0')
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("cauce.pgcrypto_key is not set"),
						errhint("SELECT set_config('cauce.pgcrypto_key', $1, true) with the key "
								"that the column was encrypted with.")));
	PG_RETURN_TEXT_P(cstring_to_text(pgcrypto_key));
}

/* PrepareSealing looks up how values of one type become values of another. */
static void
PrepareSealing(Sealing *sealing, Oid from, Oid into, MemoryContext context)
{
	Oid out;
	Oid in;
	bool is_varlena;

	getTypeOutputInfo(from, &out, &is_varlena);
	getTypeInputInfo(into, &in, &sealing->in_argument);
	fmgr_info_cxt(out, &sealing->out, context);
	fmgr_info_cxt(in, &sealing->in, context);
}

/*
 * SealPlain seals a value at input. In custody, of no session, the input function takes
 * text for text, also when it looks like a sealed value and a superuser is asking.
 */
static Datum
SealPlain(Sealing *sealing, Datum value)
{
	const pg_uuid_t nobody = {{0}};
	char *text = OutputFunctionCall(&sealing->out, value);
	Datum sealed;

	CustodyBegin(&nobody, &nobody);
	sealed = InputFunctionCall(&sealing->in, text, sealing->in_argument, -1);
	CustodyEnd();
	SecretWipe(text, strlen(text));
	pfree(text);
	return sealed;
}

/* cauce.seal_plain(value, sample): the value, sealed at input as a value of sample's type. */
Datum
cauce_seal_plain(PG_FUNCTION_ARGS)
{
	Sealing *sealing = fcinfo->flinfo->fn_extra;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	if (sealing == NULL)
	{
		sealing = MemoryContextAlloc(fcinfo->flinfo->fn_mcxt, sizeof(Sealing));
		PrepareSealing(sealing, get_fn_expr_argtype(fcinfo->flinfo, 0),
					   get_fn_expr_argtype(fcinfo->flinfo, 1), fcinfo->flinfo->fn_mcxt);
		fcinfo->flinfo->fn_extra = sealing;
	}
	PG_RETURN_DATUM(SealPlain(sealing, PG_GETARG_DATUM(0)));
}

/* RequireColumn finds a column or raises. */
static AttrNumber
RequireColumn(Relation relation, const char *name)
{
	AttrNumber column = get_attnum(RelationGetRelid(relation), name);

	if (column == InvalidAttrNumber)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
						errmsg("table \"%s\" has no column \"%s\", which is being adopted",
							   RelationGetRelationName(relation), name),
						errhint("cauce.unprotect() ends the adoption.")));
	return column;
}

/* AheadOf reads the trigger's arguments: the session's column, then pairs of columns. */
static Ahead *
AheadOf(FunctionCallInfo fcinfo, const TriggerData *trigger)
{
	Relation relation = trigger->tg_relation;
	char **arguments = trigger->tg_trigger->tgargs;
	int count = (trigger->tg_trigger->tgnargs - 1) / 2;
	Ahead *ahead = fcinfo->flinfo->fn_extra;

	if (ahead != NULL)
		return ahead;
	ahead = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt,
								   offsetof(Ahead, pairs) + count * sizeof(Pair));
	ahead->account = RequireColumn(relation, "account_id");
	ahead->session = RequireColumn(relation, arguments[0]);
	ahead->count = count;
	for (int i = 0; i < count; i++)
	{
		Pair *pair = &ahead->pairs[i];

		pair->from = RequireColumn(relation, arguments[2 * i + 1]);
		pair->into = RequireColumn(relation, arguments[2 * i + 2]);
		PrepareSealing(&pair->sealing,
					   TupleDescAttr(RelationGetDescr(relation), pair->from - 1)->atttypid,
					   TupleDescAttr(RelationGetDescr(relation), pair->into - 1)->atttypid,
					   fcinfo->flinfo->fn_mcxt);
	}
	fcinfo->flinfo->fn_extra = ahead;
	return ahead;
}

/* AccountOf finds the account that a session belongs to; 23503 unless it is one. */
static pg_uuid_t
AccountOf(const pg_uuid_t *session)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {UUIDOID};
	Datum values[] = {UUIDPGetDatum(session)};
	pg_uuid_t account = {{0}};
	SpiScope scope;
	bool isnull;

	SpiEnter(&scope, true);
	if (SpiRun(&plan, "SELECT account_id FROM cauce.session WHERE id = $1", 1, types, values, NULL,
			   true) != 1)
		ereport(
			ERROR,
			(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
			 errmsg("the session does not exist, or is not the only one of its id"),
			 errdetail("The table is being adopted: its rows belong to sessions of cauce's."),
			 errhint("Insert the session first; where accounts share an id, fill account_id.")));
	account = *DatumGetUUIDP(SpiValue(0, 1, &isnull));
	SpiLeave(&scope);
	return account;
}

/* SetColumn replaces a column of the row. */
static HeapTuple
SetColumn(Relation relation, HeapTuple row, AttrNumber column, Datum value, bool isnull)
{
	int at = column;

	return heap_modify_tuple_by_cols(row, RelationGetDescr(relation), 1, &at, &value, &isnull);
}

/* HasMoved tells whether an UPDATE gives the row to another session. */
static bool
HasMoved(const TriggerData *trigger, const Ahead *ahead, Datum session)
{
	bool isnull;
	Datum before;

	if (!TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		return false;
	before = heap_getattr(trigger->tg_trigtuple, ahead->session,
						  RelationGetDescr(trigger->tg_relation), &isnull);
	return isnull || !SameUuid(DatumGetUUIDP(before), DatumGetUUIDP(session));
}

/* KeepAccount fills in the account that the row's session belongs to. */
static HeapTuple
KeepAccount(const TriggerData *trigger, HeapTuple row, const Ahead *ahead, Datum session)
{
	Relation relation = trigger->tg_relation;
	pg_uuid_t account;
	bool isnull;

	(void) heap_getattr(row, ahead->account, RelationGetDescr(relation), &isnull);
	if (!isnull && !HasMoved(trigger, ahead, session))
		return row;
	account = AccountOf(DatumGetUUIDP(session));
	return SetColumn(relation, row, ahead->account, UUIDPGetDatum(&account), false);
}

/* KeepInStep seals one column into the one beside it, whatever was there. */
static HeapTuple
KeepInStep(Relation relation, HeapTuple row, Pair *pair)
{
	bool isnull;
	Datum value = heap_getattr(row, pair->from, RelationGetDescr(relation), &isnull);

	return SetColumn(relation, row, pair->into,
					 isnull ? (Datum) 0 : SealPlain(&pair->sealing, value), isnull);
}

/*
 * cauce.seal_ahead(session, column, sealed column, …), BEFORE INSERT OR UPDATE FOR EACH
 * ROW: keeps the sealed columns of a table that is being adopted in step with the plain
 * ones, and the row's account with its session. cauce.seal_row() then binds them.
 */
Datum
cauce_seal_ahead(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	HeapTuple row;
	Ahead *ahead;
	bool isnull;
	Datum session;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) || TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("seal_ahead is a trigger BEFORE INSERT OR UPDATE FOR EACH ROW")));
	ahead = AheadOf(fcinfo, trigger);
	row = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
	session = heap_getattr(row, ahead->session, RelationGetDescr(trigger->tg_relation), &isnull);
	if (isnull)
		return PointerGetDatum(row); /* its constraint says it best */
	row = KeepAccount(trigger, row, ahead, session);
	for (int i = 0; i < ahead->count; i++)
		row = KeepInStep(trigger->tg_relation, row, &ahead->pairs[i]);
	return PointerGetDatum(row);
}

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

	if (asked == NULL)
	{
		asked = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(Asked));
		asked->shape = RowShapeMake(relation, RowShapeTrigger(relation), fcinfo->flinfo->fn_mcxt);
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
 * HasProtected tells, from what is known of cauce.session anyway, whether a table that
 * is not cauce's refers to it: each foreign key has its triggers there.
 */
static bool
HasProtected(void)
{
	Relation sessions = table_open(CauceTable("session"), AccessShareLock);
	TriggerDesc *triggers = sessions->trigdesc;
	Oid ours = CauceSchema();
	bool found = false;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers && !found; i++)
	{
		Oid referrer = triggers->triggers[i].tgconstrrelid;

		found = OidIsValid(referrer) && get_rel_namespace(referrer) != ours;
	}
	table_close(sessions, AccessShareLock);
	return found;
}

/* ProtectedTables lists them. Inside of an SpiScope. */
static List *
ProtectedTables(void)
{
	static SPIPlanPtr plan = NULL;
	List *tables = NIL;
	uint64 count;

	if (!HasProtected())
		return NIL;
	count = SpiRun(&plan,
				   "SELECT c.relowner, p.\"table\"::text, quote_ident(p.account_column),"
				   " quote_ident(p.session_column), p.adopting"
				   " FROM cauce.protected_table p JOIN pg_class c ON c.oid = p.\"table\""
				   " ORDER BY p.\"table\"::text COLLATE \"C\"",
				   0, NULL, NULL, NULL, false);
	for (uint64 i = 0; i < count; i++)
	{
		ProtectedTable *table = palloc(sizeof(ProtectedTable));
		bool isnull;

		table->owner = DatumGetObjectId(SpiValue(i, 1, &isnull));
		table->name = TextDatumGetCString(SpiValue(i, 2, &isnull));
		table->account_column = TextDatumGetCString(SpiValue(i, 3, &isnull));
		table->session_column = TextDatumGetCString(SpiValue(i, 4, &isnull));
		table->adopting = DatumGetBool(SpiValue(i, 5, &isnull));
		tables = lappend(tables, table);
	}
	return tables;
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
	Oid user;
	int security;
	bool isnull;

	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(owner, security | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
	plan = SPI_prepare(sql, lengthof(types), types);
	if (plan == NULL || SpiExecuteLatest(plan, values, NULL) != 1)
		elog(ERROR, "could not count the rows of a protected table");
	SPI_freeplan(plan);
	SetUserIdAndSecContext(user, security);
	return DatumGetInt64(SpiValue(0, 1, &isnull));
}

/* RowsOf is the condition on a table's rows of session $2 of account $1. */
static char *
RowsOf(const ProtectedTable *table)
{
	char *mine = psprintf("%s = $2 AND %s = $1", table->session_column, table->account_column);

	if (!table->adopting)
		return mine;
	return psprintf("(%s OR %s = $2 AND %s IS NULL)", mine, table->session_column,
					table->account_column);
}

/* CountRows counts the rows of a session in one table. */
static int64
CountRows(const ProtectedTable *table, const pg_uuid_t *account, const pg_uuid_t *session)
{
	const char *sql = psprintf("SELECT count(*) FROM %s WHERE %s", table->name, RowsOf(table));

	return CountAs(table->owner, sql, account, UUIDOID, UUIDPGetDatum(session));
}

/* DeletesOf is the query that deletes a table's rows and counts them. */
static char *
DeletesOf(const ProtectedTable *table, const char *condition)
{
	return psprintf("WITH gone AS (DELETE FROM %s WHERE %s RETURNING 1)"
					" SELECT count(*) FROM gone",
					table->name, condition);
}

/* DeleteRows deletes what a table under adoption has of a session, and counts it. */
static int64
DeleteRows(const ProtectedTable *table, const pg_uuid_t *account, const pg_uuid_t *session)
{
	return CountAs(table->owner, DeletesOf(table, RowsOf(table)), account, UUIDOID,
				   UUIDPGetDatum(session));
}

/* AppendCount adds a table's number of rows to a JSON object that has members already. */
static void
AppendCount(StringInfo counts, const ProtectedTable *table, int64 rows)
{
	appendStringInfoString(counts, ", ");
	escape_json(counts, table->name);
	appendStringInfo(counts, ": " INT64_FORMAT, rows);
}

/* ProtectedErase counts, and deletes what no cascade would. */
void
ProtectedErase(const pg_uuid_t *account, const pg_uuid_t *session, StringInfo counts)
{
	ListCell *cell;

	foreach (cell, ProtectedTables())
	{
		const ProtectedTable *table = lfirst(cell);

		AppendCount(counts, table,
					table->adopting ? DeleteRows(table, account, session)
									: CountRows(table, account, session));
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

/* RequireGone raises: a trigger of the application's can keep rows, or make new ones. */
static void
RequireGone(const ProtectedTable *table, const pg_uuid_t *account, Datum sessions)
{
	const char *sql =
		psprintf("SELECT count(*) FROM %s WHERE %s", table->name, RowsOfAccount(table));

	if (CountAs(table->owner, sql, account, UUIDARRAYOID, sessions) > 0)
		ereport(ERROR, (errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
						errmsg("rows of table %s could not be erased", table->name),
						errdetail("Some are still there, so nothing was erased."),
						errhint("Does a trigger of the table keep them, or make new ones?")));
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
					CountAs(table->owner, DeletesOf(table, RowsOfAccount(table)), account,
							UUIDARRAYOID, sessions));
	}
	foreach (cell, tables)
		RequireGone(lfirst(cell), account, sessions);
}

/* ProtectedRefuseArchive raises. */
void
ProtectedRefuseArchive(const pg_uuid_t *account, const pg_uuid_t *session)
{
	ListCell *cell;

	foreach (cell, ProtectedTables())
	{
		const ProtectedTable *table = lfirst(cell);

		if (CountRows(table, account, session) > 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("a session with rows in a protected table cannot be archived"),
					 errdetail("Table %s has rows of it, and an archive would not hold them.",
							   table->name),
					 errhint("Choose the retention action delete, or remove the rows first.")));
	}
}
