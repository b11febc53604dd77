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
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "cipher.h"
#include "datakey.h"
#include "identity.h"
#include "keyring.h"
#include "secret.h"
#include "spi.h"

PG_FUNCTION_INFO_V1(cauce_data_key_destroyed);
PG_FUNCTION_INFO_V1(cauce_keyring_create);
PG_FUNCTION_INFO_V1(cauce_make_account_key);

#define CACHE_SLOTS 1024
#define WRAPPED_VERSION 1
#define DATA_KEY_COLUMNS "id, account_id, organization_id, session_id, epoch, generation, wrapped"

/* What cauce.data_key.wrapped holds. */
typedef struct WrappedKey
{
	uint8 version;
	uint8 master[4]; /* number of the master key, big-endian */
	/* the latest epoch that the key was ever wrapped under: older backups hold it so */
	uint8 last_epoch[4];
	uint8 key[CIPHER_WRAPPED_BYTES];
} WrappedKey;

/* What a wrapping key is derived for; RFC 5869 calls it info. No padding: bytes only. */
typedef struct WrapInfo
{
	char label[16];
	uint8 id[UUID_LEN];
	uint8 account[UUID_LEN];
	uint8 organization[UUID_LEN];
	uint8 session[UUID_LEN];
	uint8 epoch[4];
	uint8 last_epoch[4];
	uint8 generation[2];
	uint8 present; /* bit 0: has an organization; bit 1: has a session */
} WrapInfo;

/* A row of cauce.data_key. */
typedef struct KeyRow
{
	DataKey key;
	EpochDay epoch;
	EpochDay last_epoch;
	WrappedKey wrapped;
} KeyRow;

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
static Oid data_key_table = InvalidOid;

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
 * WipeAtInvalidation: every invalidation of cauce.data_key, or of everything,
 * wipes. No catalog access here. It is counted even while there is no cache: a
 * look-up under way must not cache what it read before.
 */
static void
WipeAtInvalidation(Datum arg, Oid relation)
{
	if (relation != InvalidOid && relation != data_key_table)
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

/* CachedKey looks a key up in the cache. */
static const DataKey *
CachedKey(const pg_uuid_t *id, uint16 generation)
{
	CacheName name = NameOf(id, generation);
	CacheEntry *entry;

	AcceptInvalidationMessages();
	if (cache == NULL)
		return NULL;
	entry = hash_search(cache, &name, HASH_FIND, NULL);
	return entry != NULL ? &slots[entry->slot] : NULL;
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

/* InfoOf is what binds a wrapped key to its row. */
static WrapInfo
InfoOf(const KeyRow *row)
{
	WrapInfo info;
	uint32 epoch = pg_hton32((uint32) row->epoch);
	uint32 last_epoch = pg_hton32((uint32) row->last_epoch);
	uint16 generation = pg_hton16(row->key.generation);

	memset(&info, 0, sizeof(info));
	memcpy(info.label, "cauce data key 1", sizeof(info.label));
	memcpy(info.id, row->key.id.data, UUID_LEN);
	memcpy(info.account, row->key.account.data, UUID_LEN);
	if (row->key.has_organization)
		memcpy(info.organization, row->key.organization.data, UUID_LEN);
	if (row->key.has_session)
		memcpy(info.session, row->key.session.data, UUID_LEN);
	memcpy(info.epoch, &epoch, sizeof(epoch));
	memcpy(info.last_epoch, &last_epoch, sizeof(last_epoch));
	memcpy(info.generation, &generation, sizeof(generation));
	info.present = (row->key.has_organization ? 1 : 0) | (row->key.has_session ? 2 : 0);
	return info;
}

/* WrapInto fills row->wrapped from the secret, under the current master. */
static void
WrapInto(KeyRow *row, const uint8 *secret)
{
	uint32 master = KeyringMaster();
	uint32 master_bytes = pg_hton32(master);
	uint32 last_bytes;
	uint8 kek[CIPHER_KEY_BYTES];
	WrapInfo info;

	row->last_epoch = Max(row->last_epoch, row->epoch);
	last_bytes = pg_hton32((uint32) row->last_epoch);
	info = InfoOf(row);
	if (!KeyringWrappingKey(master, row->epoch, &info, sizeof(info), kek))
		elog(ERROR, "the keyring lost its master or epoch key");
	row->wrapped.version = WRAPPED_VERSION;
	memcpy(row->wrapped.master, &master_bytes, sizeof(master_bytes));
	memcpy(row->wrapped.last_epoch, &last_bytes, sizeof(last_bytes));
	CipherWrap(kek, secret, row->wrapped.key);
	SecretWipe(kek, sizeof(kek));
}

/* WrongKeyring raises: what is sealed here lies under another keyring. */
static void
WrongKeyring(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the keyring does not belong to this database"),
			 errdetail("The database's own key does not unwrap with keyring %s.", KeyringId()),
			 errhint("Put back the keyring that cauce.keyring_create() made for this "
					 "database; a new one cannot open what is sealed.")));
}

/*
 * UnwrapRow recovers the secret; false when the epoch key is gone, and with it
 * the data key, for good.
 */
static bool
UnwrapRow(const KeyRow *row, uint8 *secret)
{
	WrapInfo info = InfoOf(row);
	uint32 master;
	uint8 kek[CIPHER_KEY_BYTES];
	bool ok;

	memcpy(&master, row->wrapped.master, sizeof(master));
	if (row->wrapped.version != WRAPPED_VERSION)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("a data key has format %d", row->wrapped.version),
						errhint("It was written by a newer version of cauce.")));
	if (!KeyringWrappingKey(pg_ntoh32(master), row->epoch, &info, sizeof(info), kek))
	{
		if (KeyringEpochEnded(row->epoch))
			return false;
		if (SameUuid(&row->key.account, &InboxAccount))
			WrongKeyring();
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the keyring lacks the key that wraps data key %s", UuidText(&row->key.id)),
				 errdetail("Its epoch has not ended, so the key was not destroyed by its time."),
				 errhint("Put back the newest copy of the keyring.")));
	}
	ok = CipherUnwrap(kek, row->wrapped.key, secret);
	SecretWipe(kek, sizeof(kek));
	if (!ok)
	{
		if (SameUuid(&row->key.account, &InboxAccount))
			WrongKeyring();
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("data key %s is damaged", UuidText(&row->key.id)),
						errdetail("It does not unwrap for its account, organization, session and "
								  "epoch."),
						errhint("Restore the row of cauce.data_key from a backup.")));
	}
	return true;
}

/* ReadRow reads one row of the last result, whose columns are DATA_KEY_COLUMNS. */
static void
ReadRow(uint64 at, KeyRow *row)
{
	bool isnull;
	Datum value;
	bytea *wrapped;
	uint32 last_bytes;

	memset(row, 0, sizeof(*row));
	row->key.id = *DatumGetUUIDP(SpiValue(at, 1, &isnull));
	row->key.account = *DatumGetUUIDP(SpiValue(at, 2, &isnull));
	value = SpiValue(at, 3, &isnull);
	row->key.has_organization = !isnull;
	if (!isnull)
		row->key.organization = *DatumGetUUIDP(value);
	value = SpiValue(at, 4, &isnull);
	row->key.has_session = !isnull;
	if (!isnull)
		row->key.session = *DatumGetUUIDP(value);
	row->epoch = DatumGetDateADT(SpiValue(at, 5, &isnull));
	row->key.generation = (uint16) DatumGetInt32(SpiValue(at, 6, &isnull));
	wrapped = DatumGetByteaPP(SpiValue(at, 7, &isnull));
	if (VARSIZE_ANY_EXHDR(wrapped) != sizeof(WrappedKey))
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("data key %s is damaged", UuidText(&row->key.id)),
						errhint("Restore the row of cauce.data_key from a backup.")));
	memcpy(&row->wrapped, VARDATA_ANY(wrapped), sizeof(WrappedKey));
	memcpy(&last_bytes, row->wrapped.last_epoch, sizeof(last_bytes));
	row->last_epoch = (EpochDay) pg_ntoh32(last_bytes);
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
	do
	{
		before = invalidations;
		SpiEnter(&scope, true);
		found = SpiRun(plan, sql, nargs, types, values, NULL, true) > 0;
		if (found)
			ReadRow(0, row);
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

	if (ReadKeyRow(plan, sql, nargs, values, &row) && UnwrapRow(&row, secret))
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
	if (strcmp(checked_keyring, KeyringId()) == 0)
		return;
	WipeCache();
	(void) DataKeyInbox();
	strlcpy(checked_keyring, KeyringId(), sizeof(checked_keyring));
}

/* DataKeyById finds a key by the name that a sealed value carries. */
const DataKey *
DataKeyById(const pg_uuid_t *id, uint16 generation, const pg_uuid_t *account)
{
	static SPIPlanPtr with_account = NULL;
	static SPIPlanPtr without_account = NULL;
	const DataKey *key = CachedKey(id, generation);
	Datum values[3];

	if (key != NULL)
		return key;
	DataKeyCheckKeyring();
	values[0] = UUIDPGetDatum(id);
	values[1] = UUIDPGetDatum(account);
	values[2] = Int32GetDatum(generation);
	if (account != NULL)
		return FindKey(&with_account,
					   "SELECT " DATA_KEY_COLUMNS " FROM cauce.data_key"
					   " WHERE account_id = $2 AND id = $1 AND generation = $3",
					   3, values);
	values[1] = UUIDPGetDatum(id);
	return FindKey(&without_account,
				   "SELECT " DATA_KEY_COLUMNS " FROM cauce.data_key"
				   " WHERE id = $1 AND id = $2 AND generation = $3",
				   3, values);
}

/* Which key is current: remembered for the last session and the last account, since rows come in runs. */
typedef struct CurrentKey
{
	pg_uuid_t account;
	pg_uuid_t session;
	pg_uuid_t id;
	uint16 generation;
	bool known;
} CurrentKey;

/* CurrentFrom answers from memo when it is about the same owner and the key is still cached. */
static const DataKey *
CurrentFrom(CurrentKey *memo, const pg_uuid_t *account, const pg_uuid_t *session)
{
	if (memo->known && SameUuid(&memo->account, account) && SameUuid(&memo->session, session))
		return CachedKey(&memo->id, memo->generation);
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
	static CurrentKey memo;
	const DataKey *key = CurrentFrom(&memo, account, session);
	Datum values[] = {UUIDPGetDatum(account), UUIDPGetDatum(session)};

	if (key != NULL)
		return key;
	DataKeyCheckKeyring();
	key = FindKey(&plan,
				  "SELECT " DATA_KEY_COLUMNS " FROM cauce.data_key"
				  " WHERE account_id = $1 AND session_id = $2 ORDER BY generation DESC LIMIT 1",
				  2, values);
	return Remember(&memo, account, session, key);
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
				  "SELECT " DATA_KEY_COLUMNS " FROM cauce.data_key"
				  " WHERE account_id = $1 AND session_id IS NULL ORDER BY generation DESC LIMIT 1",
				  1, values);
	return Remember(memo, account, &InboxAccount, key);
}

/* InsertRow stores a wrapped key; false when its owner has one already, which stays. */
static bool
InsertRow(const KeyRow *row)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {UUIDOID, UUIDOID, UUIDOID, UUIDOID, DATEOID, INT4OID, BYTEAOID};
	Datum values[7];
	char nulls[] = "       ";
	bytea *wrapped = palloc(VARHDRSZ + sizeof(WrappedKey));
	SpiScope scope;
	bool stored;

	SET_VARSIZE(wrapped, VARHDRSZ + sizeof(WrappedKey));
	memcpy(VARDATA(wrapped), &row->wrapped, sizeof(WrappedKey));
	values[0] = UUIDPGetDatum(&row->key.id);
	values[1] = UUIDPGetDatum(&row->key.account);
	values[2] = UUIDPGetDatum(&row->key.organization);
	values[3] = UUIDPGetDatum(&row->key.session);
	values[4] = DateADTGetDatum(row->epoch);
	values[5] = Int32GetDatum(row->key.generation);
	values[6] = PointerGetDatum(wrapped);
	nulls[2] = row->key.has_organization ? ' ' : 'n';
	nulls[3] = row->key.has_session ? ' ' : 'n';
	SpiEnter(&scope, false);
	stored = SpiRun(&plan,
					"INSERT INTO cauce.data_key (" DATA_KEY_COLUMNS ")"
					" VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
					7, types, values, nulls, false) == 1;
	SpiLeave(&scope);
	pfree(wrapped);
	return stored;
}

/* MakeKey makes a fresh key for row's owner and stores it; false when the owner has one. */
static bool
MakeKey(KeyRow *row)
{
	uint8 secret[CIPHER_KEY_BYTES];

	CipherRandomUuid(&row->key.id);
	row->key.generation = 1;
	CipherRandom(secret, sizeof(secret));
	WrapInto(row, secret);
	SecretWipe(secret, sizeof(secret));
	return InsertRow(row);
}

/* FarAway is the moment until which keys that belong to no session are wrapped. */
static TimestampTz
FarAway(void)
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
		row.epoch = KeyringEpoch(FarAway());
		(void) MakeKey(&row); /* another backend may have been faster */
		key = AccountKey(&memo, &InboxAccount);
		if (key == NULL)
			WrongKeyring();
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

	DataKeyCheckKeyring();
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

/* DataKeyCreate makes the key of an account or a session. */
bool
DataKeyCreate(const pg_uuid_t *account, const pg_uuid_t *organization, const pg_uuid_t *session,
			  TimestampTz until)
{
	KeyRow row;

	DataKeyCheckKeyring();
	memset(&row, 0, sizeof(row));
	row.key.account = *account;
	row.key.has_organization = organization != NULL;
	if (organization != NULL)
		row.key.organization = *organization;
	row.key.has_session = session != NULL;
	if (session != NULL)
		row.key.session = *session;
	row.epoch = KeyringEpoch(session != NULL ? until : FarAway());
	return MakeKey(&row);
}

/* StoreRewrapped updates the row that a key was read from. */
static void
StoreRewrapped(const KeyRow *row)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {UUIDOID, UUIDOID, INT4OID, UUIDOID, DATEOID, BYTEAOID};
	Datum values[6];
	char nulls[] = "      ";
	bytea *wrapped = palloc(VARHDRSZ + sizeof(WrappedKey));

	SET_VARSIZE(wrapped, VARHDRSZ + sizeof(WrappedKey));
	memcpy(VARDATA(wrapped), &row->wrapped, sizeof(WrappedKey));
	values[0] = UUIDPGetDatum(&row->key.account);
	values[1] = UUIDPGetDatum(&row->key.id);
	values[2] = Int32GetDatum(row->key.generation);
	values[3] = UUIDPGetDatum(&row->key.organization);
	values[4] = DateADTGetDatum(row->epoch);
	values[5] = PointerGetDatum(wrapped);
	nulls[3] = row->key.has_organization ? ' ' : 'n';
	SpiRun(&plan,
		   "UPDATE cauce.data_key SET organization_id = $4, epoch = $5, wrapped = $6"
		   " WHERE account_id = $1 AND id = $2 AND generation = $3",
		   6, types, values, nulls, false);
	pfree(wrapped);
}

/* DataKeyRewrap moves a session's key to another epoch or organization. */
void
DataKeyRewrap(const pg_uuid_t *account, const pg_uuid_t *organization, const pg_uuid_t *session,
			  TimestampTz until)
{
	static SPIPlanPtr plan = NULL;
	EpochDay epoch = KeyringEpoch(until);
	SpiScope scope;
	SPITupleTable *rows;
	uint64 count;

	DataKeyCheckKeyring();
	SpiEnter(&scope, false);
	count = SpiRunSession(&plan,
						  "SELECT " DATA_KEY_COLUMNS " FROM cauce.data_key"
						  " WHERE account_id = $1 AND session_id = $2 FOR UPDATE",
						  account, session, false);
	rows = SPI_tuptable;
	for (uint64 i = 0; i < count; i++)
	{
		uint8 secret[CIPHER_KEY_BYTES];
		KeyRow row;

		SPI_tuptable = rows;
		ReadRow(i, &row);
		if (!UnwrapRow(&row, secret))
			continue; /* its epoch has ended: nothing can bring it back */
		row.epoch = epoch;
		row.key.has_organization = organization != NULL;
		if (organization != NULL)
			row.key.organization = *organization;
		WrapInto(&row, secret);
		SecretWipe(secret, sizeof(secret));
		StoreRewrapped(&row);
	}
	SpiLeave(&scope);
}

/* LastEpochOf reads the last epoch that a wrapped key names; a damaged one must not stand in the way. */
static EpochDay
LastEpochOf(const bytea *wrapped, EpochDay epoch)
{
	uint32 last;

	if (VARSIZE_ANY_EXHDR(wrapped) != sizeof(WrappedKey))
		return epoch;
	memcpy(&last, ((const WrappedKey *) VARDATA_ANY(wrapped))->last_epoch, sizeof(last));
	return Max(epoch, (EpochDay) pg_ntoh32(last));
}

/* DataKeyDestroy deletes every generation of a session's key. */
void
DataKeyDestroy(const pg_uuid_t *account, const pg_uuid_t *session, DestroyedKeys *destroyed)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext context = CurrentMemoryContext;
	SpiScope scope;
	uint64 count;

	SpiEnter(&scope, false);
	count = SpiRunSession(&plan,
						  "DELETE FROM cauce.data_key WHERE account_id = $1 AND session_id = $2"
						  " RETURNING id, epoch, wrapped",
						  account, session, false);
	destroyed->count = (int) count;
	destroyed->ids = MemoryContextAlloc(context, (count + 1) * sizeof(pg_uuid_t));
	destroyed->last_epoch = 0;
	for (uint64 i = 0; i < count; i++)
	{
		bool isnull;
		EpochDay epoch = DatumGetDateADT(SpiValue(i, 2, &isnull));

		destroyed->ids[i] = *DatumGetUUIDP(SpiValue(i, 1, &isnull));
		epoch = LastEpochOf(DatumGetByteaPP(SpiValue(i, 3, &isnull)), epoch);
		destroyed->last_epoch = Max(destroyed->last_epoch, epoch);
	}
	SpiLeave(&scope);
}

/* DataKeyExtendKeyring adds epoch keys to the keyring. */
void
DataKeyExtendKeyring(void)
{
	static SPIPlanPtr plan = NULL;
	SpiScope scope;
	bool isnull;
	Datum last;

	SpiEnter(&scope, true);
	SpiRun(&plan, "SELECT max(epoch) FROM cauce.data_key", 0, NULL, NULL, NULL, true);
	last = SpiValue(0, 1, &isnull);
	SpiLeave(&scope);
	if (isnull)
		return; /* no keys yet: perhaps no keyring either */
	if (DatumGetDateADT(last) > KeyringLastEpoch())
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the keyring is older than this database's keys"),
						errhint("Put back the newest copy of the keyring.")));
	KeyringExtend();
}

/* cauce.data_key_destroyed(), trigger: tells every backend, and every standby, to wipe its cache. */
Datum
cauce_data_key_destroyed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("data_key_destroyed is a trigger")));
	CacheInvalidateRelcache(trigger->tg_relation);
	return PointerGetDatum(NULL);
}

/* cauce.keyring_create(): a new keyring file, and the database's own key under it. */
Datum
cauce_keyring_create(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan = NULL;
	SpiScope scope;
	bool sealed;

	SpiEnter(&scope, true);
	sealed = SpiRun(&plan, "SELECT 1 FROM cauce.data_key LIMIT 1", 0, NULL, NULL, NULL, true) > 0;
	SpiLeave(&scope);
	if (sealed && !KeyringExists())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database has keys under a keyring already"),
				 errhint("Put that keyring back; a new one could not open what is sealed.")));
	KeyringCreate();
	DataKeyCheckKeyring();
	PG_RETURN_TEXT_P(cstring_to_text(KeyringId()));
}

/* cauce.make_account_key(id): makes the account's key; gives the id back. */
Datum
cauce_make_account_key(PG_FUNCTION_ARGS)
{
	(void) DataKeyForAccount(PG_GETARG_UUID_P(0));
	return PG_GETARG_DATUM(0);
}
