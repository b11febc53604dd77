/*
 * pool.c
 *	  Threads that take turns at tasks.
 */
#include "pool.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "report.h"
#include "thread.h"

/* Append puts a task at the end of its rank's queue; the pool is locked. */
static void
Append(Pool *pool, Task *task)
{
	TaskList *queue = &pool->queues[task->rank];

	task->next = NULL;
	if (queue->first == NULL)
		queue->first = task;
	else
		queue->last->next = task;
	queue->last = task;
	atomic_fetch_add(&pool->waiting, 1);
}

/* Remove takes a task out of its rank's queue; the pool is locked. */
static void
Remove(Pool *pool, Task *task)
{
	TaskList *queue = &pool->queues[task->rank];
	Task **place = &queue->first;
	Task *before = NULL;

	while (*place != task)
	{
		before = *place;
		place = &before->next;
	}
	*place = task->next;
	if (queue->last == task)
		queue->last = before;
	atomic_fetch_sub(&pool->waiting, 1);
}

/* EnterState is the one place where a task's state changes; the pool is locked. */
static void
EnterState(Pool *pool, Task *task, TaskState state)
{
	if (task->state == TASK_QUEUED)
		Remove(pool, task);
	task->state = state;
	if (state == TASK_QUEUED)
		Append(pool, task);
}

/* FirstTask gives the one whose turn it is, or NULL. */
static Task *
FirstTask(const Pool *pool)
{
	int rank;

	for (rank = 0; rank < TASK_RANKS; rank++)
	{
		if (pool->queues[rank].first != NULL)
			return pool->queues[rank].first;
	}
	return NULL;
}

/* Wait waits until something changes, and counts the time as spare. */
static void
Wait(Pool *pool)
{
	int64_t start = ClockUs();
	long most = (long) POOL_SPARE_MAX_US * pool->count;
	long spare;

	pthread_cond_wait(&pool->changed, &pool->lock);
	spare = atomic_fetch_add(&pool->spare_us, (long) (ClockUs() - start));
	if (spare > most)
		atomic_store(&pool->spare_us, most);
}

/* TakeTask waits for a task and makes it RUNNING; NULL when the pool stops. The pool is locked. */
static Task *
TakeTask(Pool *pool)
{
	Task *task;

	while ((task = FirstTask(pool)) == NULL && !pool->stopping)
		Wait(pool);
	if (pool->stopping)
		return NULL;
	EnterState(pool, task, TASK_RUNNING);
	return task;
}

/* EndTurn queues a task again if it has more to do, or was woken; the pool is locked. */
static void
EndTurn(Pool *pool, Task *task, TaskRank more)
{
	task->rank = task->state == TASK_AGAIN ? TASK_NOW : more;
	EnterState(pool, task, task->rank == TASK_NOTHING ? TASK_IDLE : TASK_QUEUED);
}

static void *
RunPool(void *argument)
{
	Pool *pool = argument;
	Task *task;

	pthread_mutex_lock(&pool->lock);
	while ((task = TakeTask(pool)) != NULL)
	{
		TaskRank more;

		pthread_mutex_unlock(&pool->lock);
		more = task->run(task);
		pthread_mutex_lock(&pool->lock);
		EndTurn(pool, task, more);
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
	if (task->state == TASK_IDLE || (task->state == TASK_QUEUED && task->rank != TASK_NOW))
	{
		EnterState(pool, task, TASK_IDLE);
		task->rank = TASK_NOW;
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
