/*
 * rewrap.h
 *		Wrapping data keys anew: for another epoch, another organization, another master key.
 *
 * Content is never touched: the data key stays, what it is wrapped under changes.
 */
#ifndef CAUCE_REWRAP_H
#define CAUCE_REWRAP_H

#include "datakey.h"
#include "shared.h"

/*
 * RewrapSession wraps every generation of a session's key anew, for organization
 * and under the epoch that outlives until.
 */
extern void RewrapSession(const pg_uuid_t *account, const pg_uuid_t *organization,
						  const pg_uuid_t *session, TimestampTz until);

/*
 * RewrapOverdue moves keys out of epochs that have ended before today while what they
 * seal is still there (a legal hold, retention that fails), and the keys that belong to no
 * session out of the nearer half of the horizon: to those of now. It waits for nobody.
 */
extern void RewrapOverdue(EpochDay today, TimestampTz now);

/* RewrapMasters moves keys under the master key in use; those that somebody holds stay. Gives how many moved. */
extern uint64 RewrapMasters(void);

/*
 * RewrapNeeds tells what this database still needs of the keyring as of today. On a
 * primary it waits, for at most half a minute, for those who may be wrapping under an
 * epoch that was not over when they chose it, and raises 55P03 when they did not end.
 */
extern void RewrapNeeds(EpochDay today, KeyringNeeds *needs);

/*
 * RewrapExtendKeyring adds epoch keys where they run short, unless the keyring is older
 * than this database's keys (55000).
 */
extern void RewrapExtendKeyring(void);

#endif
