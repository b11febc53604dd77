/*
 * keyrow.h
 *		A data key's row in cauce.data_key, and wrapping the key in it.
 *
 * The key is wrapped (AES-KW) under a key derived from the keyring's master and
 * epoch keys and from everything that identifies it: change one of these in the
 * row, and it does not unwrap. docs/format.md has the bytes.
 */
#ifndef CAUCE_KEYROW_H
#define CAUCE_KEYROW_H

#include "cipher.h"
#include "datakey.h"

#define KEYROW_COLUMNS "id, account_id, organization_id, session_id, epoch, generation, wrapped"
#define KEYROW_COLUMN_COUNT 7

/* An SQL condition: what a key k seals is still there. One that lost its session opens nothing any more. */
#define KEYROW_SEALS_SOMETHING                                                                     \
	"(k.session_id IS NULL OR EXISTS (SELECT FROM cauce.session s"                                 \
	" WHERE s.account_id = k.account_id AND s.id = k.session_id) OR EXISTS"                        \
	" (SELECT FROM cauce.archived_session a WHERE a.account_id = k.account_id"                     \
	" AND a.id = k.session_id))"

/* What cauce.data_key.wrapped holds. */
typedef struct WrappedKey
{
	uint8 version;
	uint8 master[4]; /* number of the master key, big-endian */
	/* the latest epoch that the key was ever wrapped under: older backups hold it so */
	uint8 last_epoch[4];
	uint8 key[CIPHER_WRAPPED_BYTES];
} WrappedKey;

typedef struct KeyRow
{
	DataKey key; /* without its secret */
	EpochDay epoch;
	EpochDay last_epoch;
	WrappedKey wrapped;
} KeyRow;

/* KeyRowFrom fills row from values of the KEYROW_COLUMNS. */
extern void KeyRowFrom(const Datum *values, const bool *nulls, KeyRow *row);

/* KeyRowRead reads row at of the last SPI result, whose columns are KEYROW_COLUMNS. */
extern void KeyRowRead(uint64 at, KeyRow *row);

/* KeyRowInsert stores a row; false when its owner has this generation already, which stays. Inside of no scope. */
extern bool KeyRowInsert(const KeyRow *row);

/* KeyRowUpdate stores organization, epoch and wrapped key of a row. Inside of an SpiScope. */
extern void KeyRowUpdate(const KeyRow *row);

/* KeyRowWrap wraps the 32-byte secret under the master key in use and the row's epoch. */
extern void KeyRowWrap(KeyRow *row, const uint8 *secret);

/*
 * KeyRowUnwrap recovers the secret; false when the epoch key is gone, and with it the
 * data key, for good. Raises 55000 where the keyring is not the row's, XX001 for a damaged row.
 */
extern bool KeyRowUnwrap(const KeyRow *row, uint8 *secret);

typedef enum UnwrapResult
{
	UNWRAP_OK,
	UNWRAP_ENDED, /* the epoch's time has passed and its key is gone */
	UNWRAP_LACKING, /* the keyring has not the master or epoch key, and should */
	UNWRAP_DAMAGED, /* the row was changed, or lies under another keyring */
	UNWRAP_NEWER /* a format that this version does not know */
} UnwrapResult;

/* KeyRowTryUnwrap recovers the secret or tells why it cannot, and raises only where there is no keyring. */
extern UnwrapResult KeyRowTryUnwrap(const KeyRow *row, uint8 *secret);

/* KeyRowMaster is the number of the master key that a wrapped key lies under; 0 for a damaged one. */
extern uint32 KeyRowMaster(const bytea *wrapped);

/* KeyRowLastEpoch is the latest epoch that a wrapped key ever lay under, epoch being its present one. */
extern EpochDay KeyRowLastEpoch(const bytea *wrapped, EpochDay epoch);

/* KeyRowWrongKeyring raises 55000: what is sealed here lies under another keyring. */
extern void KeyRowWrongKeyring(void);

#endif
