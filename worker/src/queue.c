/*
 * queue.c
 *	  A bounded queue of utterances between two threads.
 */
#include "queue.h"

#include <string.h>
#include <time.h>


void
UtteranceFree(const Utterance *utterance)
{
	Recognition said = utterance->said;

	RecognitionFree(&said);
}

bool
QueueInit(Queue *queue, size_t capacity)
{
	pthread_condattr_t attributes;
	bool made;

	memset(queue, 0, sizeof(*queue));
	queue->capacity = capacity;
	if (pthread_condattr_init(&attributes) != 0)
		return false;
	made = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
		   pthread_mutex_init(&queue->lock, NULL) == 0 &&
		   pthread_cond_init(&queue->changed, &attributes) == 0;
	pthread_condattr_destroy(&attributes);
	return made;
}

static struct timespec
Deadline(int timeout_ms)
{
	struct timespec moment;

	clock_gettime(CLOCK_MONOTONIC, &moment);
	moment.tv_sec += timeout_ms / 1000;
	moment.tv_nsec += (long) (timeout_ms % 1000) * 1000000;
	if (moment.tv_nsec >= 1000000000)
	{
		moment.tv_sec++;
		moment.tv_nsec -= 1000000000;
	}
	return moment;
}

bool
QueuePut(Queue *queue, const Utterance *utterance, int timeout_ms)
{
	struct timespec deadline = Deadline(timeout_ms);
	bool put;

	pthread_mutex_lock(&queue->lock);
	while (!queue->broken && queue->count == queue->capacity)
	{
		if (pthread_cond_timedwait(&queue->changed, &queue->lock, &deadline) != 0)
			break;
	}
	put = !queue->broken && queue->count < queue->capacity;
	if (put)
	{
		queue->slots[(queue->first + queue->count) % queue->capacity] = *utterance;
		queue->count++;
		pthread_cond_broadcast(&queue->changed);
	}
	pthread_mutex_unlock(&queue->lock);
	return put;
}

void
QueueEnd(Queue *queue)
{
	pthread_mutex_lock(&queue->lock);
	queue->ended = true;
	pthread_cond_broadcast(&queue->changed);
	pthread_mutex_unlock(&queue->lock);
}

const Utterance *
QueueFirst(Queue *queue)
{
	const Utterance *utterance = NULL;

	pthread_mutex_lock(&queue->lock);
	while (queue->count == 0 && !queue->ended && !queue->broken)
		pthread_cond_wait(&queue->changed, &queue->lock);
	if (queue->count > 0 && !queue->broken)
		utterance = &queue->slots[queue->first];
	pthread_mutex_unlock(&queue->lock);
	return utterance;
}

/* DropFirst is QueueDrop with the lock held. */
static void
DropFirst(Queue *queue)
{
	Utterance *utterance = &queue->slots[queue->first];

	UtteranceFree(utterance);
	memset(utterance, 0, sizeof(*utterance));
	queue->first = (queue->first + 1) % queue->capacity;
	queue->count--;
}

void
QueueDrop(Queue *queue)
{
	pthread_mutex_lock(&queue->lock);
	DropFirst(queue);
	pthread_cond_broadcast(&queue->changed);
	pthread_mutex_unlock(&queue->lock);
}

void
QueueBreak(Queue *queue)
{
	pthread_mutex_lock(&queue->lock);
	queue->broken = true;
	pthread_cond_broadcast(&queue->changed);
	pthread_mutex_unlock(&queue->lock);
}

bool
QueueBroken(Queue *queue)
{
	bool broken;

	pthread_mutex_lock(&queue->lock);
	broken = queue->broken;
	pthread_mutex_unlock(&queue->lock);
	return broken;
}

void
QueueSleep(Queue *queue, int timeout_ms)
{
	struct timespec deadline = Deadline(timeout_ms);

	pthread_mutex_lock(&queue->lock);
	while (!queue->broken && pthread_cond_timedwait(&queue->changed, &queue->lock, &deadline) == 0)
		;
	pthread_mutex_unlock(&queue->lock);
}

size_t
QueueCount(Queue *queue)
{
	size_t count;

	pthread_mutex_lock(&queue->lock);
	count = queue->count;
	pthread_mutex_unlock(&queue->lock);
	return count;
}

size_t
QueueRoom(Queue *queue)
{
	return queue->capacity - QueueCount(queue);
}

void
QueueDestroy(Queue *queue)
{
	while (queue->count > 0)
		DropFirst(queue);
	pthread_cond_destroy(&queue->changed);
	pthread_mutex_destroy(&queue->lock);
}
