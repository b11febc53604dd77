/*
 * clock.h
 *	  Time that only goes forward.
 */
#ifndef CAUCE_CLOCK_H
#define CAUCE_CLOCK_H

#include <stdint.h>

/* ClockMs tells milliseconds of the monotonic clock. */
extern int64_t ClockMs(void);

/* ClockUs is ClockMs in microseconds. */
extern int64_t ClockUs(void);

/* ClockThreadUs tells microseconds of processor time of this thread. */
extern int64_t ClockThreadUs(void);

#endif
