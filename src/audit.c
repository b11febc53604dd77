/*
 * audit.c
 *		Writing the audit log.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "replication/logicalworker.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "audit.h"
#include "datakey.h"
#include "evidence.h"
#include "identity.h"
#include "quiet.h"
#include "spi.h"
#include "witness.h"

PG_FUNCTION_INFO_V1(cauce_record_change);
PG_FUNCTION_INFO_V1(cauce_record_at_once);
PG_FUNCTION_INFO_V1(cauce_append_only);

/* Of cauce.audit_log. */
#define LOG_COLUMNS 13

/* First guess of the number of entries of a transaction. */
#define NOTED_AT_FIRST 8

/* A chain whose beginning is this much too old is pruned: about once a month. */
#define PRUNE_EVERY_DAYS 30
#define CHAINS_PRUNED_AT_ONCE 100

static int audit_days = 1095;

/*
 * What this transaction has noted, and the subtransactions that may still undo it; in the
 * transaction's memory.
 */
static struct
{
	AuditEntry *entries;
	SubTransactionId *subtransactions;
	int count;
	int room;
} noted;

/* The end of a chain. */
typedef struct ChainEnd
{
	pg_uuid_t chain;
	bool follows; /* there is an entry */
	uint8 digest[CIPHER_DIGEST_BYTES];
	TimestampTz at;
} ChainEnd;

static bool pruning = false;
static bool appending = false;

/* IsNil tells the UUID that stands for none. */
static bool
IsNil(const pg_uuid_t *uuid)
{
	static const pg_uuid_t nil = {{0}};

	return SameUuid(uuid, &nil);
}

/* ChainOf is the id of the chain that an entry belongs to. */
static const pg_uuid_t *
ChainOf(const AuditEntry *entry)
{
	return IsNil(&entry->account) && entry->has_organization ? &entry->organization
															 : &entry->account;
}

/* SameChain tells whether two entries belong to one chain. */
static bool
SameChain(const AuditEntry *one, const AuditEntry *other)
{
	return SameUuid(&one->account, &other->account) && SameUuid(ChainOf(one), ChainOf(other));
}

/* CompareEntries orders pointers to entries by account and chain, and within a chain as they stand. */
static int
CompareEntries(const void *a, const void *b)
{
	const AuditEntry *one = *(const AuditEntry *const *) a;
	const AuditEntry *other = *(const AuditEntry *const *) b;
	int order = memcmp(&one->account, &other->account, UUID_LEN);

	if (order == 0)
		order = memcmp(ChainOf(one), ChainOf(other), UUID_LEN);
	return order != 0 ? order : one < other ? -1 : one > other;
}

/* Clip copies a text, or as many whole characters of it as fit. */
static void
Clip(char *into, const char *text, int size)
{
	int length = pg_mbcliplen(text, (int) strlen(text), size - 1);

	memcpy(into, text, (size_t) length);
	into[length] = '\0';
}

/* AuditFill begins an entry. */
void
AuditFill(AuditEntry *entry, const pg_uuid_t *account, const pg_uuid_t *organization,
		  const pg_uuid_t *session, const char *action, const char *reason)
{
	memset(entry, 0, sizeof(*entry));
	if (account != NULL)
		entry->account = *account;
	entry->has_organization = organization != NULL;
	if (organization != NULL)
		entry->organization = *organization;
	entry->has_session = session != NULL;
	if (session != NULL)
		entry->session = *session;
	Clip(entry->action, action, AUDIT_MAX_ACTION);
	if (reason != NULL)
		Clip(entry->reason, reason, AUDIT_MAX_REASON);
}

/* IsOurWorker tells a background process of cauce's. */
static bool
IsOurWorker(void)
{
	return MyBgworkerEntry != NULL && strcmp(MyBgworkerEntry->bgw_library_name, "cauce") == 0;
}

/* RoleOfLogin says what a database role is to cauce. */
static const char *
RoleOfLogin(Oid login)
{
	Oid operator= get_role_oid("cauce_operator", true);

	if (superuser_arg(login))
		return "superuser";
	return OidIsValid(operator) && has_privs_of_role(login, operator) ? "operator" : "role";
}

/*
 * AuditActor names who is asking. What an account does to itself is told by its id alone, so
 * that nothing personal is left when it is erased.
 */
void
AuditActor(AuditEntry *entry)
{
	const Identity *who = CurrentIdentity();

	if (who != NULL)
	{
		bool owner = SameUuid(&who->account, &entry->account);

		char *subject = pg_any_to_server(who->subject, (int) strlen(who->subject), PG_UTF8);

		Clip(entry->actor, owner ? UuidText(&who->account) : subject, AUDIT_MAX_ACTOR);
		Clip(entry->role, owner ? "owner" : who->is_admin ? "admin" : "account", AUDIT_MAX_ROLE);
	}
	else if (IsOurWorker())
	{
		Clip(entry->actor, MyBgworkerEntry->bgw_type, AUDIT_MAX_ACTOR);
		Clip(entry->role, "worker", AUDIT_MAX_ROLE);
	}
	else
	{
		Clip(entry->actor, GetUserNameFromId(GetSessionUserId(), false), AUDIT_MAX_ACTOR);
		Clip(entry->role, RoleOfLogin(GetSessionUserId()), AUDIT_MAX_ROLE);
	}
}

/* ReadEnd finds the end of an entry's chain, as it is committed now. Inside of an SpiScope. */
static void
ReadEnd(const AuditEntry *entry, ChainEnd *end)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {UUIDOID, UUIDOID};
	Datum values[] = {UUIDPGetDatum(&entry->account), UUIDPGetDatum(ChainOf(entry))};
	bool isnull;

	end->chain = *ChainOf(entry);
	end->follows = SpiRunLatest(&plan,
								"SELECT digest, at FROM cauce.audit_log"
								" WHERE account_id = $1 AND chain = $2 ORDER BY at DESC LIMIT 1",
								2, types, values, NULL) == 1;
	if (end->follows)
	{
		memcpy(end->digest, VARDATA_ANY(DatumGetByteaPP(SpiValue(0, 1, &isnull))),
			   CIPHER_DIGEST_BYTES);
		end->at = DatumGetTimestampTz(SpiValue(0, 2, &isnull));
	}
}

/* OrNull is the canonical text of what may be absent. */
static const char *
OrNull(bool present, const pg_uuid_t *uuid)
{
	return present ? UuidText(uuid) : NULL;
}

/* SignEntry builds and signs the payload; texts go into it as UTF-8, as JSON has to be. */
static char *
SignEntry(const AuditEntry *entry, const pg_uuid_t *id, TimestampTz at, const ChainEnd *end)
{
	const char *actor = pg_server_to_any(entry->actor, (int) strlen(entry->actor), PG_UTF8);
	const char *reason = pg_server_to_any(entry->reason, (int) strlen(entry->reason), PG_UTF8);
	StringInfoData payload;

	initStringInfo(&payload);
	JoseClaim(&payload, "iss", "cauce");
	JoseClaim(&payload, "jti", UuidText(id));
	JoseClaim(&payload, "at", EvidenceTime(at));
	JoseClaim(&payload, "actor", actor);
	JoseClaim(&payload, "role", entry->role);
	JoseClaim(&payload, "action", entry->action);
	JoseClaim(&payload, "account_id", UuidText(&entry->account));
	JoseClaim(&payload, "organization_id", OrNull(entry->has_organization, &entry->organization));
	JoseClaim(&payload, "session_id", OrNull(entry->has_session, &entry->session));
	JoseClaim(&payload, "reason", entry->reason[0] != '\0' ? reason : NULL);
	JoseClaim(&payload, "chain", UuidText(&end->chain));
	JoseClaim(&payload, "previous_digest", end->follows ? EvidenceHex(end->digest) : NULL);
	return JoseSign(&payload, TYPE_AUDIT_ENTRY);
}

/* AddRow adds a row of cauce.audit_log; writer may be NULL. */
static void
AddRow(QuietWriter *writer, Datum *values, const bool *nulls)
{
	static SPIPlanPtr plan = NULL;
	Oid types[LOG_COLUMNS] = {UUIDOID,	TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID,
							  UUIDOID,	UUIDOID,		UUIDOID, TEXTOID, UUIDOID,
							  BYTEAOID, BYTEAOID,		TEXTOID};

	if (writer != NULL)
		QuietAdd(writer, values, nulls);
	else
		SpiRunLatest(&plan,
					 "INSERT INTO cauce.audit_log (id, at, actor, role, action, account_id,"
					 " organization_id, session_id, reason, chain, previous_digest, digest, jws)"
					 " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
					 LOG_COLUMNS, types, values, SpiNulls(nulls, LOG_COLUMNS));
}

/* AppendOne appends one entry and makes it the end of the chain. Inside of an SpiScope. */
static void
AppendOne(QuietWriter *writer, const AuditEntry *entry, ChainEnd *end)
{
	Datum values[LOG_COLUMNS];
	bool nulls[LOG_COLUMNS] = {false};
	TimestampTz at = GetCurrentTimestamp();
	uint8 digest[CIPHER_DIGEST_BYTES];
	pg_uuid_t id;
	char *jws;

	if (end->follows && at <= end->at)
		at = end->at + 1; /* the order of the chain, whatever the clock does */
	CipherRandomUuid(&id);
	jws = SignEntry(entry, &id, at, end);
	EvidenceDigest(jws, digest);
	values[0] = UUIDPGetDatum(&id);
	values[1] = TimestampTzGetDatum(at);
	values[2] = CStringGetTextDatum(entry->actor);
	values[3] = CStringGetTextDatum(entry->role);
	values[4] = CStringGetTextDatum(entry->action);
	values[5] = UUIDPGetDatum(&entry->account);
	values[6] = UUIDPGetDatum(&entry->organization);
	nulls[6] = !entry->has_organization;
	values[7] = UUIDPGetDatum(&entry->session);
	nulls[7] = !entry->has_session;
	values[8] = CStringGetTextDatum(entry->reason);
	nulls[8] = entry->reason[0] == '\0';
	values[9] = UUIDPGetDatum(&end->chain);
	values[10] = end->follows ? EvidenceBytea(end->digest) : (Datum) 0;
	nulls[10] = !end->follows;
	values[11] = EvidenceBytea(digest);
	values[12] = CStringGetTextDatum(jws);
	AddRow(writer, values, nulls);
	memcpy(end->digest, digest, sizeof(digest));
	end->follows = true;
	end->at = at;
}

/*
 * IsPublishers tells whether the log comes from another database: entries of our own would stop
 * its replication. Inside of an SpiScope.
 */
static bool
IsPublishers(void)
{
	static SPIPlanPtr plan = NULL;

	return SpiRun(&plan,
				  "SELECT FROM pg_subscription_rel WHERE srrelid = 'cauce.audit_log'::regclass "
				  "LIMIT 1",
				  0, NULL, NULL, NULL, true) > 0;
}

/* AppendAll appends entries, those of one chain one after the other. Inside of an SpiScope. */
static void
AppendAll(const AuditEntry **entries, int count)
{
	QuietWriter *writer = QuietOpen("audit_log", LOG_COLUMNS, 0);
	MemoryContext all = CurrentMemoryContext;
	MemoryContext one = AllocSetContextCreate(all, "audit entry", ALLOCSET_DEFAULT_SIZES);
	ChainEnd end = {0};

	for (int i = 0; i < count; i++)
	{
		if (i == 0 || !SameChain(entries[i - 1], entries[i]))
		{
			LockChain(CHAIN_AUDIT, ChainOf(entries[i]));
			ReadEnd(entries[i], &end);
		}
		MemoryContextSwitchTo(one);
		AppendOne(writer, entries[i], &end);
		MemoryContextSwitchTo(all);
		MemoryContextReset(one);
	}
	if (writer != NULL)
		QuietClose(writer);
}

/* AuditAppend writes entries, chain by chain in one order for everybody. */
void
AuditAppend(const AuditEntry *entries, int count)
{
	const AuditEntry **ordered =
		MemoryContextAllocHuge(CurrentMemoryContext, sizeof(AuditEntry *) * (Size) count);
	SpiScope scope;

	for (int i = 0; i < count; i++)
		ordered[i] = &entries[i];
	qsort(ordered, (size_t) count, sizeof(*ordered), CompareEntries);
	SpiEnter(&scope, true);
	appending = true;
	if (IsPublishers())
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the audit log is that of another database"),
						errdetail("This one subscribes to it, and writes no entries of its own."),
						errhint("Do it at the publisher.")));
	AppendAll(ordered, count);
	appending = false;
	SpiLeave(&scope);
	pfree(ordered);
}

/* AuditAppending tells. */
bool
AuditAppending(void)
{
	return appending;
}

/* MakeRoom makes room for one more entry. */
static void
MakeRoom(void)
{
	int room = noted.room == 0 ? NOTED_AT_FIRST : 2 * noted.room;
	AuditEntry *entries;
	SubTransactionId *subtransactions;

	if (noted.count < noted.room)
		return;
	entries = MemoryContextAllocHuge(TopTransactionContext, sizeof(AuditEntry) * (Size) room);
	subtransactions =
		MemoryContextAllocHuge(TopTransactionContext, sizeof(SubTransactionId) * (Size) room);
	if (noted.count > 0)
	{
		memcpy(entries, noted.entries, sizeof(AuditEntry) * (Size) noted.count);
		memcpy(subtransactions, noted.subtransactions,
			   sizeof(SubTransactionId) * (Size) noted.count);
		pfree(noted.entries);
		pfree(noted.subtransactions);
	}
	noted.entries = entries;
	noted.subtransactions = subtransactions;
	noted.room = room;
}

/* AuditChange notes a change. */
void
AuditChange(const pg_uuid_t *account, const pg_uuid_t *organization, const pg_uuid_t *session,
			const char *action, const char *reason)
{
	AuditEntry *entry;

	if (IsLogicalWorker())
		return; /* it was noted where it was done */
	DataKeyCheckKeyringOnce();
	MakeRoom();
	entry = &noted.entries[noted.count];
	AuditFill(entry, account, organization, session, action, reason);
	AuditActor(entry);
	noted.subtransactions[noted.count++] = GetCurrentSubTransactionId();
}

/*
 * RefusePrepared: a prepared transaction would keep its chains locked for as long as it likes, and
 * so keep everybody's entries from being written.
 */
static void
RefusePrepared(void)
{
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("cannot PREPARE a transaction that is in the audit log"),
					errdetail("It has erased something or changed what holds."),
					errhint("Do that in a transaction of its own, and COMMIT it.")));
}

/* EndTransaction writes, or forgets, what was noted. The log may have gone by then, with its extension. */
static void
EndTransaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_PREPARE && noted.count > 0)
		RefusePrepared();
	if (event == XACT_EVENT_PRE_COMMIT && noted.count > 0 &&
		OidIsValid(get_extension_oid("cauce", true)))
		AuditAppend(noted.entries, noted.count);
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
		return;
	pruning = appending = false;
	memset(&noted, 0, sizeof(noted));
}

/* EndSubtransaction forgets what it undoes, and hands the rest on. */
static void
EndSubtransaction(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	int first = noted.count;

	if (event == SUBXACT_EVENT_ABORT_SUB)
		pruning = appending = false;
	if (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB)
		return;
	/* what it noted came last */
	while (first > 0 && noted.subtransactions[first - 1] == mine)
		noted.subtransactions[--first] = parent;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		noted.count = first;
}

/* AuditInit defines the setting. */
void
AuditInit(void)
{
	DefineCustomIntVariable("cauce.audit_days", "How long entries of the audit log are kept.",
							"In days; the chains' beginnings are then removed about once a month.",
							&audit_days, 1095, 90, 36500, PGC_SIGHUP, 0, NULL, NULL, NULL);
	RegisterXactCallback(EndTransaction, NULL);
	RegisterSubXactCallback(EndSubtransaction, NULL);
}

/* UuidArgument is a UUID argument, or NULL. */
static const pg_uuid_t *
UuidArgument(FunctionCallInfo fcinfo, int at)
{
	return PG_ARGISNULL(at) ? NULL : PG_GETARG_UUID_P(at);
}

/* cauce.record_change(action, account_id, organization_id, session_id, reason) */
Datum
cauce_record_change(PG_FUNCTION_ARGS)
{
	AuditChange(UuidArgument(fcinfo, 1), UuidArgument(fcinfo, 2), UuidArgument(fcinfo, 3),
				text_to_cstring(PG_GETARG_TEXT_PP(0)),
				PG_ARGISNULL(4) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(4)));
	PG_RETURN_VOID();
}

/* cauce.record_at_once(action, account_id, organization_id, session_id, reason) */
Datum
cauce_record_at_once(PG_FUNCTION_ARGS)
{
	AuditEntry entry;

	DataKeyCheckKeyring();
	AuditFill(&entry, UuidArgument(fcinfo, 1), UuidArgument(fcinfo, 2), UuidArgument(fcinfo, 3),
			  text_to_cstring(PG_GETARG_TEXT_PP(0)),
			  PG_ARGISNULL(4) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(4)));
	AuditActor(&entry);
	WitnessCommit(&entry);
	PG_RETURN_VOID();
}

/* PruneChain removes the beginning of one chain, the last entry excepted; how many entries. Inside of an SpiScope. */
static uint64
PruneChain(const AuditEntry *about, TimestampTz before)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {UUIDOID, UUIDOID, TIMESTAMPTZOID};
	Datum values[] = {UUIDPGetDatum(&about->account), UUIDPGetDatum(ChainOf(about)),
					  TimestampTzGetDatum(before)};
	AuditEntry entry = *about;
	TimestampTz last;
	uint64 pruned;
	char *digest;
	bool isnull;

	LockChain(CHAIN_AUDIT, ChainOf(about));
	pruned = SpiRunLatest(
		&plan,
		"WITH gone AS (DELETE FROM cauce.audit_log l WHERE account_id = $1 AND chain = $2 AND at < "
		"$3"
		" AND at < (SELECT max(m.at) FROM cauce.audit_log m WHERE m.account_id = $1 AND m.chain = "
		"$2)"
		" RETURNING at, digest)"
		" SELECT at, encode(digest, 'hex'), count(*) OVER () FROM gone ORDER BY at DESC LIMIT 1",
		3, types, values, NULL);
	if (pruned == 0)
		return 0;
	last = DatumGetTimestampTz(SpiValue(0, 1, &isnull));
	digest = TextDatumGetCString(SpiValue(0, 2, &isnull));
	pruned = (uint64) DatumGetInt64(SpiValue(0, 3, &isnull));
	Clip(entry.action, "prune", AUDIT_MAX_ACTION);
	snprintf(entry.reason, AUDIT_MAX_REASON,
			 UINT64_FORMAT " entries until %s, the last one's digest %s", pruned,
			 EvidenceTime(last), digest);
	AuditActor(&entry);
	AuditAppend(&entry, 1);
	return pruned;
}

/*
 * AuditServer compares, once there is something to compare for. A database that holds nothing yet
 * may come to hold another's log, by a dump or a subscription, and entries of its own would
 * conflict with that.
 */
void
AuditServer(void)
{
	static SPIPlanPtr plan = NULL;
	SpiScope scope;

	SpiEnter(&scope, true);
	SpiRun(&plan,
		   "SELECT cauce.audit_server() WHERE EXISTS (SELECT FROM cauce.audit_log)"
		   " OR EXISTS (SELECT FROM cauce.data_key)",
		   0, NULL, NULL, NULL, false);
	SpiLeave(&scope);
}

/* AuditPrune looks for chains to prune, and prunes. */
uint64
AuditPrune(TimestampTz now)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {TIMESTAMPTZOID, INT4OID};
	TimestampTz before = now - (TimestampTz) audit_days * USECS_PER_DAY;
	Datum values[] = {TimestampTzGetDatum(before - PRUNE_EVERY_DAYS * USECS_PER_DAY),
					  Int32GetDatum(CHAINS_PRUNED_AT_ONCE)};
	SPITupleTable *chains;
	uint64 pruned = 0;
	uint64 count;
	SpiScope scope;

	SpiEnter(&scope, true);
	count =
		SpiRunLatest(&plan,
					 "SELECT account_id, chain FROM cauce.audit_log GROUP BY account_id, chain"
					 " HAVING min(at) < $1 AND count(*) > 1 ORDER BY account_id, chain LIMIT $2",
					 2, types, values, NULL);
	chains = SPI_tuptable;
	pruning = true;
	for (uint64 i = 0; i < count; i++)
	{
		AuditEntry entry = {0};
		bool isnull;

		entry.account = *DatumGetUUIDP(SPI_getbinval(chains->vals[i], chains->tupdesc, 1, &isnull));
		entry.organization =
			*DatumGetUUIDP(SPI_getbinval(chains->vals[i], chains->tupdesc, 2, &isnull));
		entry.has_organization = IsNil(&entry.account) && !IsNil(&entry.organization);
		pruned += PruneChain(&entry, before);
	}
	pruning = false;
	SpiLeave(&scope);
	return pruned;
}

/* cauce.append_only(), BEFORE UPDATE OR DELETE OR TRUNCATE: what was written stays. */
Datum
cauce_append_only(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("append_only is a trigger")));
	if (pruning)
		return PointerGetDatum(NULL);
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("table \"%s\" is append-only",
					RelationGetRelationName(((TriggerData *) fcinfo->context)->tg_relation)),
			 errdetail("Its rows are evidence; each one carries the digest of the one before.")));
	return (Datum) 0;
}
