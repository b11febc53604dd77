/*
 * session.c
 *		The trigger that keeps a session's organization, retention and key.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "authority.h"
#include "datakey.h"
#include "rewrap.h"
#include "identity.h"
#include "sealed.h"
#include "session.h"
#include "spi.h"

PG_FUNCTION_INFO_V1(cauce_keep_session);

/* Retention where nobody has chosen any; section 8 of the design. */
#define DEFAULT_RETENTION_DAYS 90

/* 1900-01-01 and 2200-01-01, UTC, in microseconds since 2000-01-01. */
#define EARLIEST_START (INT64CONST(-36524) * USECS_PER_DAY)
#define LATEST_START (INT64CONST(73049) * USECS_PER_DAY)

static int retention_grace = 24 * SECS_PER_HOUR;

/* A session's row as far as the trigger needs it. */
typedef struct SessionRow
{
	pg_uuid_t account;
	pg_uuid_t id;
	bool has_organization;
	pg_uuid_t organization;
	TimestampTz started_at;
	bool has_days;
	int32 days;
	bool has_until;
	TimestampTz until;
	bool live;
	bool has_ended_at;
} SessionRow;

/* SessionInit defines cauce.retention_grace. */
void
SessionInit(void)
{
	DefineCustomIntVariable("cauce.retention_grace",
							"How long a shortened retention waits before it takes effect.", NULL,
							&retention_grace, 24 * SECS_PER_HOUR, 0, 30 * SECS_PER_DAY, PGC_SIGHUP,
							GUC_UNIT_S, NULL, NULL, NULL);
}

/* Column reads a column by its name. */
static Datum
Column(Relation relation, HeapTuple row, const char *name, bool *isnull)
{
	AttrNumber column = get_attnum(RelationGetRelid(relation), name);

	if (column == InvalidAttrNumber)
		elog(ERROR, "cauce.session has no column %s", name);
	return heap_getattr(row, column, RelationGetDescr(relation), isnull);
}

/* SetColumn replaces a column of the row. */
static HeapTuple
SetColumn(Relation relation, HeapTuple row, const char *name, Datum value, bool isnull)
{
	int column = get_attnum(RelationGetRelid(relation), name);

	return heap_modify_tuple_by_cols(row, RelationGetDescr(relation), 1, &column, &value, &isnull);
}

/* ReadSession reads a row; false when account, id or started_at is NULL, which the table refuses. */
static bool
ReadSession(Relation relation, HeapTuple row, SessionRow *into)
{
	bool null_account;
	bool null_id;
	bool null_start;
	bool isnull;
	Datum account = Column(relation, row, "account_id", &null_account);
	Datum id = Column(relation, row, "id", &null_id);
	Datum start = Column(relation, row, "started_at", &null_start);
	Datum value;

	if (null_account || null_id || null_start)
		return false;
	memset(into, 0, sizeof(*into));
	into->account = *DatumGetUUIDP(account);
	into->id = *DatumGetUUIDP(id);
	into->started_at = DatumGetTimestampTz(start);
	value = Column(relation, row, "organization_id", &isnull);
	into->has_organization = !isnull;
	if (!isnull)
		into->organization = *DatumGetUUIDP(value);
	value = Column(relation, row, "retention_days", &isnull);
	into->has_days = !isnull;
	into->days = isnull ? 0 : DatumGetInt32(value);
	value = Column(relation, row, "retain_until", &isnull);
	into->has_until = !isnull;
	into->until = isnull ? 0 : DatumGetTimestampTz(value);
	value = Column(relation, row, "status", &isnull);
	into->live = !isnull && strcmp(TextDatumGetCString(value), "live") == 0;
	(void) Column(relation, row, "ended_at", &isnull);
	into->has_ended_at = !isnull;
	return true;
}

/*
 * ChooseRetention fills in what the account and the session's organization say where the session
 * says nothing; false when there is no such account. A new session is of its account's organization,
 * and stays of it when the account leaves.
 */
static bool
ChooseRetention(SessionRow *session, bool choose_organization)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {UUIDOID, UUIDOID, BOOLOID};
	Datum values[] = {UUIDPGetDatum(&session->account), UUIDPGetDatum(&session->organization),
					  BoolGetDatum(choose_organization)};
	const char *nulls = session->has_organization ? "   " : " n ";
	SpiScope scope;
	bool found;
	bool isnull;
	Datum value;

	SpiEnter(&scope, true);
	found = SpiRun(&plan,
				   "SELECT coalesce(a.retention_days, o.retention_days), a.organization_id"
				   " FROM cauce.account a LEFT JOIN cauce.organization o"
				   " ON o.id = coalesce($2, CASE WHEN $3 THEN a.organization_id END)"
				   " WHERE a.id = $1",
				   3, types, values, nulls, true) == 1;
	if (found)
	{
		value = SpiValue(0, 1, &isnull);
		if (!session->has_days)
			session->days = isnull ? DEFAULT_RETENTION_DAYS : DatumGetInt32(value);
		value = SpiValue(0, 2, &isnull);
		if (choose_organization && !session->has_organization && !isnull)
		{
			session->has_organization = true;
			session->organization = *DatumGetUUIDP(value);
		}
	}
	SpiLeave(&scope);
	if (session->days == 0)
		session->days = DEFAULT_RETENTION_DAYS;
	return found;
}

/* RequireSaneStart keeps started_at where days can be added to it and where keys can be found for it. */
static void
RequireSaneStart(TimestampTz started_at)
{
	if (TIMESTAMP_NOT_FINITE(started_at) || started_at < EARLIEST_START ||
		started_at > LATEST_START)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("started_at is out of range"),
				 errdetail("A session begins between 1900 and 2200.")));
}

/* RequireSaneDays: the table's CHECK says it, too, but only after a key was looked for. */
static void
RequireSaneDays(const SessionRow *session)
{
	if (session->has_days && (session->days < 1 || session->days > KEYRING_HORIZON_DAYS))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("retention must be between 1 and %d days", KEYRING_HORIZON_DAYS),
						errdetail("It is %d.", session->days),
						errhint("NULL leaves the choice to the account.")));
}

/* EndOfRetention is started_at + days, in days of 24 hours: time zones do not matter. */
static TimestampTz
EndOfRetention(const SessionRow *session)
{
	return session->started_at + (TimestampTz) session->days * USECS_PER_DAY;
}

/* OrganizationOf is the session's organization, or NULL. */
static const pg_uuid_t *
OrganizationOf(const SessionRow *session)
{
	return session->has_organization ? &session->organization : NULL;
}

/* KeepEnd makes ended_at follow status. */
static HeapTuple
KeepEnd(Relation relation, HeapTuple row, const SessionRow *session)
{
	if (session->live && session->has_ended_at)
		return SetColumn(relation, row, "ended_at", (Datum) 0, true);
	if (!session->live && !session->has_ended_at)
		return SetColumn(relation, row, "ended_at", TimestampTzGetDatum(GetCurrentTimestamp()),
						 false);
	return row;
}

/* HasRow tells whether a table has the session's row. */
static bool
HasRow(SPIPlanPtr *plan, const char *sql, const SessionRow *session)
{
	SpiScope scope;
	bool found;

	SpiEnter(&scope, true);
	found = SpiRunSession(plan, sql, &session->account, &session->id, true) == 1;
	SpiLeave(&scope);
	return found;
}

/*
 * IsReturning tells whether a session whose key exists already comes back: from its
 * archive, or with a dump. A session that is there is left to the primary key, and
 * so to ON CONFLICT; an archived one is refused, as the new one would share its key.
 */
static bool
IsReturning(const SessionRow *session)
{
	static SPIPlanPtr live = NULL;
	static SPIPlanPtr archived = NULL;

	if (InCustody())
		return true;
	if (HasRow(&live, "SELECT 1 FROM cauce.session WHERE account_id = $1 AND id = $2", session))
		return false;
	if (superuser() &&
		!HasRow(&archived, "SELECT 1 FROM cauce.archived_session WHERE account_id = $1 AND id = $2",
				session))
		return true;
	ereport(ERROR,
			(errcode(ERRCODE_UNIQUE_VIOLATION), errmsg("you have an archived session with this id"),
			 errhint("Leave the id out: a new session gets one of its own.")));
	return false;
}

/* HasInput tells whether a sealed column of the row holds what was just handed in. */
static bool
HasInput(Relation relation, HeapTuple row)
{
	static const char *const columns[] = {"title", "client"};

	for (Size i = 0; i < lengthof(columns); i++)
	{
		bool isnull;
		Datum value = Column(relation, row, columns[i], &isnull);

		if (!isnull && SealedIsInput((Sealed *) PG_DETOAST_DATUM_PACKED(value)))
			return true;
	}
	return false;
}

/*
 * KeepLoaded lets a row of a dump in as it was; its key comes with the dump, or is
 * made when it is first needed.
 */
static HeapTuple
KeepLoaded(Relation relation, HeapTuple row, SessionRow *session)
{
	if (session->has_until)
		return row;
	(void) ChooseRetention(session, false);
	return SetColumn(relation, row, "retain_until", TimestampTzGetDatum(EndOfRetention(session)),
					 false);
}

/* KeepInsert completes a new session and makes its key; a restored one finds its key again. */
static HeapTuple
KeepInsert(Relation relation, HeapTuple row, SessionRow *session)
{
	bool chosen = session->has_organization;
	bool has_account;

	LockKeys(&session->account);
	has_account = ChooseRetention(session, true);
	session->until = EndOfRetention(session);
	if (!has_account) /* yet: one that is inserted by the same statement cannot be seen */
		DataKeyRequireNotErased(&session->account);
	if (!DataKeyCreate(&session->account, OrganizationOf(session), &session->id, session->until))
	{
		if (IsReturning(session))
			RewrapSession(&session->account, OrganizationOf(session), &session->id, session->until);
	}
	if (!chosen && session->has_organization)
		row = SetColumn(relation, row, "organization_id", UUIDPGetDatum(&session->organization),
						false);
	return SetColumn(relation, row, "retain_until", TimestampTzGetDatum(session->until), false);
}

/* SameOrganization compares what may be absent on both sides. */
static bool
SameOrganization(const SessionRow *a, const SessionRow *b)
{
	return a->has_organization == b->has_organization &&
		   (!a->has_organization || SameUuid(&a->organization, &b->organization));
}

/*
 * KeepUpdate computes retain_until anew when what it depends on has changed, or
 * when it was set to anything else than it is (NULL asks for just that).
 */
static HeapTuple
KeepUpdate(Relation relation, HeapTuple row, const SessionRow *old, SessionRow *session)
{
	bool restarted = session->started_at != old->started_at;

	if (!SameUuid(&session->account, &old->account) || !SameUuid(&session->id, &old->id))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("a session cannot change its account or its id"),
						errdetail("Its key and every value in it are bound to both.")));
	if (!restarted && session->has_days == old->has_days && session->days == old->days &&
		session->has_until && session->until == old->until && SameOrganization(session, old))
		return row;

	(void) ChooseRetention(session, false);
	session->until = EndOfRetention(session);
	if (!restarted && session->until < old->until)
		session->until =
			Max(session->until, Min(old->until, GetCurrentTimestamp() +
													(TimestampTz) retention_grace * USECS_PER_SEC));
	RewrapSession(&session->account, OrganizationOf(session), &session->id, session->until);
	return SetColumn(relation, row, "retain_until", TimestampTzGetDatum(session->until), false);
}

/* cauce.keep_session(), BEFORE INSERT OR UPDATE FOR EACH ROW. */
Datum
cauce_keep_session(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Relation relation;
	HeapTuple row;
	SessionRow session;
	SessionRow old;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("keep_session is a trigger BEFORE INSERT OR UPDATE FOR EACH ROW")));
	relation = trigger->tg_relation;
	row = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
	if (!ReadSession(relation, row, &session))
		return PointerGetDatum(row);
	/* A stream token makes no session; cauce.end_stream() updates the one that it is for. */
	AuthorityToWrite(&session.account,
					 TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? &session.id : NULL);
	RequireSaneStart(session.started_at);
	RequireSaneDays(&session);
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		row = AuthorityIsLoading() && !HasInput(relation, row)
				  ? KeepLoaded(relation, row, &session)
				  : KeepInsert(relation, row, &session);
	else if (ReadSession(relation, trigger->tg_trigtuple, &old))
		row = KeepUpdate(relation, row, &old, &session);
	return PointerGetDatum(KeepEnd(relation, row, &session));
}

/* SessionMakeKey makes a key for the rest of the session's retention. */
bool
SessionMakeKey(const pg_uuid_t *account, const pg_uuid_t *session)
{
	static SPIPlanPtr plan = NULL;
	TimestampTz until = 0;
	pg_uuid_t organization;
	bool no_organization = true;
	SpiScope scope;
	bool found;

	LockKeys(account);
	SpiEnter(&scope, true);
	found = SpiRunSession(&plan,
						  "SELECT retain_until, organization_id FROM cauce.session"
						  " WHERE account_id = $1 AND id = $2",
						  account, session, true) == 1;
	if (found)
	{
		bool isnull;
		Datum value;

		until = DatumGetTimestampTz(SpiValue(0, 1, &isnull));
		value = SpiValue(0, 2, &no_organization);
		if (!no_organization)
			organization = *DatumGetUUIDP(value);
	}
	SpiLeave(&scope);
	if (found)
		(void) DataKeyCreate(account, no_organization ? NULL : &organization, session, until);
	return found;
}

/* SessionIsLive looks a session up. */
bool
SessionIsLive(const pg_uuid_t *account, const pg_uuid_t *session)
{
	static SPIPlanPtr plan = NULL;
	SpiScope scope;
	bool live;

	SpiEnter(&scope, true);
	live = SpiRunSession(&plan,
						 "SELECT 1 FROM cauce.session"
						 " WHERE account_id = $1 AND id = $2 AND status = 'live'",
						 account, session, true) == 1;
	SpiLeave(&scope);
	return live;
}
