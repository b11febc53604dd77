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
 * ArchiveSession seals a session into one bundle; false when there is no such session. With held the transaction
 * has locked the session's row FOR UPDATE.
 */
extern bool ArchiveSession(const pg_uuid_t *account, const pg_uuid_t *session, bool held);

#endif
