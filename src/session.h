/*
 * session.h
 *		The life of a session's row.
 */
#ifndef CAUCE_SESSION_H
#define CAUCE_SESSION_H

#include "utils/uuid.h"

/* SessionInit defines the setting cauce.retention_grace, in seconds. */
extern void SessionInit(void);

/* SessionMakeKey makes the key of a session that has none yet; false when there is no such session. */
extern bool SessionMakeKey(const pg_uuid_t *account, const pg_uuid_t *session);

/* SessionIsLive tells whether an account has such a session, and it has not ended. */
extern bool SessionIsLive(const pg_uuid_t *account, const pg_uuid_t *session);

#endif
