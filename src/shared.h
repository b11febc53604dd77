/*
 * shared.h
 *		What the server's processes tell each other about keys and logins, in shared memory.
 *
 * No key and no content is ever in it: a counter, a latch, a report.
 */
#ifndef CAUCE_SHARED_H
#define CAUCE_SHARED_H

#include "storage/proc.h"

#include "keyring.h"

/* More than these many a database will hardly need; then it needs all. */
#define KEYRING_NEEDS_MAX 128

/*
 * What databases need of the keyring among what could be destroyed: epochs that have ended
 * and that live data keys lie under, and master keys.
 */
typedef struct KeyringNeeds
{
	bool everything; /* there was no room to tell */
	int epoch_count;
	EpochDay epochs[KEYRING_NEEDS_MAX];
	int master_count;
	uint32 masters[KEYRING_NEEDS_MAX];
} KeyringNeeds;

/* SharedInit asks for the memory; in the postmaster, before it starts. */
extern void SharedInit(void);

/* SharedKeyringChanged counts one change of the keyring; SharedKeyringChanges is how many there were. */
extern void SharedKeyringChanged(void);
extern uint64 SharedKeyringChanges(void);

/* SharedLauncherIs makes the calling process the one that is woken; until it exits. */
extern void SharedLauncherIs(void);

/*
 * SharedWakeAtCommit makes the launcher visit every database once the transaction has
 * committed; SharedWakeTaken tells it so, once.
 */
extern void SharedWakeAtCommit(void);
extern bool SharedWakeTaken(void);

/*
 * SharedLoginIs tells the parallel workers of the calling process over which channel (channel.h) its client's
 * login is an account; 0 says that it is none. SharedLoginOf reads what the leader of a group has told.
 */
extern void SharedLoginIs(int channel);
extern int SharedLoginOf(const PGPROC *leader);

/*
 * SharedAsk asks one database what it needs; SharedAnswer answers for it; SharedAnswered adds the
 * answer to needs, false when there is none.
 */
extern void SharedAsk(Oid database);
extern void SharedAnswer(Oid database, const KeyringNeeds *needs);
extern bool SharedAnswered(KeyringNeeds *needs);

/* KeyringNeedsEpoch and KeyringNeedsMaster add one; KeyringIsNeeded looks for a key's name. */
extern void KeyringNeedsEpoch(KeyringNeeds *needs, EpochDay epoch);
extern void KeyringNeedsMaster(KeyringNeeds *needs, uint32 master);
extern bool KeyringIsNeeded(const KeyringNeeds *needs, const KeyName *name);

#endif
