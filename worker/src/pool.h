/*
 * pool.h
 *	  A bounded number of threads that all streams share, fairly.
 *
 * States of a task:	IDLE --woken--> QUEUED --its turn--> RUNNING --no more to do--> IDLE
 *						RUNNING --more to do--> QUEUED; RUNNING --woken--> AGAIN --> QUEUED
 *
 * A task runs in one thread at a time, for a short turn, and then goes behind all the others that
 * wait: no stream keeps another one waiting for more than a turn of each. What may be left undone has
 * a lower rank: its turn comes when nobody of a higher one waits.
 */
#ifndef CAUCE_POOL_H
#define CAUCE_POOL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

typedef enum TaskRank
{
	TASK_NOW, /* what has to be done; that of a task that is woken */
	TASK_EARLY, /* what will probably have to be done soon */
	TASK_SPARE, /* what is nice to have */
	TASK_RANKS,
	TASK_NOTHING = TASK_RANKS
} TaskRank;

typedef enum TaskState
{
	TASK_IDLE,
	TASK_QUEUED,
	TASK_RUNNING,
	TASK_AGAIN
} TaskState;

typedef struct Task
{
	TaskState state;
	TaskRank rank; /* while it is queued or runs: of this turn */
	struct Task *next;
	TaskRank (*run)(struct Task *task); /* a turn; returns what there is more to do */
} Task;

typedef struct TaskList
{
	Task *first;
	Task *last;
} TaskList;

typedef struct Pool
{
	pthread_mutex_t lock;
	pthread_cond_t changed;
	TaskList queues[TASK_RANKS];
	bool stopping;
	atomic_int waiting; /* tasks in the queues */
	atomic_long spare_us; /* for which threads had nothing to do, less what has been spent of it */
	pthread_t *threads;
	int count;
} Pool;

/* PoolStart starts count threads. Returns false, with a report, if they cannot be had. */
extern bool PoolStart(Pool *pool, int count);

/*
 * Of its spare time a pool keeps no more than this, a thread. Who does what is nice to have takes the time
 * that it took from spare_us, and does nothing while that is below 0.
 */
#define POOL_SPARE_MAX_US 1000000

/* PoolWake makes sure that a task gets a turn, of TASK_NOW, that starts after this call. */
extern void PoolWake(Pool *pool, Task *task);

/* PoolRest waits until a task that nobody wakes any more is idle. */
extern void PoolRest(Pool *pool, Task *task);

/* PoolStop ends the threads after the turns that they are in. */
extern void PoolStop(Pool *pool);

#endif
