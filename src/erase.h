/*
 * erase.h
 *		Erasure: the key destroyed, the rows removed, a certificate signed.
 */
#ifndef CAUCE_ERASE_H
#define CAUCE_ERASE_H

#include "utils/uuid.h"

/*
 * EraseSession and EraseArchive delete one session, or one archived session, and
 * put reason on the certificate. A plain DELETE does the same with reason
 * "request". False when there is no such row.
 */
extern bool EraseSession(const pg_uuid_t *account, const pg_uuid_t *session, const char *reason);
extern bool EraseArchive(const pg_uuid_t *account, const pg_uuid_t *session, const char *reason);

/* RefuseHeld raises 55006: the session is under legal hold. */
extern void RefuseHeld(void);

#endif
