/*
 * pool.h
 *	  A bounded number of threads that all streams share, fairly.
 *
 * States of a task:	IDLE --woken--> QUEUED --its turn--> RUNNING --no more to do--> IDLE
 *						RUNNING --more to do--> QUEUED; RUNNING --woken--> AGAIN --> QUEUED
 *
 * A task runs in one thread at a time, for a short turn, and then goes behind all the others that
 * wait: no stream keeps another one waiting for more than a turn of each.
 */
#ifndef CAUCE_POOL_H
#define CAUCE_POOL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

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
	struct Task *next;
	bool (*run)(struct Task *task); /* a turn; returns whether there is more to do at once */
} Task;

typedef struct Pool
{
	pthread_mutex_t lock;
	pthread_cond_t changed;
	Task *first;
	Task *last;
	bool stopping;
	atomic_int waiting; /* tasks in the queue */
	pthread_t *threads;
	int count;
} Pool;

/* PoolStart starts count threads. Returns false, with a report, if they cannot be had. */
extern bool PoolStart(Pool *pool, int count);

/* PoolWake makes sure that a task gets a turn that starts after this call. */
extern void PoolWake(Pool *pool, Task *task);

/* PoolRest waits until a task that nobody wakes any more is idle. */
extern void PoolRest(Pool *pool, Task *task);

/* PoolStop ends the threads after the turns that they are in. */
extern void PoolStop(Pool *pool);

#endif
