/*
 * upkeep.h
 *		What one visit of a background worker to one database does.
 */
#ifndef CAUCE_UPKEEP_H
#define CAUCE_UPKEEP_H

#include "keyring.h"

/* A visit, as the launcher orders it; travels in BackgroundWorker.bgw_extra. */
typedef struct Visit
{
	EpochDay today; /* epochs that ended before it may be destroyed after the visit */
	bool report; /* tell what the database needs of the keyring (shared.h) */
} Visit;

/* UpkeepInit defines cauce.retention_batch. */
extern void UpkeepInit(void);

/*
 * For background processes: UpkeepHasExtension tells whether the database has cauce;
 * UpkeepHoldSettings overrides settings of the database or the role that would stand in the way.
 */
extern bool UpkeepHasExtension(void);
extern void UpkeepHoldSettings(void);

/* The worker's entry point; its argument is the database's OID. */
extern PGDLLEXPORT void cauce_retention_main(Datum argument);

#endif
