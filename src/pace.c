/*
 * pace.c
 *		How fast a retention run goes.
 *
 * A run that uses the processor whenever it can has everybody wait for slices of milliseconds, whose
 * transactions take less.
 */
#include "postgres.h"

#include "pgstat.h"
#include "storage/fd.h"
#include "utils/timestamp.h"

#include "pace.h"

/*
 * A machine is crowded for a run that had a processor for so long and waited for one for more than a quarter of that.
 * It is taken for that for two seconds; and for two more when the run, which looks every few milliseconds, waited for more
 * than an eighth, as one that rests seldom waits. The kernel's own threads alone make it wait for a hundredth.
 */
#define ENOUGH_NSECS UINT64CONST(40000000)
#define CROWDED 4
#define STILL_CROWDED 8
#define CROWDED_USECS (2 * USECS_PER_SEC)
#define LOOK_USECS 5000
/*
 * There a run rests for so many times as long as it worked. Three runners then take a tenth of a processor, and
 * 95 of 100 transactions of others do not meet them.
 */
#define REST 32
/* It holds locks on due sessions and on chains meanwhile: from so long on, it rests less. */
#define PATIENCE_USECS (5 * USECS_PER_SEC)
#define IMPATIENT_REST 4
#define REST_MAX_USECS USECS_PER_SEC

/* What the kernel has counted of this process, in nanoseconds. */
typedef struct Scheduled
{
	uint64 ran;
	uint64 waited; /* ready to run, and without a processor */
} Scheduled;

/* ReadScheduled reads it; false on a kernel that does not count. */
static bool
ReadScheduled(Scheduled *scheduled)
{
	FILE *file = AllocateFile("/proc/self/schedstat", "r");
	bool read = file != NULL && fscanf(file, UINT64_FORMAT " " UINT64_FORMAT, &scheduled->ran,
									   &scheduled->waited) == 2;

	if (file != NULL)
		FreeFile(file);
	return read;
}

/* IsCrowded tells whether others want the processor that this process runs on; it looks once in a while. */
static bool
IsCrowded(TimestampTz now)
{
	static TimestampTz looked_at = 0;
	static TimestampTz crowded_at = 0;
	static Scheduled last; /* when it was last judged */
	bool crowded = now >= crowded_at && now - crowded_at < CROWDED_USECS;
	Scheduled scheduled;

	if ((now >= looked_at && now - looked_at < LOOK_USECS) || !ReadScheduled(&scheduled))
		return crowded;
	looked_at = now;
	if (!crowded && scheduled.ran - last.ran < ENOUGH_NSECS)
		return false;
	if ((scheduled.waited - last.waited) * (crowded ? STILL_CROWDED : CROWDED) >
		scheduled.ran - last.ran)
	{
		crowded_at = now;
		crowded = true;
	}
	last = scheduled;
	return crowded;
}

/* PaceBegin begins. */
void
PaceBegin(Pace *pace)
{
	pace->begun = GetCurrentTimestamp();
	pace->rested = pace->begun;
}

/* GiveWay rests. */
void
GiveWay(Pace *pace)
{
	TimestampTz now = GetCurrentTimestamp();
	int times = now - pace->begun < PATIENCE_USECS ? REST : IMPATIENT_REST;

	if (now > pace->rested && IsCrowded(now))
	{
		pgstat_report_wait_start(PG_WAIT_EXTENSION);
		pg_usleep((long) Min(times * (now - pace->rested), REST_MAX_USECS));
		pgstat_report_wait_end();
		now = GetCurrentTimestamp();
	}
	pace->rested = now;
}
