/*
 * clock.c
 *	  Clocks of the system.
 */
#include "clock.h"

#include <time.h>

int64_t
ClockMs(void)
{
	struct timespec moment;

	clock_gettime(CLOCK_MONOTONIC, &moment);
	return (int64_t) moment.tv_sec * 1000 + moment.tv_nsec / 1000000;
}

int64_t
ClockThreadUs(void)
{
	struct timespec used;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (int64_t) used.tv_sec * 1000000 + used.tv_nsec / 1000;
}
