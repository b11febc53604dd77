/*
 * keyring.h
 *		The keys that live outside the database.
 *
 * The keyring is a JSON Web Key Set (RFC 7517, section 5) with a member "keyring"
 * that names it: symmetric keys "master-N" and "epoch-YYYY-MM-DD", and the
 * private P-256 key "sign". docs/keys.md describes it. keyring_store.h keeps it,
 * keyring_edit.h changes it.
 */
#ifndef CAUCE_KEYRING_H
#define CAUCE_KEYRING_H

#include "datatype/timestamp.h"

/* A day as PostgreSQL's date counts it: days since 2000-01-01, in UTC. */
typedef int32 EpochDay;

/* Longest retention, in days, that a key can be wrapped for; section 8 of the design. */
#define KEYRING_HORIZON_DAYS 3650

/* The key set's members beside RFC 7517's, and the kid of the signing key. */
#define KEYRING_MASTER                                                                             \
	"master" /* number of the master key in use; the highest where it is absent */
#define KEYRING_RETIRED "retired" /* of a master key: to be destroyed once nothing needs it */
#define KEYRING_SIGN "sign"

/* A symmetric key's name. */
typedef struct KeyName
{
	bool is_epoch;
	uint32 master; /* number of a master key */
	EpochDay epoch; /* last day of an epoch key */
	bool retired;
} KeyName;

/* KeyringId is the UUID, as text, of the keyring in use. Raises 55000 where there is none. */
extern const char *KeyringId(void);

/* KeyringSerial changes whenever this process has read another keyring; 0 before the first. Never raises. */
extern uint64 KeyringSerial(void);

/* KeyringSerialRead is that of the keyring that was read last, without a look at its store. */
extern uint64 KeyringSerialRead(void);

/* KeyringMaster is the number of the master key in use. */
extern uint32 KeyringMaster(void);

/* KeyringNames lists the symmetric keys that the keyring holds; good until the next call of this module. */
extern const KeyName *KeyringNames(int *count);

/* KeyringParseName reads the kid master-N or epoch-YYYY-MM-DD; false for any other. */
extern bool KeyringParseName(const char *kid, KeyName *name);

/*
 * KeyringWrappingKey derives the 32-byte key-encrypting key of (master, epoch,
 * info) into kek. False when this keyring does not hold the epoch any more, or
 * not that master; the caller wipes kek.
 */
extern bool KeyringWrappingKey(uint32 master, EpochDay epoch, const void *info, Size info_size,
							   uint8 *kek);

/* KeyringDayOf is the UTC day that a moment falls in. */
extern EpochDay KeyringDayOf(TimestampTz moment);

/* KeyringEpoch is the first epoch that outlives the moment until. Raises 55000 past the last one. */
extern EpochDay KeyringEpoch(TimestampTz until);

/* KeyringEpochEnded tells whether the epoch's day has passed. */
extern bool KeyringEpochEnded(EpochDay epoch);

/* KeyringLastEpoch is the last day of the last epoch that the keyring holds. */
extern EpochDay KeyringLastEpoch(void);

/* KeyringSigningKey is the JWK text of the private signing key; secret, do not keep. */
extern const char *KeyringSigningKey(void);

/* KeyringSigningKeyDamaged raises 55000. */
extern void KeyringSigningKeyDamaged(void);

#endif
