/*
 * queue.h
 *	  Recognised utterances on their way from the recognizer to the database, and notes to the one who
 *	  streams that keep their place among them.
 *
 * One thread at a time puts, one takes. The queue is bounded: when it is full no more audio is read,
 * and the pressure reaches the one who sends it.
 */
#ifndef CAUCE_QUEUE_H
#define CAUCE_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "recognition.h"

/* At a segment every few seconds this is about a quarter of an hour of talk. */
#define QUEUE_MAX 256

typedef enum UtteranceKind
{
	UTTERANCE_SEGMENT, /* one row of cauce.transcript_segment */
	/* Notes: nothing of them is stored. */
	UTTERANCE_INTERIM, /* the text so far of a segment that is being spoken */
	UTTERANCE_BEGINS, /* voice at start_ms after silence */
	UTTERANCE_ENDS, /* the channel was silent for long after end_ms */
	UTTERANCE_FLUSHED, /* everything before the place where that was asked for has been recognised */
	UTTERANCE_HEARD /* a message of audio has been taken in */
} UtteranceKind;

/* Utterance is a segment with its text, or a note. */
typedef struct Utterance
{
	UtteranceKind kind;
	bool flushed; /* the segment was ended because that was asked for */
	bool pause; /* the segment ends in a pause, not in the middle of speech */
	int channel;
	int64_t seq;
	const char *speaker; /* the stream's, outlives the queue */
	int64_t start_ms;
	int64_t end_ms;
	int64_t spoken_ms; /* when its voice ended, by the monotonic clock */
	Recognition said; /* owned; without text in most notes */
} Utterance;

/* UtteranceFree wipes and frees what an utterance owns. */
extern void UtteranceFree(const Utterance *utterance);

typedef struct Queue
{
	pthread_mutex_t lock;
	pthread_cond_t changed;
	Utterance slots[QUEUE_MAX];
	size_t capacity; /* slots in use of QUEUE_MAX */
	size_t first;
	size_t count;
	bool ended; /* no more will be put */
	bool broken; /* no more will be taken */
} Queue;

/* QueueInit makes an empty queue for at most capacity utterances (1 to QUEUE_MAX). */
extern bool QueueInit(Queue *queue, size_t capacity);

/*
 * QueuePut waits up to timeout_ms for room and puts the utterance in. Returns false if there
 * was none or the queue is broken; the caller then still owns what was said.
 */
extern bool QueuePut(Queue *queue, const Utterance *utterance, int timeout_ms);

/* QueueEnd says that no more will be put. */
extern void QueueEnd(Queue *queue);

/*
 * QueueFirst waits for an utterance and gives the oldest, which stays in the queue. Returns NULL
 * when the queue has ended, or is broken, and nothing is left to do.
 */
extern const Utterance *QueueFirst(Queue *queue);

/* QueueDrop takes the oldest out and wipes it. */
extern void QueueDrop(Queue *queue);

/* QueueBreak says that no more will be taken and wakes whoever waits. */
extern void QueueBreak(Queue *queue);

extern bool QueueBroken(Queue *queue);

/* QueueSleep lets the one who takes sleep until the time is over or the queue is broken. */
extern void QueueSleep(Queue *queue, int timeout_ms);

/* QueueCount tells how many utterances wait, QueueRoom how many more would not have to. */
extern size_t QueueCount(Queue *queue);
extern size_t QueueRoom(Queue *queue);

/* QueueDestroy wipes what is left. */
extern void QueueDestroy(Queue *queue);

#endif
