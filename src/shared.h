/*
 * shared.h
 *		What the server's processes tell each other about keys, logins and time, in shared memory.
 *
 * No key and no content is ever in it: a counter, a latch, a report, a clock.
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

/*
 * SharedNoWorker notes whether a pass has found no worker slot; SharedNoWorkerSince is since when
 * passes have not, 0 when the last one did.
 */
extern void SharedNoWorker(bool lacking);
extern TimestampTz SharedNoWorkerSince(void);

/* What two clocks that differ by less are taken for the same. */
#define CLOCK_BOUND (2 * USECS_PER_DAY)

/* The server's calendar clock: when it began, by itself, and for how many microseconds it runs since. */
typedef struct SharedClock
{
	TimestampTz began;
	bool jumped; /* it began by going ahead of the one before */
	int64 runs;
} SharedClock;

/*
 * SharedReadClock reads it at the moment now. It begins anew when now is further than CLOCK_BOUND
 * from what the time since boot, which nobody sets, makes expect.
 */
extern void SharedReadClock(TimestampTz now, SharedClock *clock);

/* SharedTellOfClock is true once for each database since the clock began, that the log is not filled. */
extern bool SharedTellOfClock(Oid database);

/* KeyringNeedsEpoch and KeyringNeedsMaster add one; KeyringIsNeeded looks for a key's name. */
extern void KeyringNeedsEpoch(KeyringNeeds *needs, EpochDay epoch);
extern void KeyringNeedsMaster(KeyringNeeds *needs, uint32 master);
extern bool KeyringIsNeeded(const KeyringNeeds *needs, const KeyName *name);

#endif
