/*
 * intake.c
 *	  Bytes and marks come out in the order in which they went in, and nothing of them stays.
 *
 * Parts: intake.c arena.c report.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "intake.h"

static Arena arena;
static Intake intake;

static void
Open(void)
{
	assert_true(ArenaCreate(&arena, ArenaRoom(INTAKE_BYTES)));
	assert_true(IntakeInit(&intake, &arena));
}

static void
Close(void)
{
	IntakeDestroy(&intake);
	ArenaDestroy(&arena);
}

/* Random puts and takes against a plain log of what went in. */
static void
order_is_kept(void **state)
{
	static unsigned char sent[4 * INTAKE_BYTES];
	static unsigned char piece[8192];
	unsigned int random = 7;
	size_t put = 0;
	size_t taken = 0;
	size_t marked[1024];
	size_t marks = 0;
	size_t mark_taken = 0;
	size_t i;

	(void) state;
	Open();
	for (i = 0; i < sizeof(sent); i++)
		sent[i] = (unsigned char) (rand_r(&random) | 1);
	while (taken < sizeof(sent) || mark_taken < marks)
	{
		size_t size = (size_t) rand_r(&random) % sizeof(piece);
		IntakeMark mark;

		if (size > sizeof(sent) - put)
			size = sizeof(sent) - put;
		if (!IntakeCrowded(&intake) && size > 0)
		{
			assert_true(IntakePut(&intake, sent + put, size));
			put += size;
			if (size % 3 == 0 && marks < 1024)
			{
				assert_true(IntakePutMark(&intake, MARK_HEARD));
				marked[marks++] = put;
			}
		}
		size = IntakeTake(&intake, piece, (size_t) rand_r(&random) % sizeof(piece), &mark);
		assert_memory_equal(piece, sent + taken, size);
		taken += size;
		if (mark != MARK_NONE)
		{
			assert_int_equal(size, 0);
			assert_int_equal(mark, MARK_HEARD);
			assert_int_equal(marked[mark_taken++], taken);
		}
	}
	for (i = 0; i < INTAKE_BYTES; i++)
		assert_int_equal(intake.bytes[i], 0);
	Close();
}

static void
what_does_not_fit_is_refused_whole(void **state)
{
	static unsigned char bytes[INTAKE_BYTES];
	IntakeMark mark;

	(void) state;
	Open();
	assert_true(IntakePut(&intake, bytes, INTAKE_BYTES - 10));
	assert_true(IntakeCrowded(&intake));
	assert_false(IntakePut(&intake, bytes, 11));
	assert_int_equal(IntakeCount(&intake), INTAKE_BYTES - 10);
	while (IntakePutMark(&intake, MARK_HEARD))
		;
	assert_true(IntakePutMark(&intake, MARK_END));
	assert_false(IntakePut(&intake, bytes, 1));
	assert_false(IntakePutMark(&intake, MARK_END));
	assert_int_equal(IntakeTake(&intake, bytes, INTAKE_BYTES, &mark), INTAKE_BYTES - 10);
	assert_int_equal(mark, MARK_NONE);
	do
		assert_int_equal(IntakeTake(&intake, bytes, INTAKE_BYTES, &mark), 0);
	while (mark == MARK_HEARD);
	assert_int_equal(mark, MARK_END);
	Close();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(order_is_kept),
		cmocka_unit_test(what_does_not_fit_is_refused_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
