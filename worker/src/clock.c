/*
 * clock.c
 *	  Clocks of the system.
 */
#include "clock.h"

#include <time.h>

/* Read gives microseconds of a clock. */
static int64_t
Read(clockid_t clock)
{
	struct timespec moment;

	clock_gettime(clock, &moment);
	return (int64_t) moment.tv_sec * 1000000 + moment.tv_nsec / 1000;
}

int64_t
ClockUs(void)
{
	return Read(CLOCK_MONOTONIC);
}

int64_t
ClockMs(void)
{
	return ClockUs() / 1000;
}

int64_t
ClockThreadUs(void)
{
	return Read(CLOCK_THREAD_CPUTIME_ID);
}
