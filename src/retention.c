/*
 * retention.c
 *		One retention run.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "archive.h"
#include "clock.h"
#include "erase.h"
#include "identity.h"
#include "pace.h"
#include "retention.h"
#include "spi.h"

PG_FUNCTION_INFO_V1(cauce_perform_retention);

/* Any role may listen there, so that counts are all that is told. */
#define CHANNEL "cauce_retention"
/* Above this share PostgreSQL's queue of notifications is left to others: where it is full, a commit fails. */
#define QUEUE_LEFT_TO_OTHERS 0.9

typedef enum DueAction
{
	DUE_ARCHIVE,
	DUE_DELETE,
	DUE_DELETE_ARCHIVE
} DueAction;

typedef struct DueSession
{
	pg_uuid_t account;
	pg_uuid_t session;
	DueAction action;
	bool has_organization; /* of a session that is to be archived */
	pg_uuid_t organization;
} DueSession;

/*
 * Sessions are taken in the order of accounts, so that two runners lock the
 * accounts' certificate chains in the same order. Their accounts are locked as an archive's foreign key does,
 * which finds them so: by each session's subtransaction anew, the locks on a row would grow into a list.
 */
static const char DueSessions[] =
	"SELECT s.account_id, s.id,"
	" coalesce(a.retention_action, o.retention_action, 'archive') = 'archive', s.organization_id"
	" FROM cauce.session s JOIN cauce.account a ON a.id = s.account_id"
	" LEFT JOIN cauce.organization o ON o.id = s.organization_id"
	" WHERE s.retain_until <= now() AND NOT s.legal_hold AND NOT EXISTS"
	" (SELECT 1 FROM cauce.retention_failure f WHERE f.account_id = s.account_id"
	"  AND f.session_id = s.id AND f.retry_at > now())"
	" ORDER BY s.account_id, s.retain_until LIMIT $1 FOR UPDATE OF s SKIP LOCKED"
	" FOR KEY SHARE OF a SKIP LOCKED";

static const char DueArchives[] =
	"SELECT account_id, id FROM cauce.archived_session d"
	" WHERE delete_after <= now() AND NOT legal_hold AND NOT EXISTS"
	" (SELECT 1 FROM cauce.retention_failure f WHERE f.account_id = d.account_id"
	"  AND f.session_id = d.id AND f.retry_at > now())"
	" ORDER BY account_id, delete_after LIMIT $1 FOR UPDATE SKIP LOCKED";

/* FollowsPublisher asks the catalog of subscriptions. */
bool
FollowsPublisher(void)
{
	static SPIPlanPtr plan = NULL;
	SpiScope scope;
	bool follows;

	SpiEnter(&scope, true);
	follows = SpiRun(&plan,
					 "SELECT 1 FROM pg_subscription_rel"
					 " WHERE srrelid = 'cauce.session'::regclass LIMIT 1",
					 0, NULL, NULL, NULL, true) > 0;
	SpiLeave(&scope);
	return follows;
}

/* ReadSession reads what is due to a session, row at of the result. */
static void
ReadSession(uint64 at, DueSession *due)
{
	bool isnull;
	Datum organization;

	due->action = DatumGetBool(SpiValue(at, 3, &isnull)) ? DUE_ARCHIVE : DUE_DELETE;
	organization = SpiValue(at, 4, &isnull);
	due->has_organization = due->action == DUE_ARCHIVE && !isnull;
	if (due->has_organization)
		due->organization = *DatumGetUUIDP(organization);
}

/* ReadDue appends what one of the queries above finds; gives the new count. */
static int
ReadDue(SPIPlanPtr *plan, const char *sql, bool archives, DueSession *due, int count, int max)
{
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(max - count)};
	uint64 found;

	if (count >= max)
		return count;
	found = SpiRun(plan, sql, 1, types, values, NULL, false);
	for (uint64 i = 0; i < found; i++)
	{
		bool isnull;
		DueSession *one = &due[count++];

		one->account = *DatumGetUUIDP(SpiValue(i, 1, &isnull));
		one->session = *DatumGetUUIDP(SpiValue(i, 2, &isnull));
		if (archives)
			one->action = DUE_DELETE_ARCHIVE;
		else
			ReadSession(i, one);
	}
	return count;
}

/* HoldOrganizations locks the organizations of sessions that are to be archived likewise. */
static void
HoldOrganizations(const DueSession *due, int count)
{
	static SPIPlanPtr plan = NULL;
	const pg_uuid_t *last = NULL;
	Oid types[] = {UUIDOID};

	for (int i = 0; i < count; i++)
	{
		Datum values[] = {UUIDPGetDatum(&due[i].organization)};

		if (!due[i].has_organization || (last != NULL && SameUuid(last, &due[i].organization)))
			continue;
		last = &due[i].organization;
		SpiRunLatest(&plan, "SELECT FROM cauce.organization WHERE id = $1 FOR KEY SHARE", 1, types,
					 values, NULL);
	}
}

/* What may be done without triggers; it holds until the run ends. */
typedef struct Quietly
{
	bool archive;
	bool erase;
} Quietly;

/* Process does what is due to one session. */
static void
Process(const DueSession *due, const Quietly *quietly)
{
	switch (due->action)
	{
		case DUE_ARCHIVE:
			(void) ArchiveSession(&due->account, &due->session, quietly->archive);
			break;
		case DUE_DELETE:
			(void) EraseLockedSession(&due->account, &due->session, "retention", quietly->erase);
			break;
		case DUE_DELETE_ARCHIVE:
			(void) EraseArchive(&due->account, &due->session, "retention");
			break;
	}
}

/* What went wrong with one session; sqlerrcode 0 for nothing. */
typedef struct Failure
{
	int sqlerrcode;
	const char
		*message; /* as it is in the source, without the values: no content can be in it; or NULL */
} Failure;

/*
 * RecordFailure keeps SQLSTATE and message and puts the session off: a minute, doubling to a day,
 * with jitter.
 */
static void
RecordFailure(const DueSession *due, const Failure *failure)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {UUIDOID, UUIDOID, TEXTOID, TEXTOID};
	Datum values[] = {UUIDPGetDatum(&due->account), UUIDPGetDatum(&due->session),
					  CStringGetTextDatum(unpack_sql_state(failure->sqlerrcode)),
					  failure->message != NULL ? CStringGetTextDatum(failure->message) : (Datum) 0};
	const char nulls[] = {' ', ' ', ' ', failure->message != NULL ? ' ' : 'n', '\0'};
	SpiScope scope;

	SpiEnter(&scope, false);
	SpiRun(&plan,
		   "INSERT INTO cauce.retention_failure AS f"
		   " (account_id, session_id, sqlstate, message, attempts, failed_at, retry_at)"
		   " VALUES ($1, $2, $3, $4, 1, now(), " RETRY_FIRST ")"
		   " ON CONFLICT (account_id, session_id) DO UPDATE SET sqlstate = $3, message = $4,"
		   " attempts = f.attempts + 1, failed_at = now(), retry_at = " RETRY_NEXT,
		   lengthof(types), types, values, nulls, false);
	SpiLeave(&scope);
}

/* MessageOfError is what an error says without its values; NULL where it is nothing but a value. */
static const char *
MessageOfError(const ErrorData *error)
{
	if (error->message_id == NULL || strcmp(error->message_id, "%s") == 0)
		return NULL;
	return pstrdup(error->message_id);
}

/* TryProcess works in a subtransaction, and tells what went wrong. */
static Failure
TryProcess(const DueSession *due, const Quietly *quietly)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile Failure failure = {0};

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		Process(due, quietly);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		failure.sqlerrcode = error->sqlerrcode;
		failure.message = MessageOfError(error);
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
			error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
			PG_RE_THROW();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		FreeErrorData(error);
	}
	PG_END_TRY();
	return (Failure){failure.sqlerrcode, failure.message};
}

/* StartRun opens the run's row. */
static int64
StartRun(void)
{
	static SPIPlanPtr plan = NULL;
	bool isnull;

	SpiRun(&plan,
		   "INSERT INTO cauce.retention_run (started_at) VALUES (clock_timestamp()) RETURNING id",
		   0, NULL, NULL, NULL, false);
	return DatumGetInt64(SpiValue(0, 1, &isnull));
}

/* MessageOf says in a run's row what was in its way; NULL for nothing. */
static const char *
MessageOf(const RetentionResult *result, int sqlerrcode)
{
	if (result->held)
		return "the clock is not trusted";
	if (sqlerrcode != 0)
		return psprintf("last failure: SQLSTATE %s", unpack_sql_state(sqlerrcode));
	return NULL;
}

/*
 * FinishRun closes it, forgets failures of sessions that have been erased or archived since, and prunes
 * the history: a month of empty runs, 400 days of others.
 */
static void
FinishRun(const RetentionResult *result, int sqlerrcode)
{
	static SPIPlanPtr finish = NULL;
	static SPIPlanPtr forget = NULL;
	static SPIPlanPtr prune = NULL;
	Oid types[] = {INT8OID, INT4OID, INT4OID, INT4OID, TEXTOID};
	const char *message = MessageOf(result, sqlerrcode);
	Datum values[5];
	char nulls[] = "     ";
	SpiScope scope;

	values[0] = Int64GetDatum(result->run);
	values[1] = Int32GetDatum(result->archived);
	values[2] = Int32GetDatum(result->deleted);
	values[3] = Int32GetDatum(result->failed);
	values[4] = message != NULL ? CStringGetTextDatum(message) : (Datum) 0;
	nulls[4] = message != NULL ? ' ' : 'n';
	SpiEnter(&scope, false);
	SpiRun(&finish,
		   "UPDATE cauce.retention_run SET finished_at = clock_timestamp(), archived = $2,"
		   " deleted = $3, failed = $4, message = $5 WHERE id = $1",
		   5, types, values, nulls, false);
	SpiRun(&forget,
		   "DELETE FROM cauce.retention_failure f WHERE NOT EXISTS (SELECT FROM cauce.session s"
		   " WHERE s.account_id = f.account_id AND s.id = f.session_id)"
		   " AND NOT EXISTS (SELECT FROM cauce.archived_session a WHERE a.account_id = f.account_id"
		   " AND a.id = f.session_id AND a.archived_at < f.failed_at)",
		   0, NULL, NULL, NULL, false);
	if (!result->held)
		SpiRun(&prune,
			   "DELETE FROM cauce.retention_run WHERE started_at < now() - interval '400 days'"
			   " OR (started_at < now() - interval '30 days' AND archived + deleted + failed = 0)",
			   0, NULL, NULL, NULL, false);
	SpiLeave(&scope);
}

/* Tell notifies whoever listens of what the transaction did, once it is committed; of nothing, nobody. */
static void
Tell(const RetentionResult *result)
{
	double usage = DatumGetFloat8(DirectFunctionCall1(pg_notification_queue_usage, (Datum) 0));

	if (result->archived + result->deleted + result->failed > 0 && usage < QUEUE_LEFT_TO_OTHERS)
		Async_Notify(CHANNEL, psprintf("{\"archived\": %d, \"deleted\": %d, \"failed\": %d}",
									   result->archived, result->deleted, result->failed));
}

/*
 * FireAtOnce has constraint triggers of every table fire at the end of each statement: left to
 * the end of the transaction they would run as whoever this run is for, be it the server's own
 * worker. What was waiting before runs as it would have then.
 */
static void
FireAtOnce(void)
{
	SpiActor before;

	GetUserIdAndSecContext(&before.user, &before.security);
	SetUserIdAndSecContext(GetOuterUserId(), before.security | SECURITY_LOCAL_USERID_CHANGE);
	if (SPI_execute("SET CONSTRAINTS ALL IMMEDIATE", false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not set the constraints");
	SpiReturn(&before);
}

/* RetentionRun runs. */
void
RetentionRun(int max_sessions, RetentionResult *result)
{
	static SPIPlanPtr sessions = NULL;
	static SPIPlanPtr archives = NULL;
	DueSession *due = palloc0(sizeof(DueSession) * max_sessions);
	Quietly quietly = {0};
	TimestampTz now;
	SpiScope scope;
	Pace pace;
	int last_failure = 0;
	int count = 0;

	PaceBegin(&pace);
	memset(result, 0, sizeof(*result));
	SpiEnter(&scope, false);
	FireAtOnce();
	result->run = StartRun();
	result->held = !ClockIsTrusted(&now);
	if (!result->held && !FollowsPublisher())
	{
		count = ReadDue(&sessions, DueSessions, false, due, 0, max_sessions);
		HoldOrganizations(due, count);
		count = ReadDue(&archives, DueArchives, true, due, count, max_sessions);
	}
	if (count > 0)
		quietly = (Quietly){.archive = ArchiveMayQuietly(), .erase = EraseMayQuietly()};
	SpiLeave(&scope);
	GiveWay(&pace);

	for (int i = 0; i < count; i++)
	{
		Failure failure;

		CHECK_FOR_INTERRUPTS();
		failure = TryProcess(&due[i], &quietly);
		if (failure.sqlerrcode != 0)
		{
			RecordFailure(&due[i], &failure);
			result->failed++;
			last_failure = failure.sqlerrcode;
		}
		else if (due[i].action == DUE_ARCHIVE)
			result->archived++;
		else
			result->deleted++;
		GiveWay(&pace);
	}
	FinishRun(result, last_failure);
	Tell(result);
	pfree(due);
}

/* cauce.perform_retention(max_sessions): the id of the run. */
Datum
cauce_perform_retention(PG_FUNCTION_ARGS)
{
	int max_sessions = PG_GETARG_INT32(0);
	RetentionResult result;

	if (max_sessions < 1 || max_sessions > 100000)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("max_sessions must be between 1 and 100000"),
						errdetail("It is %d.", max_sessions),
						errhint("Call cauce.run_retention() more often instead.")));
	RetentionRun(max_sessions, &result);
	if (result.held)
		ereport(WARNING, (errmsg("the clock is not trusted; nothing was archived or erased"),
						  errhint("SELECT * FROM cauce.retention_status says until when; if it is "
								  "right, SELECT cauce.confirm_clock().")));
	PG_RETURN_INT64(result.run);
}
