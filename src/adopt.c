/*
 * adopt.c
 *		What cauce.protect() and cauce.protect_gradually() need beyond SQL to seal what an
 *		application's columns hold in the clear, or under a key of pgcrypto's.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "adopt.h"
#include "authority.h"
#include "identity.h"
#include "secret.h"
#include "spi.h"

PG_FUNCTION_INFO_V1(cauce_pgcrypto_key);
PG_FUNCTION_INFO_V1(cauce_seal_plain);
PG_FUNCTION_INFO_V1(cauce_seal_ahead);

/* How a value of one type becomes a sealed one: out of the first as text, and in. */
typedef struct Sealing
{
	FmgrInfo out;
	FmgrInfo in;
	Oid in_argument;
	bool is_padded; /* char(n), whose blanks at the end mean nothing */
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

/* AdoptInit defines the setting. */
void
AdoptInit(void)
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
	sealing->is_padded = from == BPCHAROID;
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
	Size size = strlen(text);
	Datum sealed;

	if (sealing->is_padded)
		text[bpchartruelen(text, (int) size)] = '\0';
	CustodyBegin(&nobody, &nobody);
	sealed = InputFunctionCall(&sealing->in, text, sealing->in_argument, -1);
	CustodyEnd();
	SecretWipe(text, size);
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
