/*
 * pace.h
 *		How fast a retention run goes: as fast as it can alone, slowly where others want the processor.
 */
#ifndef CAUCE_PACE_H
#define CAUCE_PACE_H

#include "datatype/timestamp.h"

typedef struct Pace
{
	TimestampTz begun; /* the run */
	TimestampTz rested; /* last, or begun */
} Pace;

/* PaceBegin begins a run. */
extern void PaceBegin(Pace *pace);

/* GiveWay rests for what the run did since the last rest, where the machine is crowded. An interrupt ends it. */
extern void GiveWay(Pace *pace);

#endif
