/*
 * clock.c
 *		The safeguard against a calendar clock that jumps.
 *
 *		trusted ──began long after it was last seen──► held ──clock_hold, or confirm_clock()──► trusted
 *
 * The clock begins when the server starts, and anew when the calendar has gone another way than
 * the time since boot, which nobody sets. Each database remembers when it last saw a clock
 * that it trusted. A clock that began within CLOCK_BOUND of that, with the server and not by a jump
 * ahead (of many small steps, too), goes on from there. Any other may be right (the server was down,
 * the backup is old) or wrong: it is trusted after it has run for cauce.clock_hold, or when
 * somebody says so.
 *
 * A standby cannot remember. It believes the time of the last commit that it has replayed as far as
 * the primary has noted that it trusts it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "shared.h"
#include "spi.h"

PG_FUNCTION_INFO_V1(cauce_clock_held_until);

/* A clock is noted again when what was noted is so old: each note is a row version. */
#define NOTE_EVERY (SECS_PER_MINUTE * USECS_PER_SEC)

static int clock_hold = 3 * SECS_PER_DAY;

/* ClockInit defines the setting. */
void
ClockInit(void)
{
	DefineCustomIntVariable(
		"cauce.clock_hold",
		"How long a clock that has jumped must run before time destroys anything.", NULL,
		&clock_hold, 3 * SECS_PER_DAY, 1, 30 * SECS_PER_DAY, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL,
		NULL);
}

/* LastSeen reads when the database last saw a clock that it trusted; false when it never has. */
static bool
LastSeen(TimestampTz *seen)
{
	static SPIPlanPtr plan = NULL;
	SpiScope scope;
	bool isnull;
	bool found;

	SpiEnter(&scope, true);
	found = SpiRun(&plan, "SELECT seen_at FROM cauce.clock", 0, NULL, NULL, NULL, true) > 0;
	if (found)
		*seen = DatumGetTimestampTz(SpiValue(0, 1, &isnull));
	SpiLeave(&scope);
	return found;
}

/*
 * HeldUntil tells when a clock will be trusted that is not; 0 for one that is. A standby
 * cannot tell when.
 */
static TimestampTz
HeldUntil(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz seen = 0;
	SharedClock clock;

	if (RecoveryInProgress())
	{
		if (!LastSeen(&seen) || Min(now, GetLatestXTime()) <= seen + CLOCK_BOUND)
			return 0;
		return DT_NOEND;
	}
	SharedReadClock(now, &clock); /* first, as it may begin anew */
	if (!LastSeen(&seen) || seen >= clock.began - (clock.jumped ? 0 : CLOCK_BOUND))
		return 0;
	if (clock.runs >= clock_hold * USECS_PER_SEC)
		return 0;
	return now + clock_hold * USECS_PER_SEC - clock.runs;
}

/*
 * ClockIsTrusted asks. What is due is so at the transaction's now(), which is still to come
 * where the clock was set back since.
 */
bool
ClockIsTrusted(void)
{
	return HeldUntil() == 0 && GetCurrentTimestamp() >= GetCurrentTransactionStartTimestamp();
}

/* Remember notes the time. */
static void
Remember(void)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {TIMESTAMPTZOID, INT8OID};
	TimestampTz now = GetCurrentTimestamp();
	Datum values[] = {TimestampTzGetDatum(now), Int64GetDatum(NOTE_EVERY / USECS_PER_SEC)};
	SpiScope scope;

	SpiEnter(&scope, false);
	SpiRun(&plan,
		   "INSERT INTO cauce.clock AS c (seen_at) VALUES ($1) ON CONFLICT (one) DO UPDATE"
		   " SET seen_at = $1 WHERE abs(extract(epoch FROM $1 - c.seen_at)) > $2",
		   lengthof(types), types, values, NULL, false);
	SpiLeave(&scope);
}

/* ClockNote notes, or says once that the clock is held. */
void
ClockNote(void)
{
	TimestampTz until = HeldUntil();

	if (until == 0)
		Remember();
	else if (SharedTellOfClock(MyDatabaseId))
		ereport(
			WARNING,
			(errmsg("cauce: the clock is not trusted; nothing is archived, erased or destroyed"),
			 errdetail("It has jumped, or this database was not in use for days. It is trusted "
					   "from %s on.",
					   timestamptz_to_str(until)),
			 errhint("If it is right, SELECT cauce.confirm_clock() in this database; if not, put "
					 "it right.")));
}

/* cauce.clock_held_until(): when a clock that is not trusted will be; NULL when it is. */
Datum
cauce_clock_held_until(PG_FUNCTION_ARGS)
{
	TimestampTz until = HeldUntil();

	if (until == 0)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(until);
}
