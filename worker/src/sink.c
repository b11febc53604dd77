/*
 * sink.c
 *	  Stores utterances in order, and waits for the database as long as it takes.
 */
#include "sink.h"

#include <stdint.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "report.h"
#include "thread.h"

#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 10000

/* A first failure is often the end of an idle connection, and over at once: it is not told. */
#define FAILURES_TOLD 2

SinkState
SinkGetState(Sink *sink)
{
	return (SinkState) atomic_load(&sink->state);
}

bool
SinkHasEnded(SinkState state)
{
	return state >= SINK_DONE;
}

/* EnterState is the one place where the state changes. */
static void
EnterState(Sink *sink, SinkState state)
{
	atomic_store(&sink->state, (int) state);
	if (SinkHasEnded(state))
		QueueBreak(&sink->queue);
	if (SinkHasEnded(state) || state == SINK_READY)
		sink->hooks.changed(sink->hooks.context);
}

static int64_t
MonotonicMs(void)
{
	struct timespec moment;

	clock_gettime(CLOCK_MONOTONIC, &moment);
	return (int64_t) moment.tv_sec * 1000 + moment.tv_nsec / 1000000;
}

/* Backoff doubles with every failure; the random half keeps many workers from coming at once. */
static int
Backoff(int failures)
{
	int longest = BACKOFF_MIN_MS;
	uint32_t random = 0;
	int i;

	for (i = 1; i < failures && longest < BACKOFF_MAX_MS; i++)
		longest *= 2;
	if (longest > BACKOFF_MAX_MS)
		longest = BACKOFF_MAX_MS;
	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		random = 0;
	return longest / 2 + (int) (random % (uint32_t) (longest / 2 + 1));
}

/* NoteSuccess ends an outage. */
static void
NoteSuccess(Sink *sink)
{
	if (sink->failures >= FAILURES_TOLD)
		Report("the database answers again");
	sink->failures = 0;
	sink->outage_start_ms = 0;
}

/* WaitOut waits before the next try; returns false if that was too long or the sink is to end. */
static bool
WaitOut(Sink *sink)
{
	int64_t now = MonotonicMs();

	EnterState(sink, SINK_WAITING);
	if (sink->outage_start_ms == 0)
		sink->outage_start_ms = now;
	sink->failures++;
	if (sink->failures == FAILURES_TOLD)
		Report("no luck with the database, trying on until it works: %s", sink->database.problem);
	if (sink->give_up_s > 0 && now - sink->outage_start_ms >= (int64_t) sink->give_up_s * 1000)
	{
		EnterState(sink, SINK_GAVE_UP);
		return false;
	}
	QueueSleep(&sink->queue, Backoff(sink->failures));
	if (QueueBroken(&sink->queue))
	{
		EnterState(sink, SINK_ABANDONED);
		return false;
	}
	return true;
}

/* Decide returns whether to go on with the same work after an outcome that is not success. */
static bool
Decide(Sink *sink, Outcome outcome)
{
	if (outcome == OUTCOME_RETRY)
		return WaitOut(sink);
	EnterState(sink, SINK_REFUSED);
	return false;
}

/* Connect tries until the connection is there and the token accepted, or the sink ends. */
static bool
Connect(Sink *sink)
{
	Outcome outcome;

	for (;;)
	{
		EnterState(sink, SINK_CONNECTING);
		outcome = DatabaseOpen(&sink->database, &sink->queue);
		if (outcome == OUTCOME_STORED)
			return true;
		if (!Decide(sink, outcome))
			return false;
	}
}

/*
 * Store tries until the utterance is committed with its alerts or the sink ends. The rules are
 * learnt with each connection: they are asked each time anew.
 */
static bool
Store(Sink *sink, const Utterance *utterance, DatabaseAlerts *alerts)
{
	bool retried = false;
	bool unknown = false;
	Outcome outcome;

	for (;;)
	{
		if (!Connect(sink))
			return false;
		alerts->count = RulesMatch(&sink->database.rules, utterance->said.text, alerts->rules,
								   DATABASE_ALERTS_MAX);
		EnterState(sink, SINK_STORING);
		outcome = DatabaseStore(&sink->database, utterance, alerts, retried, &unknown);
		if (outcome == OUTCOME_STORED)
			return true;
		retried = retried || unknown;
		if (!Decide(sink, outcome))
			return false;
	}
}

/* Pass stores a segment and tells whoever waits for that, or for a note. */
static bool
Pass(Sink *sink, const Utterance *utterance)
{
	DatabaseAlerts alerts = {.count = 0};

	if (utterance->kind == UTTERANCE_SEGMENT)
	{
		if (!Store(sink, utterance, &alerts))
			return false;
		NoteSuccess(sink);
		atomic_fetch_add(&sink->stored, 1);
	}
	sink->hooks.passed(sink->hooks.context, utterance, &alerts);
	QueueDrop(&sink->queue);
	return true;
}

/* EndSession tries until the session has ended or the sink does. */
static bool
EndSession(Sink *sink)
{
	Outcome outcome;

	for (;;)
	{
		if (!Connect(sink))
			return false;
		EnterState(sink, SINK_STORING);
		outcome = DatabaseEndSession(&sink->database);
		if (outcome == OUTCOME_STORED)
			return true;
		if (!Decide(sink, outcome))
			return false;
	}
}

static void *
RunSink(void *argument)
{
	Sink *sink = argument;
	const Utterance *utterance;

	if (!Connect(sink))
		return NULL;
	NoteSuccess(sink);
	EnterState(sink, SINK_READY);
	while ((utterance = QueueFirst(&sink->queue)) != NULL)
	{
		if (!Pass(sink, utterance))
			return NULL;
		EnterState(sink, SINK_READY);
	}
	if (QueueBroken(&sink->queue))
		EnterState(sink, SINK_ABANDONED);
	else if (!atomic_load(&sink->end_session) || EndSession(sink))
		EnterState(sink, SINK_DONE);
	return NULL;
}

bool
SinkStart(Sink *sink, const char *conninfo, const Token *token, int give_up_s,
		  const SinkHooks *hooks)
{
	memset(sink, 0, sizeof(*sink));
	sink->give_up_s = give_up_s;
	sink->hooks = *hooks;
	DatabaseInit(&sink->database, conninfo, token);
	if (!QueueInit(&sink->queue, QUEUE_MAX))
	{
		Report("cannot make a queue");
		return false;
	}
	if (ThreadStart(&sink->thread, RunSink, sink))
		return true;
	QueueDestroy(&sink->queue);
	return false;
}

void
SinkFinish(Sink *sink, bool end_session)
{
	atomic_store(&sink->end_session, end_session);
	QueueEnd(&sink->queue);
}

void
SinkAbandon(Sink *sink)
{
	QueueBreak(&sink->queue);
}

void
SinkDestroy(Sink *sink)
{
	pthread_join(sink->thread, NULL);
	DatabaseDestroy(&sink->database);
	QueueDestroy(&sink->queue);
}
