/*
 * hold.c
 *		Legal holds: who set one, who released it, and why.
 *
 * A hold is the column legal_hold of its session, or its archive; whoever changes it, by these functions or by
 * an UPDATE, is in the audit log. erase.c refuses what a hold forbids.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "audit.h"
#include "spi.h"

PG_FUNCTION_INFO_V1(cauce_set_legal_hold);
PG_FUNCTION_INFO_V1(cauce_release_legal_hold);
PG_FUNCTION_INFO_V1(cauce_audit_hold);

/* The reason of the change under way; NULL for a plain UPDATE. */
static const char *hold_reason = NULL;

/* RequireReason gives the reason as text, or raises. */
static const char *
RequireReason(FunctionCallInfo fcinfo, int at)
{
	char *reason = PG_ARGISNULL(at) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(at));

	if (reason[strspn(reason, " \t\r\n")] == '\0' || strlen(reason) >= AUDIT_MAX_REASON)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a legal hold needs a reason of at most %d bytes", AUDIT_MAX_REASON - 1),
				 errhint("It is written to the audit log, where the owner reads it.")));
	return reason;
}

/* UpdateHold changes the hold of a session, wherever it is by now: while we wait for its row it may be archived. */
static uint64
UpdateHold(Datum account, Datum session, bool held)
{
	static SPIPlanPtr live = NULL;
	static SPIPlanPtr archived = NULL;
	Oid types[] = {UUIDOID, UUIDOID, BOOLOID};
	Datum values[] = {account, session, BoolGetDatum(held)};
	uint64 found;

	found = SpiRunLatest(
		&live, "UPDATE cauce.session SET legal_hold = $3 WHERE account_id = $1 AND id = $2", 3,
		types, values, NULL);
	if (found == 0)
		found = SpiRunLatest(&archived,
							 "UPDATE cauce.archived_session SET legal_hold = $3"
							 " WHERE account_id = $1 AND id = $2",
							 3, types, values, NULL);
	return found;
}

/* SetHold changes a session's hold. */
static void
SetHold(FunctionCallInfo fcinfo, bool held, const char *reason)
{
	volatile uint64 found = 0;
	SpiScope scope;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("account_id and session_id must not be NULL")));
	SpiEnter(&scope, false);
	hold_reason = reason;
	PG_TRY();
	{
		found = UpdateHold(PG_GETARG_DATUM(0), PG_GETARG_DATUM(1), held);
	}
	PG_FINALLY();
	{
		hold_reason = NULL;
	}
	PG_END_TRY();
	SpiLeave(&scope);
	if (found != 1)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND), errmsg("the account has no such session"),
				 errhint("Those that are there are in cauce.session and cauce.archived_session.")));
}

/* cauce.set_legal_hold(account_id, session_id, reason) */
Datum
cauce_set_legal_hold(PG_FUNCTION_ARGS)
{
	SetHold(fcinfo, true, RequireReason(fcinfo, 2));
	PG_RETURN_VOID();
}

/* cauce.release_legal_hold(account_id, session_id, reason) */
Datum
cauce_release_legal_hold(PG_FUNCTION_ARGS)
{
	SetHold(fcinfo, false, PG_ARGISNULL(2) ? "" : RequireReason(fcinfo, 2));
	PG_RETURN_VOID();
}

/* ColumnOf reads a column of a session's row. */
static Datum
ColumnOf(const TriggerData *trigger, HeapTuple row, const char *name, bool *isnull)
{
	Relation relation = trigger->tg_relation;

	return heap_getattr(row, get_attnum(RelationGetRelid(relation), name),
						RelationGetDescr(relation), isnull);
}

/* cauce.audit_hold(), AFTER UPDATE OF legal_hold FOR EACH ROW: notes each change, and each repetition by function. */
Datum
cauce_audit_hold(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	bool isnull;
	bool held;
	bool was_held;
	bool no_organization;
	Datum account;
	Datum session;
	Datum organization;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("audit_hold is a trigger AFTER UPDATE FOR EACH ROW")));
	held = DatumGetBool(ColumnOf(trigger, trigger->tg_newtuple, "legal_hold", &isnull));
	was_held = DatumGetBool(ColumnOf(trigger, trigger->tg_trigtuple, "legal_hold", &isnull));
	if (held == was_held && hold_reason == NULL)
		return PointerGetDatum(NULL);
	account = ColumnOf(trigger, trigger->tg_newtuple, "account_id", &isnull);
	session = ColumnOf(trigger, trigger->tg_newtuple, "id", &isnull);
	organization = ColumnOf(trigger, trigger->tg_newtuple, "organization_id", &no_organization);
	AuditChange(DatumGetUUIDP(account), no_organization ? NULL : DatumGetUUIDP(organization),
				DatumGetUUIDP(session), held ? "hold" : "release", hold_reason);
	return PointerGetDatum(NULL);
}
