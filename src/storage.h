/*
 * storage.h
 *		Bundles outside of the database, in the care of programs that the administrator has configured.
 */
#ifndef CAUCE_STORAGE_H
#define CAUCE_STORAGE_H

#include "utils/uuid.h"

#include "cipher.h"

/*
 * A bundle as storage knows it: its file is called after the session and the SHA-256 of the sealed bytes, so that
 * a name never means two contents.
 */
typedef struct StoredBundle
{
	pg_uuid_t session;
	uint8 digest[CIPHER_DIGEST_BYTES];
	Size size; /* of the sealed bytes */
} StoredBundle;

/* StorageInit defines cauce.archive_command, cauce.restore_command and cauce.archive_cleanup_command. */
extern void StorageInit(void);

/* Which of them are set. */
extern bool StorageTakes(void);
extern bool StorageGives(void);
extern bool StorageRemoves(void);

/* StorageDescribe fills in what storage would know a session's bundle as. */
extern void StorageDescribe(const pg_uuid_t *session, const struct varlena *bundle,
							StoredBundle *stored);

/* StorageRead makes one of a row's columns, digest and bytes. Raises XX001 for what is none. */
extern void StorageRead(Datum digest, Datum bytes, StoredBundle *stored);

/*
 * StoragePut has a bundle stored, StorageGet has it given back, palloc'd, and StorageRemove removed. The caller
 * has asked for authority. They raise 55000 where the setting is empty and 58030 when its program fails;
 * StorageGet also XX001 when what it gave is not the bundle.
 */
extern void StoragePut(const StoredBundle *stored, const struct varlena *bundle);
extern struct varlena *StorageGet(const StoredBundle *stored);
extern void StorageRemove(const StoredBundle *stored);

#endif
