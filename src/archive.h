/*
 * archive.h
 *		Moving a session out of the live tables and back.
 */
#ifndef CAUCE_ARCHIVE_H
#define CAUCE_ARCHIVE_H

#include "utils/uuid.h"

/* BundleBinding is the 16-byte binding of a bundle to its row of cauce.archived_session. */
extern void BundleBinding(const pg_uuid_t *account, const pg_uuid_t *session, uint8 *binding);

/*
 * ArchiveMayQuietly tells whether sessions can be archived without triggers: nobody else watches cauce's tables. It
 * holds until the transaction, or the subtransaction that asks, ends. Inside of an SpiScope.
 */
extern bool ArchiveMayQuietly(void);

/*
 * ArchiveSession seals a session into one bundle; false when there is no such session. Quietly, where
 * ArchiveMayQuietly and the transaction has locked the session's row FOR UPDATE, is the faster way.
 */
extern bool ArchiveSession(const pg_uuid_t *account, const pg_uuid_t *session, bool quietly);

#endif
