/*
 * queue.c
 *	  The queue keeps order, is bounded, and lets go of whoever waits when it breaks.
 *
 * Parts: queue.c recognition.c text.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "queue.h"
#include "text.h"

#define UTTERANCES 5000

static void *
TakeAll(void *argument)
{
	Queue *queue = argument;
	const Utterance *utterance;
	intptr_t taken = 0;

	while ((utterance = QueueFirst(queue)) != NULL)
	{
		if (utterance->seq != taken || strcmp(utterance->said.text, "said") != 0)
			return (void *) (intptr_t) -1;
		taken++;
		QueueDrop(queue);
	}
	return (void *) taken;
}

static Utterance
Make(int64_t seq)
{
	Utterance utterance = {.seq = seq, .said.text = TextCopy("said")};

	assert_non_null(utterance.said.text);
	return utterance;
}

static void
all_come_out_once_and_in_order(void **state)
{
	pthread_t thread;
	void *taken;
	Queue queue;
	int64_t seq;

	(void) state;
	assert_true(QueueInit(&queue, 3));
	assert_int_equal(pthread_create(&thread, NULL, TakeAll, &queue), 0);
	for (seq = 0; seq < UTTERANCES; seq++)
	{
		Utterance utterance = Make(seq);

		assert_true(QueuePut(&queue, &utterance, 10000));
	}
	QueueEnd(&queue);
	assert_int_equal(pthread_join(thread, &taken), 0);
	assert_int_equal((intptr_t) taken, UTTERANCES);
	QueueDestroy(&queue);
}

static void
a_full_queue_takes_no_more(void **state)
{
	Utterance utterance = Make(2);
	Utterance first = Make(0);
	Utterance second = Make(1);
	Queue queue;

	(void) state;
	assert_true(QueueInit(&queue, 2));
	assert_true(QueuePut(&queue, &first, 0));
	assert_true(QueuePut(&queue, &second, 0));
	assert_false(QueuePut(&queue, &utterance, 20));
	assert_int_equal(QueueCount(&queue), 2);
	QueueDrop(&queue);
	assert_true(QueuePut(&queue, &utterance, 20));
	QueueDestroy(&queue);
}

static void
a_broken_queue_gives_and_takes_nothing(void **state)
{
	Utterance first = Make(0);
	Utterance second = Make(1);
	Queue queue;

	(void) state;
	assert_true(QueueInit(&queue, 2));
	assert_true(QueuePut(&queue, &first, 0));
	QueueBreak(&queue);
	assert_null(QueueFirst(&queue));
	assert_false(QueuePut(&queue, &second, 10000));
	QueueSleep(&queue, 10000);
	UtteranceFree(&second);
	QueueDestroy(&queue);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_come_out_once_and_in_order),
		cmocka_unit_test(a_full_queue_takes_no_more),
		cmocka_unit_test(a_broken_queue_gives_and_takes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
