/*
 * keyrow.c
 *		Reading, storing, wrapping and unwrapping the rows of cauce.data_key.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/date.h"

#include "identity.h"
#include "keyring.h"
#include "keyrow.h"
#include "secret.h"
#include "spi.h"

#define WRAPPED_VERSION 1

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

/* KeyRowWrap fills row->wrapped from the secret, under the current master. */
void
KeyRowWrap(KeyRow *row, const uint8 *secret)
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

/* KeyRowWrongKeyring raises: what is sealed here lies under another keyring. */
void
KeyRowWrongKeyring(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the keyring does not belong to this database"),
			 errdetail("The database's own key does not unwrap with keyring %s.", KeyringId()),
			 errhint("Put back the keyring that cauce.keyring_create() made for this "
					 "database; a new one cannot open what is sealed.")));
}

/* KeyRowTryUnwrap recovers the secret, or tells why it cannot. */
UnwrapResult
KeyRowTryUnwrap(const KeyRow *row, uint8 *secret)
{
	WrapInfo info = InfoOf(row);
	uint32 master;
	uint8 kek[CIPHER_KEY_BYTES];
	bool ok;

	if (row->wrapped.version == 0)
		return UNWRAP_DAMAGED;
	if (row->wrapped.version != WRAPPED_VERSION)
		return UNWRAP_NEWER;
	memcpy(&master, row->wrapped.master, sizeof(master));
	if (!KeyringWrappingKey(pg_ntoh32(master), row->epoch, &info, sizeof(info), kek))
		return KeyringEpochEnded(row->epoch) ? UNWRAP_ENDED : UNWRAP_LACKING;
	ok = CipherUnwrap(kek, row->wrapped.key, secret);
	SecretWipe(kek, sizeof(kek));
	return ok ? UNWRAP_OK : UNWRAP_DAMAGED;
}

/* KeyRowUnwrap recovers the secret, or raises. */
bool
KeyRowUnwrap(const KeyRow *row, uint8 *secret)
{
	UnwrapResult result = KeyRowTryUnwrap(row, secret);

	if ((result == UNWRAP_LACKING || result == UNWRAP_DAMAGED) && DataKeyIsInbox(&row->key))
		KeyRowWrongKeyring();
	switch (result)
	{
		case UNWRAP_OK:
		case UNWRAP_ENDED:
			break;
		case UNWRAP_LACKING:
			ereport(
				ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the keyring lacks the key that wraps data key %s", UuidText(&row->key.id)),
				 errdetail("Its epoch has not ended, so the key was not destroyed by its time."),
				 errhint("Put back the newest copy of the keyring.")));
			break;
		case UNWRAP_DAMAGED:
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("data key %s is damaged", UuidText(&row->key.id)),
					 errdetail("It does not unwrap for its account, organization, session and "
							   "epoch."),
					 errhint("Restore the row of cauce.data_key from a backup.")));
			break;
		case UNWRAP_NEWER:
			ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
							errmsg("a data key has format %d", row->wrapped.version),
							errhint("It was written by a newer version of cauce.")));
			break;
	}
	return result == UNWRAP_OK;
}

/* KeyRowFrom fills row from the values of its columns. */
void
KeyRowFrom(const Datum *values, const bool *nulls, KeyRow *row)
{
	bytea *wrapped = DatumGetByteaPP(values[6]);
	uint32 last_epoch;

	memset(row, 0, sizeof(*row));
	row->key.id = *DatumGetUUIDP(values[0]);
	row->key.account = *DatumGetUUIDP(values[1]);
	row->key.has_organization = !nulls[2];
	if (!nulls[2])
		row->key.organization = *DatumGetUUIDP(values[2]);
	row->key.has_session = !nulls[3];
	if (!nulls[3])
		row->key.session = *DatumGetUUIDP(values[3]);
	row->epoch = DatumGetDateADT(values[4]);
	row->key.generation = (uint16) DatumGetInt32(values[5]);
	if (VARSIZE_ANY_EXHDR(wrapped) != sizeof(WrappedKey))
		return; /* version 0: damaged */
	memcpy(&row->wrapped, VARDATA_ANY(wrapped), sizeof(WrappedKey));
	memcpy(&last_epoch, row->wrapped.last_epoch, sizeof(last_epoch));
	row->last_epoch = (EpochDay) pg_ntoh32(last_epoch);
}

/* KeyRowRead reads one row of the last result. */
void
KeyRowRead(uint64 at, KeyRow *row)
{
	Datum values[KEYROW_COLUMN_COUNT];
	bool nulls[KEYROW_COLUMN_COUNT];

	for (int i = 0; i < KEYROW_COLUMN_COUNT; i++)
		values[i] = SpiValue(at, i + 1, &nulls[i]);
	KeyRowFrom(values, nulls, row);
}

/* KeyRowInsert stores a wrapped key; false when its owner has one already, which stays. */
bool
KeyRowInsert(const KeyRow *row)
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
					"INSERT INTO cauce.data_key (" KEYROW_COLUMNS ")"
					" VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
					7, types, values, nulls, false) == 1;
	SpiLeave(&scope);
	pfree(wrapped);
	return stored;
}

/* KeyRowUpdate updates the row that a key was read from. */
void
KeyRowUpdate(const KeyRow *row)
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

/* KeyRowMaster reads the master key's number. */
uint32
KeyRowMaster(const bytea *wrapped)
{
	uint32 master;

	if (VARSIZE_ANY_EXHDR(wrapped) != sizeof(WrappedKey))
		return 0;
	memcpy(&master, ((const WrappedKey *) VARDATA_ANY(wrapped))->master, sizeof(master));
	return pg_ntoh32(master);
}

/* KeyRowLastEpoch reads the last epoch; a damaged key must not stand in the way. */
EpochDay
KeyRowLastEpoch(const bytea *wrapped, EpochDay epoch)
{
	uint32 last;

	if (VARSIZE_ANY_EXHDR(wrapped) != sizeof(WrappedKey))
		return epoch;
	memcpy(&last, ((const WrappedKey *) VARDATA_ANY(wrapped))->last_epoch, sizeof(last));
	return Max(epoch, (EpochDay) pg_ntoh32(last));
}
