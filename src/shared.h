/*
 * shared.h
 *		What the server's processes tell each other about keys, in shared memory.
 *
 * No key and no content is ever in it: a counter, a latch, a report.
 */
#ifndef CAUCE_SHARED_H
#define CAUCE_SHARED_H

#include "keyring.h"

/* What one database needs of the keyring; the answer of a worker that has looked. */
typedef struct KeyringNeeds
{
	EpochDay lowest_epoch; /* the oldest that a live data key lies under */
	uint32 lowest_master; /* likewise, a master key's number */
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

/* SharedAsk opens a report; SharedAnswer fills it in; SharedAnswered reads it, false when nobody did. */
extern void SharedAsk(void);
extern void SharedAnswer(const KeyringNeeds *needs);
extern bool SharedAnswered(KeyringNeeds *needs);

#endif
