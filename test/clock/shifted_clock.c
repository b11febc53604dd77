/*
 * shifted_clock.c
 *		For LD_PRELOAD: a calendar clock that is ahead by what the file CAUCE_TEST_CLOCK_FILE says.
 *
 * libfaketime does not serve: it goes by the real time in and after a signal handler
 * that interrupts select(), and there PostgreSQL 15's postmaster forks its children.
 * Only the calendar is moved; monotonic clocks, and so time-outs, stay as they are. The file
 * holds a long, in seconds; when it changes, the clock of running processes jumps.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Shift looks at the file, which is mapped once: the server moves its environment. */
static long
Shift(void)
{
	static const volatile long *shift = NULL;
	static int known = 0;

	if (!known)
	{
		const char *name = getenv("CAUCE_TEST_CLOCK_FILE");
		int file = name != NULL ? open(name, O_RDONLY | O_CLOEXEC) : -1;
		void *map =
			file >= 0 ? mmap(NULL, sizeof(long), PROT_READ, MAP_SHARED, file, 0) : MAP_FAILED;

		if (map != MAP_FAILED)
			shift = map;
		if (file >= 0)
			(void) close(file);
		known = 1;
	}
	return shift != NULL ? *shift : 0;
}

/* clock_gettime is the C library's, with the calendar moved. */
int
clock_gettime(clockid_t clock, struct timespec *now)
{
	int result = (int) syscall(SYS_clock_gettime, clock, now);

	if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		now->tv_sec += Shift();
	return result;
}

/* gettimeofday likewise; what it says of time zones nobody asks for. */
int
gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec precise;
	int result = clock_gettime(CLOCK_REALTIME, &precise);

	(void) zone;
	now->tv_sec = precise.tv_sec;
	now->tv_usec = precise.tv_nsec / 1000;
	return result;
}

/* time likewise. */
time_t
time(time_t *now)
{
	struct timespec precise = {0};

	(void) clock_gettime(CLOCK_REALTIME, &precise);
	if (now != NULL)
		*now = precise.tv_sec;
	return precise.tv_sec;
}
