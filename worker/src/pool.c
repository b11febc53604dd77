/*
 * pool.c
 *	  Threads that take turns at tasks.
 */
#include "pool.h"

#include <stdlib.h>
#include <string.h>

#include "report.h"
#include "thread.h"

/* EnterState is the one place where a task's state changes; the pool is locked. */
static void
EnterState(Pool *pool, Task *task, TaskState state)
{
	task->state = state;
	if (state != TASK_QUEUED)
		return;
	task->next = NULL;
	if (pool->last == NULL)
		pool->first = task;
	else
		pool->last->next = task;
	pool->last = task;
	atomic_fetch_add(&pool->waiting, 1);
}

/* TakeTask waits for a task and makes it RUNNING; NULL when the pool stops. The pool is locked. */
static Task *
TakeTask(Pool *pool)
{
	Task *task;

	while (pool->first == NULL && !pool->stopping)
		pthread_cond_wait(&pool->changed, &pool->lock);
	if (pool->stopping)
		return NULL;
	task = pool->first;
	pool->first = task->next;
	if (pool->first == NULL)
		pool->last = NULL;
	atomic_fetch_sub(&pool->waiting, 1);
	EnterState(pool, task, TASK_RUNNING);
	return task;
}

static void *
RunPool(void *argument)
{
	Pool *pool = argument;
	Task *task;

	pthread_mutex_lock(&pool->lock);
	while ((task = TakeTask(pool)) != NULL)
	{
		bool more;

		pthread_mutex_unlock(&pool->lock);
		more = task->run(task);
		pthread_mutex_lock(&pool->lock);
		EnterState(pool, task, more || task->state == TASK_AGAIN ? TASK_QUEUED : TASK_IDLE);
		pthread_cond_broadcast(&pool->changed);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

bool
PoolStart(Pool *pool, int count)
{
	memset(pool, 0, sizeof(*pool));
	pool->threads = calloc((size_t) count, sizeof(*pool->threads));
	if (pool->threads == NULL || pthread_mutex_init(&pool->lock, NULL) != 0 ||
		pthread_cond_init(&pool->changed, NULL) != 0)
	{
		Report("no memory for %d threads", count);
		return false;
	}
	while (pool->count < count)
	{
		if (!ThreadStart(&pool->threads[pool->count], RunPool, pool))
		{
			PoolStop(pool);
			return false;
		}
		pool->count++;
	}
	return true;
}

void
PoolWake(Pool *pool, Task *task)
{
	pthread_mutex_lock(&pool->lock);
	if (task->state == TASK_IDLE)
	{
		EnterState(pool, task, TASK_QUEUED);
		pthread_cond_broadcast(&pool->changed);
	}
	else if (task->state == TASK_RUNNING)
		EnterState(pool, task, TASK_AGAIN);
	pthread_mutex_unlock(&pool->lock);
}

void
PoolRest(Pool *pool, Task *task)
{
	pthread_mutex_lock(&pool->lock);
	while (task->state != TASK_IDLE && !pool->stopping)
		pthread_cond_wait(&pool->changed, &pool->lock);
	pthread_mutex_unlock(&pool->lock);
}

void
PoolStop(Pool *pool)
{
	int i;

	pthread_mutex_lock(&pool->lock);
	pool->stopping = true;
	pthread_cond_broadcast(&pool->changed);
	pthread_mutex_unlock(&pool->lock);
	for (i = 0; i < pool->count; i++)
		pthread_join(pool->threads[i], NULL);
	free(pool->threads);
	pool->threads = NULL;
	pool->count = 0;
}
