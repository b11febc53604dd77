/*
 * sink.h
 *	  The thread that brings utterances into the database, each exactly once.
 *
 * States:	CONNECTING --token accepted--> READY <--> STORING
 *			CONNECTING, STORING --no answer--> WAITING --back-off over--> CONNECTING
 * Ends:	READY --nothing left, session ended if it is to end--> DONE; CONNECTING, STORING --refused--> REFUSED
 *			WAITING --too long--> GAVE_UP; any --told to--> ABANDONED
 */
#ifndef CAUCE_SINK_H
#define CAUCE_SINK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "database.h"
#include "queue.h"

typedef enum SinkState
{
	SINK_CONNECTING,
	SINK_READY,
	SINK_STORING,
	SINK_WAITING,
	SINK_DONE, /* this and what follows are ends */
	SINK_REFUSED,
	SINK_GAVE_UP,
	SINK_ABANDONED
} SinkState;

/* SinkHooks are called in the sink's thread. */
typedef struct SinkHooks
{
	void *context;
	void (*changed)(void *context); /* the sink is ready, or has ended */
	/* A segment is stored with its alerts, if any, or it is a note's turn. */
	void (*passed)(void *context, const Utterance *utterance, const DatabaseAlerts *alerts);
} SinkHooks;

typedef struct Sink
{
	Queue queue;
	Database database;
	pthread_t thread;
	atomic_int state; /* a SinkState, changed by the thread only */
	SinkHooks hooks;
	int give_up_s; /* 0: never */
	int64_t outage_start_ms; /* monotonic; 0: none. This and the next are the thread's own */
	int failures; /* in a row */
	atomic_bool end_session;
	atomic_long stored;
} Sink;

/*
 * SinkStart starts the thread, which connects at once. give_up_s is how many seconds it may be
 * without an answer of the database before it ends (0: any number). Returns false, with a report, if
 * there is no thread to be had.
 */
extern bool SinkStart(Sink *sink, const char *conninfo, const Token *token, int give_up_s,
					  const SinkHooks *hooks);

extern SinkState SinkGetState(Sink *sink);

/* SinkHasEnded tells whether a state is an end. */
extern bool SinkHasEnded(SinkState state);

/*
 * SinkFinish says that no more will be put in the queue. end_session is whether the session ends once
 * all is stored.
 */
extern void SinkFinish(Sink *sink, bool end_session);

/* SinkAbandon tells the thread to end as soon as it can, whatever is left. */
extern void SinkAbandon(Sink *sink);

/* SinkDestroy waits for the thread to end and wipes what is left. */
extern void SinkDestroy(Sink *sink);

#endif
