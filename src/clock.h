/*
 * clock.h
 *		Whether the calendar clock is to be believed, before time destroys anything.
 *
 * docs/operations.md has the rule.
 */
#ifndef CAUCE_CLOCK_H
#define CAUCE_CLOCK_H

#include "datatype/timestamp.h"

/* ClockInit defines cauce.clock_hold. */
extern void ClockInit(void);

/*
 * ClockIsTrusted tells what time it is, and whether this database goes by that: of one reading, since the clock may
 * jump between two. In a transaction that began while it was ahead it is not, be it right by now.
 */
extern bool ClockIsTrusted(TimestampTz *now);

/* ClockNote remembers in the database what time it is, if that is trusted, and says in the log if not. */
extern void ClockNote(void);

#endif
