/*
 * keyring.h
 *		The keys that live outside the database.
 *
 * The file is a JSON Web Key Set (RFC 7517, section 5) with a member "keyring"
 * that names it: symmetric keys "master-N" and "epoch-YYYY-MM-DD", and the
 * private P-256 key "sign". docs/keys.md describes it.
 */
#ifndef CAUCE_KEYRING_H
#define CAUCE_KEYRING_H

#include "datatype/timestamp.h"

/* A day as PostgreSQL's date counts it: days since 2000-01-01, in UTC. */
typedef int32 EpochDay;

/* Longest retention, in days, that a key can be wrapped for; section 8 of the design. */
#define KEYRING_HORIZON_DAYS 3650

/* KeyringInit defines the settings cauce.keyring_file and cauce.epoch_days. */
extern void KeyringInit(void);

/* KeyringId is the UUID, as text, of the keyring in use. Raises 55000 where there is none. */
extern const char *KeyringId(void);

/* KeyringSerial changes whenever this process has read another keyring; 0 before the first. Never raises. */
extern uint64 KeyringSerial(void);

/* KeyringMaster is the number of the current master key. */
extern uint32 KeyringMaster(void);

/*
 * KeyringWrappingKey derives the 32-byte key-encrypting key of (master, epoch,
 * info) into kek. False when this keyring does not hold the epoch any more, or
 * not that master; the caller wipes kek.
 */
extern bool KeyringWrappingKey(uint32 master, EpochDay epoch, const void *info, Size info_size,
							   uint8 *kek);

/* KeyringEpoch is the first epoch that outlives the moment until. Raises 55000 past the last one. */
extern EpochDay KeyringEpoch(TimestampTz until);

/* KeyringEpochEnded tells whether the epoch's day has passed. */
extern bool KeyringEpochEnded(EpochDay epoch);

/* KeyringSigningKey is the JWK text of the private signing key; secret, do not keep. */
extern const char *KeyringSigningKey(void);

/* KeyringLastEpoch is the last day of the last epoch that the keyring holds. */
extern EpochDay KeyringLastEpoch(void);

/* KeyringExists tells whether there is a file at cauce.keyring_file. */
extern bool KeyringExists(void);

/* KeyringCreate writes a new keyring file; raises 55000 when there is one. */
extern void KeyringCreate(void);

/* KeyringExtend adds epoch keys when fewer than the horizon and half a year are left. */
extern void KeyringExtend(void);

#endif
