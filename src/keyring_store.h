/*
 * keyring_store.h
 *		Where the keyring is kept: a file, or what a program of the administrator's keeps.
 *
 * cauce.keyring_file names a file; cauce.keyring_command a program, whose %o is
 * replaced by "read" (it prints the keyring) or "write" (it stores what it is given
 * on its standard input). A command without %o is only ever read.
 */
#ifndef CAUCE_KEYRING_STORE_H
#define CAUCE_KEYRING_STORE_H

#include <sys/stat.h>

#include "datatype/timestamp.h"

#include "libjose.h"

/* Which state of the store was read. */
typedef struct KeyringStamp
{
	struct stat file; /* of a file */
	TimestampTz reload; /* of a command: the configuration that it was read under */
	uint64 changes; /* likewise: what this server had written until then */
} KeyringStamp;

/* KeyringStoreInit defines cauce.keyring_file and cauce.keyring_command. */
extern void KeyringStoreInit(void);

/*
 * KeyringStoreSame tells whether the store is still as it was when stamp was made. A
 * command is run again after a reload of the configuration and after every change
 * that this server makes. Never raises.
 */
extern bool KeyringStoreSame(const KeyringStamp *stamp);

/* KeyringStoreRead gives the JSON and its stamp; raises 55000 where there is none, or none that is safe. */
extern json_t *KeyringStoreRead(KeyringStamp *stamp);

/* KeyringStoreExists tells whether there is a keyring, be it a damaged one. */
extern bool KeyringStoreExists(void);

/* KeyringStoreIsCommand tells whether a program keeps the keyring. Raises 55000 where nothing is configured. */
extern bool KeyringStoreIsCommand(void);

/*
 * KeyringStoreWritable is false for a command without %o, and on a standby for any command. Raises
 * 55000 where nothing is configured.
 */
extern bool KeyringStoreWritable(void);

/*
 * KeyringStoreWrite replaces the keyring, or creates it (55000 when there is one).
 * The old file's bytes are overwritten, so that a key that has left the keyring has
 * left the disk as far as the file system allows. KeyringStoreLock comes before.
 */
extern void KeyringStoreWrite(const json_t *root, bool create);

/*
 * KeyringStoreLock keeps other processes of this server from changing the keyring,
 * until KeyringStoreUnlock or the transaction's end. Without wait it may be refused.
 */
extern bool KeyringStoreLock(bool wait);
extern void KeyringStoreUnlock(void);

#endif
