/*
 * pool.c
 *	  Tasks take turns in order, one thread at a time each, what is urgent first, and no wake is lost.
 *
 * Parts: pool.c clock.c thread.c report.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "pool.h"

#define TASKS 8
#define WAKES 20000

typedef struct Counter
{
	Task task;
	atomic_int inside;
	atomic_int given; /* work that is there */
	atomic_int done;
	atomic_bool overlapped;
	atomic_int *log; /* of one thread's turns, or NULL */
	int log_number;
} Counter;

static TaskRank
TakeOne(Task *task)
{
	Counter *counter = (Counter *) task;
	int left;

	if (atomic_fetch_add(&counter->inside, 1) != 0)
		atomic_store(&counter->overlapped, true);
	left = atomic_load(&counter->given) - atomic_load(&counter->done);
	if (left > 0)
		atomic_fetch_add(&counter->done, 1);
	atomic_fetch_sub(&counter->inside, 1);
	return left > 1 ? TASK_NOW : TASK_NOTHING;
}

static void
every_wake_is_served_and_never_by_two_at_a_time(void **state)
{
	Counter counters[TASKS] = {{.task = {.run = TakeOne}}};
	Pool pool;
	int i;

	(void) state;
	assert_true(PoolStart(&pool, 3));
	for (i = 0; i < TASKS; i++)
		counters[i].task.run = TakeOne;
	for (i = 0; i < WAKES; i++)
	{
		Counter *counter = &counters[i % TASKS];

		atomic_fetch_add(&counter->given, 1);
		PoolWake(&pool, &counter->task);
	}
	for (i = 0; i < TASKS; i++)
	{
		PoolRest(&pool, &counters[i].task);
		assert_int_equal(counters[i].done, counters[i].given);
		assert_false(counters[i].overlapped);
	}
	assert_int_equal(pool.waiting, 0);
	PoolStop(&pool);
}

#define TURNS 60
static int turns[TURNS];
static int turnCount;
static Pool single;

/* LogTurn always wants more: it is the greedy stream. */
static TaskRank
LogTurn(Task *task)
{
	Counter *counter = (Counter *) task;

	if (turnCount < TURNS)
		turns[turnCount++] = counter->log_number;
	return turnCount < TURNS ? TASK_NOW : TASK_NOTHING;
}

static void
a_greedy_task_waits_its_turn(void **state)
{
	Counter counters[3] = {{.task = {.run = LogTurn}}};
	int i;

	(void) state;
	turnCount = 0;
	assert_true(PoolStart(&single, 1));
	for (i = 0; i < 3; i++)
	{
		counters[i].task.run = LogTurn;
		counters[i].log_number = i;
		PoolWake(&single, &counters[i].task);
	}
	for (i = 0; i < 3; i++)
		PoolRest(&single, &counters[i].task);
	PoolStop(&single);
	assert_int_equal(turnCount, TURNS);
	/* From when all three are there, each comes every third time. */
	for (i = TURNS / 2; i < TURNS; i++)
		assert_int_equal(turns[i], turns[i - 3]);
	assert_int_not_equal(turns[TURNS - 1], turns[TURNS - 2]);
}

typedef struct Ranked
{
	Task task;
	char name;
	TaskRank next; /* what it asks for once, after its first turn */
} Ranked;

#define RANKED 4
static Ranked ranked[RANKED];
static char order[TURNS];
static int orderCount;

/* Gate keeps the only thread busy until all the others wait. */
static TaskRank
Gate(Task *task)
{
	(void) task;
	while (atomic_load(&single.waiting) < RANKED)
		usleep(1000);
	return TASK_NOTHING;
}

/* Rank asks for a second turn of its rank; an early one wakes the second task. */
static TaskRank
Rank(Task *task)
{
	Ranked *one = (Ranked *) task;
	TaskRank next = one->next;

	order[orderCount++] = one->name;
	one->next = TASK_NOTHING;
	if (next == TASK_NOTHING && task->rank == TASK_EARLY)
		PoolWake(&single, &ranked[1].task);
	return next;
}

static void
what_is_urgent_goes_first_and_a_wake_makes_urgent(void **state)
{
	static const TaskRank next[RANKED] = {TASK_SPARE, TASK_SPARE, TASK_EARLY, TASK_NOTHING};
	Task gate = {.run = Gate};
	int i;

	(void) state;
	assert_true(PoolStart(&single, 1));
	PoolWake(&single, &gate);
	for (i = 0; i < RANKED; i++)
	{
		ranked[i] = (Ranked){.task = {.run = Rank}, .name = (char) ('a' + i), .next = next[i]};
		PoolWake(&single, &ranked[i].task);
	}
	for (i = 0; i < RANKED; i++)
		PoolRest(&single, &ranked[i].task);
	PoolStop(&single);
	/* First turns in order; then c's, which is early; it wakes b, which so comes before a. */
	assert_int_equal(orderCount, 7);
	assert_memory_equal(order, "abcdcba", 7);
	assert_int_equal(single.waiting, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_wake_is_served_and_never_by_two_at_a_time),
		cmocka_unit_test(a_greedy_task_waits_its_turn),
		cmocka_unit_test(what_is_urgent_goes_first_and_a_wake_makes_urgent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
