/*
 * handover.c
 *		Archives on their way between cauce.archived_session and storage, in the background.
 *
 *		in the table ──noted in stored_bundle─► archive_command ─► restore_command gives it back whole ─► not in the table
 *		in the table ◄── restore_command ◄── its key has a next generation (rotation.c)
 *		erased ─► archive_cleanup_command ─► not in stored_bundle
 *
 * A program runs in no transaction: it may take minutes. What it was run for is looked at again afterwards, by the
 * bundle's digest, so that whoever has restored, erased or held the archive meanwhile wins. Killed anywhere, the archive is in
 * the table still, and the next visit stores it again under the same name; whatever may be in storage is in
 * cauce.stored_bundle, which goes before it.
 *
 * A file is removed with its session's key and not before: until then a backup of the database may need it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "duty.h"
#include "evidence.h"
#include "handover.h"
#include "injection.h"
#include "retention.h"
#include "spi.h"
#include "storage.h"

/* A visit begins with no further archive after so long, and looks at so many at most. */
#define VISIT_USECS USECS_PER_MINUTE
#define VISIT_BUNDLES 1000

/* The fourth field of an advisory lock that no SQL function uses; beside keyring_store.c's and spi.c's. */
#define LOCK_STORAGE 14

/* A subquery: the key of archive a, where a rotation has yet to seal what lies under it anew. */
#define SUPERSEDED_KEY                                                                             \
	"(SELECT FROM cauce.data_key k WHERE k.account_id = a.account_id AND k.session_id = a.id"      \
	" AND k.superseded_at IS NOT NULL AND k.resealed_at IS NULL)"

/* Archives in the table; an index serves this. Those under legal hold stay, and those that a rotation is to seal anew. */
static const char ToStore[] =
	"SELECT a.account_id, a.id, NULL::bytea, 0 FROM cauce.archived_session a"
	" WHERE a.bundle IS NOT NULL AND NOT a.legal_hold AND NOT EXISTS"
	" (SELECT FROM cauce.stored_bundle s WHERE s.account_id = a.account_id AND s.session_id = a.id"
	"  AND s.retry_at > now()) AND NOT EXISTS"
	" " SUPERSEDED_KEY " ORDER BY a.archived_at LIMIT $1";

/* Archives elsewhere that a rotation is to seal anew. */
static const char ToBringBack[] =
	"SELECT a.account_id, a.id, a.bundle_digest, a.bundle_bytes FROM cauce.archived_session a"
	" WHERE a.bundle IS NULL AND EXISTS"
	" " SUPERSEDED_KEY " AND NOT EXISTS"
	" (SELECT FROM cauce.stored_bundle s WHERE s.account_id = a.account_id AND s.session_id = a.id"
	"  AND s.digest = a.bundle_digest AND s.retry_at > now())"
	" ORDER BY a.archived_at LIMIT $1";

/* Files of sessions that have been erased. */
static const char ToRemove[] =
	"SELECT s.account_id, s.session_id, s.digest, s.bytes FROM cauce.stored_bundle s"
	" WHERE (s.retry_at IS NULL OR s.retry_at <= now()) AND NOT EXISTS"
	" (SELECT FROM cauce.data_key k WHERE k.account_id = s.account_id"
	"  AND k.session_id = s.session_id) AND NOT EXISTS"
	" (SELECT FROM cauce.archived_session a WHERE a.account_id = s.account_id"
	"  AND a.id = s.session_id)"
	" LIMIT $1";

/* One bundle on its way. */
typedef struct Parcel
{
	pg_uuid_t account;
	StoredBundle stored;
	MemoryContext context; /* outlives transactions */
	struct varlena *bundle; /* NULL while it is in the table, or in storage */
	bool moved;
} Parcel;

/* What a visit takes care of, in a context that outlives transactions. */
typedef struct Round
{
	MemoryContext context;
	SPIPlanPtr *plan;
	const char *sql;
	int count;
	Parcel *parcels;
} Round;

/* What went wrong; its message is a program's failure or our own, and never holds content. */
typedef struct Failed
{
	const Parcel *parcel;
	const char *sqlstate;
	const char *message;
} Failed;

/* How a visit has gone, and until when it may begin with something. */
typedef struct Visited
{
	TimestampTz until;
	int stored;
	int brought_back;
	int removed;
	bool failed;
} Visited;

/* Begin is the duty to find out whether storage is this process's to look after. */
static void
Begin(void *argument)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, 0, LOCK_STORAGE);
	*(bool *) argument = !FollowsPublisher() && LockAcquire(&tag, ExclusiveLock, true, true) !=
													LOCKACQUIRE_NOT_AVAIL; /* until it exits */
}

/* ListParcels is the duty to find what one of the queries above does. */
static void
ListParcels(void *argument)
{
	Round *round = argument;
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(VISIT_BUNDLES)};
	SpiScope scope;

	SpiEnter(&scope, true);
	round->count = (int) SpiRun(round->plan, round->sql, 1, types, values, NULL, true);
	round->parcels = MemoryContextAllocZero(round->context, (round->count + 1) * sizeof(Parcel));
	for (int i = 0; i < round->count; i++)
	{
		Parcel *parcel = &round->parcels[i];
		bool isnull;
		Datum digest;

		parcel->account = *DatumGetUUIDP(SpiValue(i, 1, &isnull));
		parcel->stored.session = *DatumGetUUIDP(SpiValue(i, 2, &isnull));
		digest = SpiValue(i, 3, &isnull);
		if (!isnull)
			StorageRead(digest, SpiValue(i, 4, &isnull), &parcel->stored);
	}
	SpiLeave(&scope);
}

/* RunFor runs a statement about a parcel: $1 account, $2 session, $3 digest, $4 its bundle or NULL, $5 its size. */
static uint64
RunFor(SPIPlanPtr *plan, const char *sql, const Parcel *parcel)
{
	Oid types[] = {UUIDOID, UUIDOID, BYTEAOID, BYTEAOID, INT4OID};
	Datum values[] = {UUIDPGetDatum(&parcel->account), UUIDPGetDatum(&parcel->stored.session),
					  EvidenceBytea(parcel->stored.digest), PointerGetDatum(parcel->bundle),
					  Int32GetDatum((int32) parcel->stored.size)};

	if (parcel->bundle != NULL)
		return SpiRunGeneric(plan, sql, lengthof(types), types, values, false);
	return SpiRun(plan, sql, lengthof(types), types, values, "   n ", false);
}

/*
 * Load is the duty to read an archive's bundle, and to note that it may be in storage from now on. It
 * leaves no bundle where there is none any more.
 */
static void
Load(void *argument)
{
	static SPIPlanPtr read = NULL;
	static SPIPlanPtr note = NULL;
	Parcel *parcel = argument;
	SpiScope scope;
	bool isnull;

	SpiEnter(&scope, true);
	if (SpiRunSession(&read,
					  "SELECT bundle FROM cauce.archived_session WHERE account_id = $1 AND id = $2"
					  " AND bundle IS NOT NULL AND NOT legal_hold",
					  &parcel->account, &parcel->stored.session, true) == 1)
	{
		struct varlena *bundle = PG_DETOAST_DATUM_PACKED(SpiValue(0, 1, &isnull));

		StorageDescribe(&parcel->stored.session, bundle, &parcel->stored);
		RunFor(&note,
			   "INSERT INTO cauce.stored_bundle (account_id, session_id, digest, bytes)"
			   " VALUES ($1, $2, $3, $5) ON CONFLICT DO NOTHING",
			   parcel);
		parcel->bundle = MemoryContextAlloc(parcel->context, VARSIZE_ANY(bundle));
		memcpy(parcel->bundle, bundle, VARSIZE_ANY(bundle));
	}
	SpiLeave(&scope);
}

/* NoteMoved notes what became of a parcel, so that it is not looked at as one that fails. Inside of an SpiScope. */
static void
NoteMoved(const Parcel *parcel)
{
	static SPIPlanPtr plan = NULL;

	RunFor(&plan,
		   "UPDATE cauce.stored_bundle SET stored_at = coalesce(stored_at, now()), sqlstate = NULL,"
		   " message = NULL, attempts = 0, failed_at = NULL, retry_at = NULL"
		   " WHERE account_id = $1 AND session_id = $2 AND digest = $3",
		   parcel);
}

/*
 * LetGo is the duty to have an archive in storage only, unless it is not what was stored any more, or somebody
 * holds it.
 */
static void
LetGo(void *argument)
{
	static SPIPlanPtr plan = NULL;
	Parcel *parcel = argument;
	SpiScope scope;

	SpiEnter(&scope, true);
	parcel->moved = RunFor(&plan,
						   "UPDATE cauce.archived_session SET bundle = $4, bundle_digest = $3,"
						   " bundle_bytes = $5 WHERE (account_id, id) IN (SELECT a.account_id, a.id"
						   "  FROM cauce.archived_session a WHERE a.account_id = $1 AND a.id = $2"
						   "  AND NOT a.legal_hold AND sha256(a.bundle) = $3 AND NOT EXISTS"
						   " " SUPERSEDED_KEY "  FOR NO KEY UPDATE SKIP LOCKED)",
						   parcel) == 1;
	CAUCE_POINT("handover_let_go");
	NoteMoved(parcel);
	SpiLeave(&scope);
}

/* PutBack is the duty to have an archive in the table again. */
static void
PutBack(void *argument)
{
	static SPIPlanPtr plan = NULL;
	Parcel *parcel = argument;
	SpiScope scope;

	SpiEnter(&scope, true);
	parcel->moved =
		RunFor(&plan,
			   "UPDATE cauce.archived_session SET bundle = $4, bundle_digest = NULL,"
			   " bundle_bytes = NULL WHERE (account_id, id) IN (SELECT a.account_id, a.id"
			   "  FROM cauce.archived_session a WHERE a.account_id = $1 AND a.id = $2"
			   "  AND a.bundle_digest = $3 AND a.bundle_bytes = $5"
			   "  FOR NO KEY UPDATE SKIP LOCKED)",
			   parcel) == 1;
	parcel->bundle = NULL;
	CAUCE_POINT("handover_put_back");
	NoteMoved(parcel);
	SpiLeave(&scope);
}

/* Forget is the duty to know of a file no more. */
static void
Forget(void *argument)
{
	static SPIPlanPtr plan = NULL;
	SpiScope scope;

	SpiEnter(&scope, true);
	RunFor(&plan,
		   "DELETE FROM cauce.stored_bundle WHERE account_id = $1 AND session_id = $2"
		   " AND digest = $3",
		   argument);
	SpiLeave(&scope);
}

/* NoteFailure is the duty to put a parcel off: a minute, doubling to a day, with jitter. */
static void
NoteFailure(void *argument)
{
	static SPIPlanPtr plan = NULL;
	const Failed *failed = argument;
	const Parcel *parcel = failed->parcel;
	Oid types[] = {UUIDOID, UUIDOID, BYTEAOID, INT4OID, TEXTOID, TEXTOID};
	Datum values[] = {
		UUIDPGetDatum(&parcel->account),	   UUIDPGetDatum(&parcel->stored.session),
		EvidenceBytea(parcel->stored.digest),  Int32GetDatum((int32) parcel->stored.size),
		CStringGetTextDatum(failed->sqlstate), CStringGetTextDatum(failed->message)};
	SpiScope scope;

	SpiEnter(&scope, true);
	SpiRun(&plan,
		   "INSERT INTO cauce.stored_bundle AS f (account_id, session_id, digest, bytes, sqlstate,"
		   " message, attempts, failed_at, retry_at) VALUES ($1, $2, $3, $4, $5, $6, 1, now(),"
		   " " RETRY_FIRST ")"
		   " ON CONFLICT (account_id, session_id, digest) DO UPDATE SET sqlstate = $5,"
		   " message = $6, attempts = f.attempts + 1, failed_at = now(), retry_at = " RETRY_NEXT,
		   lengthof(types), types, values, NULL, false);
	SpiLeave(&scope);
}

/* Send has a parcel stored, and given back once to see that it was: the table has the only other copy. */
static void
Send(Parcel *parcel)
{
	CAUCE_POINT("handover_noted");
	StoragePut(&parcel->stored, parcel->bundle);
	CAUCE_POINT("handover_stored");
	pfree(parcel->bundle);
	parcel->bundle = NULL;
	pfree(StorageGet(&parcel->stored));
	CAUCE_POINT("handover_seen");
}

/* Fetch has a parcel brought back. */
static void
Fetch(Parcel *parcel)
{
	parcel->bundle = StorageGet(&parcel->stored);
	CAUCE_POINT("handover_fetched");
}

/* Remove has a parcel's file removed. */
static void
Remove(Parcel *parcel)
{
	StorageRemove(&parcel->stored);
	CAUCE_POINT("handover_removed");
}

/* Attempt runs programs, in no transaction; false, logged and noted when that fails. A cancel or shutdown goes on up. */
static bool
Attempt(void (*run)(Parcel *parcel), Parcel *parcel, const char *what)
{
	MemoryContext context = CurrentMemoryContext;
	ErrorData *volatile error = NULL;
	Failed failed = {.parcel = parcel};

	PG_TRY();
	{
		run(parcel);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN ||
			error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			PG_RE_THROW();
		FlushErrorState();
	}
	PG_END_TRY();
	if (error == NULL)
		return true;
	ereport(WARNING, (errcode(error->sqlerrcode), errmsg("could not %s: %s", what, error->message),
					  error->detail != NULL ? errdetail("%s", error->detail) : 0,
					  error->hint != NULL ? errhint("%s", error->hint) : 0));
	failed.sqlstate = pstrdup(unpack_sql_state(error->sqlerrcode));
	failed.message =
		error->detail != NULL ? psprintf("%s: %s", error->message, error->detail) : error->message;
	(void) AttemptDuty(NoteFailure, &failed, WARNING, "note that storage fails");
	return false;
}

/* One archive at a time: whether to go on. Storage that fails for one is left alone until the next visit. */
typedef bool (*Step)(Parcel *parcel, Visited *visited);

static bool
StoreOne(Parcel *parcel, Visited *visited)
{
	if (!AttemptDuty(Load, parcel, WARNING, "read an archive") || parcel->bundle == NULL)
		return true; /* this one's trouble is not storage's */
	if (!Attempt(Send, parcel, "hand over an archive"))
		return false;
	if (AttemptDuty(LetGo, parcel, WARNING, "note that an archive was handed over") &&
		parcel->moved)
		visited->stored++;
	return true;
}

static bool
BringBackOne(Parcel *parcel, Visited *visited)
{
	if (!Attempt(Fetch, parcel, "bring back an archive"))
		return false;
	if (AttemptDuty(PutBack, parcel, WARNING, "put back an archive") && parcel->moved)
		visited->brought_back++;
	return true;
}

static bool
RemoveOne(Parcel *parcel, Visited *visited)
{
	if (!Attempt(Remove, parcel, "remove an erased archive from storage"))
		return false;
	if (AttemptDuty(Forget, parcel, WARNING, "note that an erased archive was removed"))
		visited->removed++;
	return true;
}

/* GoRound takes each step of a round in memory of its own, as long as there is time and nothing fails. */
static void
GoRound(SPIPlanPtr *plan, const char *sql, Step step, Visited *visited)
{
	MemoryContext before = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(before, "cauce handover", ALLOCSET_DEFAULT_SIZES);
	MemoryContext one = AllocSetContextCreate(context, "cauce bundle", ALLOCSET_DEFAULT_SIZES);
	Round round = {.context = context, .plan = plan, .sql = sql};

	MemoryContextSwitchTo(one);
	if (!visited->failed && AttemptDuty(ListParcels, &round, WARNING, "list archives"))
	{
		for (int i = 0; i < round.count && !visited->failed; i++)
		{
			CHECK_FOR_INTERRUPTS();
			if (GetCurrentTimestamp() >= visited->until)
				break;
			round.parcels[i].context = one;
			visited->failed = !step(&round.parcels[i], visited);
			MemoryContextReset(one);
		}
	}
	MemoryContextSwitchTo(before);
	MemoryContextDelete(context);
}

/* HandoverRun goes round. */
void
HandoverRun(void)
{
	static SPIPlanPtr to_store = NULL;
	static SPIPlanPtr to_bring_back = NULL;
	static SPIPlanPtr to_remove = NULL;
	Visited visited = {.until = GetCurrentTimestamp() + VISIT_USECS};
	bool mine = false;

	if (!StorageTakes() && !StorageGives() && !StorageRemoves())
		return;
	if (!AttemptDuty(Begin, &mine, WARNING, "begin with storage") || !mine)
		return;
	pgstat_report_activity(STATE_RUNNING, "cauce archives");
	if (StorageGives())
		GoRound(&to_bring_back, ToBringBack, BringBackOne, &visited);
	if (StorageTakes())
		GoRound(&to_store, ToStore, StoreOne, &visited);
	if (StorageRemoves())
		GoRound(&to_remove, ToRemove, RemoveOne, &visited);
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	if (visited.stored + visited.brought_back + visited.removed > 0)
		ereport(LOG, (errmsg("cauce archives: %d handed over, %d brought back, %d removed",
							 visited.stored, visited.brought_back, visited.removed)));
}
