/*
 * queue.h
 *	  Recognised utterances on their way from the recognizer to the database.
 *
 * One thread puts, one takes. The queue is bounded: when it is full the recognizer's thread
 * waits, stops reading audio, and the pressure reaches the one who sends it.
 */
#ifndef CAUCE_QUEUE_H
#define CAUCE_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* At a segment every few seconds this is about a quarter of an hour of talk. */
#define QUEUE_MAX 256

/* Utterance is a segment with its text: one row of cauce.transcript_segment. */
typedef struct Utterance
{
	int channel;
	int64_t seq;
	const char *speaker; /* the stream's, outlives the queue */
	int64_t start_ms;
	int64_t end_ms;
	char *text; /* owned, for TextFree */
} Utterance;

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
 * was none or the queue is broken; the caller then still owns the text.
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

/* QueueCount tells how many utterances wait. */
extern size_t QueueCount(Queue *queue);

/* QueueDestroy wipes what is left. */
extern void QueueDestroy(Queue *queue);

#endif
