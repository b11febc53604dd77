/*
 * datakey.c
 *		Making, wrapping, finding and caching data keys.
 *
 * The cache is a fixed number of slots in locked memory. It is wiped whole when
 * a row of cauce.data_key is deleted anywhere (the trigger sends a relation cache
 * invalidation, which every backend and every standby processes with the commit),
 * when a transaction aborts, and at exit.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "audit.h"
#include "datakey.h"
#include "identity.h"
#include "keyring.h"
#include "keyring_edit.h"
#include "keyring_store.h"
#include "keyrow.h"
#include "quiet.h"
#include "secret.h"
#include "spi.h"

PG_FUNCTION_INFO_V1(cauce_data_key_destroyed);
PG_FUNCTION_INFO_V1(cauce_keyring_create);
PG_FUNCTION_INFO_V1(cauce_make_account_key);

#define CACHE_SLOTS 1024

typedef struct CacheName
{
	pg_uuid_t id;
	uint16 generation;
} CacheName;

typedef struct CacheEntry
{
	CacheName name;
	int slot;
} CacheEntry;

static const pg_uuid_t InboxAccount = {{0}};

static HTAB *cache = NULL;
static DataKey *slots = NULL;
static uint8 *secrets = NULL;
static int next_slot = 0;
static uint64 invalidations = 0; /* of cauce.data_key, since this process began */
/* The keyring that the cached keys were unwrapped with, and the table that they come from. */
static char checked_keyring[64];
/* The start of the statement in which that was last compared with the file; 0 in no transaction. */
static TimestampTz checked_at = 0;
static Oid data_key_table = InvalidOid;
static Oid key_signal =
	InvalidOid; /* the relation whose invalidation says that keys were destroyed */

static const DataKey *FindKey(SPIPlanPtr *plan, const char *sql, int nargs, Datum *values);

/* WipeCache forgets every key. */
static void
WipeCache(void)
{
	CipherForget();
	if (cache == NULL)
		return;
	SecretWipe(secrets, CACHE_SLOTS * CIPHER_KEY_BYTES);
	memset(slots, 0, CACHE_SLOTS * sizeof(DataKey));
	hash_destroy(cache);
	cache = NULL;
	next_slot = 0;
}

static void
WipeAtExit(int code, Datum arg)
{
	WipeCache();
}

/*
 * WipeAtEnd wipes everything at abort. A commit leaves the keys in their locked memory,
 * but no key schedule in OpenSSL's contexts, which are not: an idle process has none there.
 */
static void
WipeAtEnd(XactEvent event, void *arg)
{
	checked_at = 0;
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PARALLEL_ABORT)
		WipeCache();
	else if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PARALLEL_COMMIT ||
			 event == XACT_EVENT_PREPARE)
		CipherForget();
}

/* WipeAtSubabort: a key made in the subtransaction has never existed. */
static void
WipeAtSubabort(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		WipeCache();
}

/*
 * WipeAtInvalidation: every invalidation of cauce.key_signal, of cauce.data_key, or of
 * everything, wipes. No catalog access here. It is counted even while there is no cache: a
 * look-up under way must not cache what it read before.
 */
static void
WipeAtInvalidation(Datum arg, Oid relation)
{
	if (relation != InvalidOid && relation != data_key_table && relation != key_signal)
		return;
	invalidations++;
	WipeCache();
}

/* DataKeyInit registers what wipes the cache. */
void
DataKeyInit(void)
{
	RegisterXactCallback(WipeAtEnd, NULL);
	RegisterSubXactCallback(WipeAtSubabort, NULL);
	CacheRegisterRelcacheCallback(WipeAtInvalidation, (Datum) 0);
}

/* PrepareCache makes the table and the locked memory. */
static void
PrepareCache(void)
{
	HASHCTL control = {
		.keysize = sizeof(CacheName), .entrysize = sizeof(CacheEntry), .hcxt = TopMemoryContext};

	if (secrets == NULL)
	{
		secrets = SecretAlloc(CACHE_SLOTS * CIPHER_KEY_BYTES);
		slots = MemoryContextAllocZero(TopMemoryContext, CACHE_SLOTS * sizeof(DataKey));
		on_proc_exit(WipeAtExit, (Datum) 0);
	}
	if (cache == NULL)
		cache = hash_create("cauce data keys", CACHE_SLOTS, &control,
							HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* NameOf builds a cache name without stray padding bytes. */
static CacheName
NameOf(const pg_uuid_t *id, uint16 generation)
{
	CacheName name;

	memset(&name, 0, sizeof(name));
	name.id = *id;
	name.generation = generation;
	return name;
}

/* CachedKey looks a key up in the cache; first where hint says, which it keeps true. */
static const DataKey *
CachedKey(const pg_uuid_t *id, uint16 generation, int *hint)
{
	CacheName name;
	CacheEntry *entry;

	AcceptInvalidationMessages();
	if (cache == NULL)
		return NULL;
	if (slots[*hint].secret != NULL && slots[*hint].generation == generation &&
		SameUuid(&slots[*hint].id, id))
		return &slots[*hint];
	name = NameOf(id, generation);
	entry = hash_search(cache, &name, HASH_FIND, NULL);
	if (entry == NULL)
		return NULL;
	*hint = entry->slot;
	return &slots[*hint];
}

/* CacheKey keeps a key in the next slot, over the one that was there. */
static const DataKey *
CacheKey(const DataKey *key, const uint8 *secret)
{
	CacheName name;
	CacheEntry *entry;
	DataKey *slot;
	bool found;
	int at;

	PrepareCache();
	name = NameOf(&key->id, key->generation);
	entry = hash_search(cache, &name, HASH_FIND, NULL);
	if (entry != NULL)
		at = entry->slot;
	else
	{
		at = next_slot;
		next_slot = (next_slot + 1) % CACHE_SLOTS;
		if (slots[at].secret != NULL)
		{
			CacheName old = NameOf(&slots[at].id, slots[at].generation);

			hash_search(cache, &old, HASH_REMOVE, NULL);
		}
	}
	slot = &slots[at];
	*slot = *key;
	slot->secret = secrets + at * CIPHER_KEY_BYTES;
	memcpy(secrets + at * CIPHER_KEY_BYTES, secret, CIPHER_KEY_BYTES);
	entry = hash_search(cache, &name, HASH_ENTER, &found);
	entry->slot = at;
	return slot;
}

/*
 * ReadKeyRow runs a query for one key row. Its snapshot is older than the lock on
 * the table, and waiting for that lock consumes invalidations: a row that somebody
 * destroyed in between is read again.
 */
static bool
ReadKeyRow(SPIPlanPtr *plan, const char *sql, int nargs, Datum *values, KeyRow *row)
{
	Oid types[] = {UUIDOID, UUIDOID, INT4OID};
	SpiScope scope;
	uint64 before;
	bool found;

	data_key_table = CauceTable("data_key");
	key_signal = CauceTable("key_signal");
	do
	{
		before = invalidations;
		SpiEnter(&scope, true);
		found = SpiRun(plan, sql, nargs, types, values, NULL, true) > 0;
		if (found)
			KeyRowRead(0, row);
		SpiLeave(&scope);
		AcceptInvalidationMessages();
	} while (found && before != invalidations);
	return found;
}

/* FindKey finds, unwraps and caches a key; NULL when there is no live one. */
static const DataKey *
FindKey(SPIPlanPtr *plan, const char *sql, int nargs, Datum *values)
{
	KeyRow row;
	uint8 secret[CIPHER_KEY_BYTES];
	const DataKey *key = NULL;

	if (ReadKeyRow(plan, sql, nargs, values, &row) && KeyRowUnwrap(&row, secret))
	{
		key = CacheKey(&row.key, secret);
		SecretWipe(secret, sizeof(secret));
	}
	return key;
}

/*
 * DataKeyCheckKeyring wipes what another keyring unwrapped, and proves that the one
 * in use is this database's before anything is opened or sealed under it.
 */
void
DataKeyCheckKeyring(void)
{
	if (strcmp(checked_keyring, KeyringId()) != 0)
	{
		WipeCache();
		(void) DataKeyInbox();
		strlcpy(checked_keyring, KeyringId(), sizeof(checked_keyring));
	}
	checked_at = GetCurrentStatementStartTimestamp();
}

/*
 * DataKeyCheckKeyringOnce is that once a statement: looking at the file costs more than sealing
 * a value.
 */
void
DataKeyCheckKeyringOnce(void)
{
	if (checked_at == 0 || checked_at != GetCurrentStatementStartTimestamp())
		DataKeyCheckKeyring();
}

/* DataKeyById finds a key by the name that a sealed value carries. */
const DataKey *
DataKeyById(const pg_uuid_t *id, uint16 generation, const pg_uuid_t *account)
{
	static SPIPlanPtr with_account = NULL;
	static SPIPlanPtr without_account = NULL;
	static int hint = 0; /* values come in runs */
	const DataKey *key = CachedKey(id, generation, &hint);
	Datum values[3];

	if (key != NULL)
		return key;
	DataKeyCheckKeyringOnce();
	values[0] = UUIDPGetDatum(id);
	values[1] = UUIDPGetDatum(account);
	values[2] = Int32GetDatum(generation);
	if (account != NULL)
		return FindKey(&with_account,
					   "SELECT " KEYROW_COLUMNS " FROM cauce.data_key"
					   " WHERE account_id = $2 AND id = $1 AND generation = $3",
					   3, values);
	values[1] = UUIDPGetDatum(id);
	return FindKey(&without_account,
				   "SELECT " KEYROW_COLUMNS " FROM cauce.data_key"
				   " WHERE id = $1 AND id = $2 AND generation = $3",
				   3, values);
}

/* Which key is current: remembered for the last account and for some sessions, since rows come in runs. */
typedef struct CurrentKey
{
	pg_uuid_t account;
	pg_uuid_t session;
	pg_uuid_t id;
	uint16 generation;
	int hint; /* where in the cache */
	bool known;
} CurrentKey;

#define CURRENT_SESSIONS 256

static CurrentKey current_sessions[CURRENT_SESSIONS];

/* CurrentOf is where the current key of a session is remembered, or that of another one with its hash. */
static CurrentKey *
CurrentOf(const pg_uuid_t *session)
{
	return &current_sessions[hash_bytes(session->data, UUID_LEN) % CURRENT_SESSIONS];
}

/* CurrentFrom answers from memo when it is about the same owner and the key is still cached. */
static const DataKey *
CurrentFrom(CurrentKey *memo, const pg_uuid_t *account, const pg_uuid_t *session)
{
	if (memo->known && SameUuid(&memo->account, account) && SameUuid(&memo->session, session))
		return CachedKey(&memo->id, memo->generation, &memo->hint);
	return NULL;
}

/* Remember fills memo. */
static const DataKey *
Remember(CurrentKey *memo, const pg_uuid_t *account, const pg_uuid_t *session, const DataKey *key)
{
	memo->known = key != NULL;
	if (key != NULL)
	{
		memo->account = *account;
		memo->session = *session;
		memo->id = key->id;
		memo->generation = key->generation;
	}
	return key;
}

/* DataKeyForSession finds the current key of a session. */
const DataKey *
DataKeyForSession(const pg_uuid_t *account, const pg_uuid_t *session)
{
	static SPIPlanPtr plan = NULL;
	CurrentKey *memo = CurrentOf(session);
	const DataKey *key = CurrentFrom(memo, account, session);
	Datum values[] = {UUIDPGetDatum(account), UUIDPGetDatum(session)};

	if (key != NULL)
		return key;
	DataKeyCheckKeyringOnce();
	key = FindKey(&plan,
				  "SELECT " KEYROW_COLUMNS " FROM cauce.data_key"
				  " WHERE account_id = $1 AND session_id = $2 ORDER BY generation DESC LIMIT 1",
				  2, values);
	return Remember(memo, account, session, key);
}

/* AccountKey finds the current key of an account, or of the inbox. */
static const DataKey *
AccountKey(CurrentKey *memo, const pg_uuid_t *account)
{
	static SPIPlanPtr plan = NULL;
	const DataKey *key = CurrentFrom(memo, account, &InboxAccount);
	Datum values[] = {UUIDPGetDatum(account)};

	if (key != NULL)
		return key;
	key = FindKey(&plan,
				  "SELECT " KEYROW_COLUMNS " FROM cauce.data_key"
				  " WHERE account_id = $1 AND session_id IS NULL ORDER BY generation DESC LIMIT 1",
				  1, values);
	return Remember(memo, account, &InboxAccount, key);
}

/* MakeKey makes a fresh key for row's owner and stores it; false when the owner has one. */
static bool
MakeKey(KeyRow *row)
{
	static uint8 *secret = NULL; /* locked memory: an error leaves nothing on the stack */
	const DataKey *key = NULL;

	if (secret == NULL)
		secret = SecretAlloc(CIPHER_KEY_BYTES);
	CipherRandomUuid(&row->key.id);
	row->key.generation = 1;
	CipherRandom(secret, CIPHER_KEY_BYTES);
	KeyRowWrap(row, secret);
	if (KeyRowInsert(row))
		key = CacheKey(&row->key, secret); /* a session's title is sealed next */
	SecretWipe(secret, CIPHER_KEY_BYTES);
	if (key != NULL && key->has_session)
		(void) Remember(CurrentOf(&key->session), &key->account, &key->session, key);
	return key != NULL;
}

/*
 * DataKeyHoldEpochs keeps epoch keys from being destroyed until the transaction ends:
 * from before it chooses one, so that the worker that destroys them waits for it.
 */
void
DataKeyHoldEpochs(void)
{
	LockRelationOid(CauceTable("data_key"), RowExclusiveLock);
}

/* DataKeyFarAway is the moment until which keys that belong to no session are wrapped. */
TimestampTz
DataKeyFarAway(void)
{
	return GetCurrentTimestamp() + (TimestampTz) KEYRING_HORIZON_DAYS * USECS_PER_DAY;
}

/*
 * DataKeyInbox finds the database's own key. It is also the proof that the
 * keyring is this database's, before anything is sealed or opened under it.
 */
const DataKey *
DataKeyInbox(void)
{
	static CurrentKey memo;
	const DataKey *key = AccountKey(&memo, &InboxAccount);

	if (key == NULL)
	{
		KeyRow row;

		memset(&row, 0, sizeof(row));
		row.key.account = InboxAccount;
		DataKeyHoldEpochs();
		row.epoch = KeyringEpoch(DataKeyFarAway());
		(void) MakeKey(&row); /* another backend may have been faster */
		key = AccountKey(&memo, &InboxAccount);
		if (key == NULL)
			KeyRowWrongKeyring();
	}
	return key;
}

/* CanWrite tells whether this transaction may write at all. */
static bool
CanWrite(void)
{
	return !XactReadOnly && !RecoveryInProgress() && !IsInParallelMode();
}

/* DataKeyForAccount finds the current key of an account, or makes it. */
const DataKey *
DataKeyForAccount(const pg_uuid_t *account)
{
	static CurrentKey memo;
	const DataKey *key;

	DataKeyCheckKeyringOnce();
	key = AccountKey(&memo, account);
	if (key == NULL && CanWrite())
	{
		(void) DataKeyCreate(account, NULL, NULL, 0);
		key = AccountKey(&memo, account);
	}
	return key;
}

/* DataKeyIsInbox tells the inbox by its account. */
bool
DataKeyIsInbox(const DataKey *key)
{
	return SameUuid(&key->account, &InboxAccount);
}

/*
 * DataKeyRequireNotErased asks the certificates, which stay for ever: the account's row
 * could not tell, since its key is made before it is there.
 */
void
DataKeyRequireNotErased(const pg_uuid_t *account)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {UUIDOID};
	Datum values[] = {UUIDPGetDatum(account)};
	SpiScope scope;
	bool erased;

	LockKeys(account);
	SpiEnter(&scope, true);
	erased = SpiRun(&plan,
					"SELECT FROM cauce.erasure_certificate"
					" WHERE account_id = $1 AND subject = 'account' LIMIT 1",
					1, types, values, NULL, true) > 0;
	SpiLeave(&scope);
	if (erased)
		ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
						errmsg("the account was erased"),
						errdetail("Account %s gets no key any more.", UuidText(account)),
						errhint("cauce.create_account() makes a new one, also for the same "
								"subject.")));
}

/* DataKeyCreate makes the key of an account or a session. */
bool
DataKeyCreate(const pg_uuid_t *account, const pg_uuid_t *organization, const pg_uuid_t *session,
			  TimestampTz until)
{
	KeyRow row;

	DataKeyCheckKeyring();
	if (session == NULL)
		DataKeyRequireNotErased(account);
	memset(&row, 0, sizeof(row));
	row.key.account = *account;
	row.key.has_organization = organization != NULL;
	if (organization != NULL)
		row.key.organization = *organization;
	row.key.has_session = session != NULL;
	if (session != NULL)
		row.key.session = *session;
	DataKeyHoldEpochs();
	row.epoch = KeyringEpoch(session != NULL ? until : DataKeyFarAway());
	return MakeKey(&row);
}

/* TellDestroyed has every backend, and every standby, wipe its cache. */
static void
TellDestroyed(void)
{
	CacheInvalidateRelcacheByRelid(CauceTable("key_signal"));
}

/* CompareIds is qsort's comparison of UUIDs. */
static int
CompareIds(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(pg_uuid_t));
}

/* MakeRoom makes room for more destroyed keys. */
static void
MakeRoom(DestroyedKeys *destroyed, MemoryContext context, uint64 more)
{
	Size room = (destroyed->count + more) * sizeof(pg_uuid_t);

	destroyed->ids = destroyed->ids == NULL ? MemoryContextAllocHuge(context, room)
											: repalloc_huge(destroyed->ids, room);
}

/* NoteDestroyed adds a row that was deleted. */
static void
NoteDestroyed(DestroyedKeys *destroyed, Datum id, Datum epoch, Datum wrapped)
{
	EpochDay last = KeyRowLastEpoch(DatumGetByteaPP(wrapped), DatumGetDateADT(epoch));

	destroyed->last_epoch = Max(destroyed->last_epoch, last);
	destroyed->ids[destroyed->count++] = *DatumGetUUIDP(id);
}

/* MakeUnique has each key once, whose generations were deleted one by one. */
static void
MakeUnique(DestroyedKeys *destroyed)
{
	int unique = 0;

	qsort(destroyed->ids, destroyed->count, sizeof(pg_uuid_t), CompareIds);
	for (int i = 0; i < destroyed->count; i++)
	{
		if (unique == 0 || !SameUuid(&destroyed->ids[unique - 1], &destroyed->ids[i]))
			destroyed->ids[unique++] = destroyed->ids[i];
	}
	destroyed->count = unique;
}

/*
 * DestroyKeys runs a DELETE of keys until it finds none any more: a rotation that it has
 * waited for has added a generation.
 */
static void
DestroyKeys(SPIPlanPtr *plan, const char *sql, int nargs, Datum *values, DestroyedKeys *destroyed)
{
	Oid types[] = {UUIDOID, UUIDOID};
	MemoryContext context = CurrentMemoryContext;
	SpiScope scope;
	uint64 count;

	SpiEnter(&scope, false);
	while ((count = SpiRunLatest(plan, sql, nargs, types, values, NULL)) > 0)
	{
		bool isnull;

		CHECK_FOR_INTERRUPTS();
		MakeRoom(destroyed, context, count);
		for (uint64 i = 0; i < count; i++)
			NoteDestroyed(destroyed, SpiValue(i, 1, &isnull), SpiValue(i, 2, &isnull),
						  SpiValue(i, 3, &isnull));
		MakeUnique(destroyed);
	}
	SpiLeave(&scope);
}

/* DataKeyDestroy deletes every generation of a session's key. */
void
DataKeyDestroy(const pg_uuid_t *account, const pg_uuid_t *session, DestroyedKeys *destroyed)
{
	static SPIPlanPtr plan = NULL;
	Datum values[] = {UUIDPGetDatum(account), UUIDPGetDatum(session)};

	memset(destroyed, 0, sizeof(*destroyed));
	DestroyKeys(&plan,
				"DELETE FROM cauce.data_key WHERE account_id = $1 AND session_id = $2"
				" RETURNING id, epoch, wrapped",
				2, values, destroyed);
}

/* TakeKey is the QuietVisitor of a key that goes. */
static void
TakeKey(HeapTuple row, TupleDesc descriptor, void *argument)
{
	static const char *const columns[] = {"id", "epoch", "wrapped"};
	Datum values[lengthof(columns)];
	bool isnull;

	for (Size i = 0; i < lengthof(columns); i++)
		values[i] = heap_getattr(row, SPI_fnumber(descriptor, columns[i]), descriptor, &isnull);
	MakeRoom(argument, CurrentMemoryContext, 1);
	NoteDestroyed(argument, values[0], values[1], values[2]);
}

/* DataKeyDestroyQuietly is DataKeyDestroy without its triggers. */
void
DataKeyDestroyQuietly(const pg_uuid_t *account, const pg_uuid_t *session, DestroyedKeys *destroyed)
{
	memset(destroyed, 0, sizeof(*destroyed));
	while (QuietDelete("data_key", account, session, TakeKey, destroyed) > 0)
		;
	MakeUnique(destroyed);
	TellDestroyed();
}

/* DataKeyDestroyAll deletes every key of an account. */
void
DataKeyDestroyAll(const pg_uuid_t *account, DestroyedKeys *destroyed)
{
	static SPIPlanPtr plan = NULL;
	Datum values[] = {UUIDPGetDatum(account)};

	DestroyKeys(&plan,
				"DELETE FROM cauce.data_key WHERE account_id = $1 RETURNING id, epoch, wrapped", 1,
				values, destroyed);
}

/* cauce.data_key_destroyed(), trigger. */
Datum
cauce_data_key_destroyed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("data_key_destroyed is a trigger")));
	TellDestroyed();
	return PointerGetDatum(NULL);
}

/* cauce.keyring_create(): a new keyring file, and the database's own key under it. */
Datum
cauce_keyring_create(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan = NULL;
	SpiScope scope;
	bool sealed;

	PreventCommandIfReadOnly("keyring_create()");
	PreventCommandIfParallelMode("keyring_create()");
	PreventCommandDuringRecovery("keyring_create()");
	SpiEnter(&scope, true);
	sealed = SpiRun(&plan, "SELECT 1 FROM cauce.data_key LIMIT 1", 0, NULL, NULL, NULL, true) > 0;
	SpiLeave(&scope);
	if (sealed && !KeyringStoreExists())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database has keys under a keyring already"),
				 errhint("Put that keyring back; a new one could not open what is sealed.")));
	KeyringCreate();
	DataKeyCheckKeyring();
	AuditChange(NULL, NULL, NULL, "key", psprintf("keyring %s was made", KeyringId()));
	PG_RETURN_TEXT_P(cstring_to_text(KeyringId()));
}

/* cauce.make_account_key(id): makes the account's key; gives the id back. */
Datum
cauce_make_account_key(PG_FUNCTION_ARGS)
{
	(void) DataKeyForAccount(PG_GETARG_UUID_P(0));
	return PG_GETARG_DATUM(0);
}
