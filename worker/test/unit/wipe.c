/*
 * wipe.c
 *	  The heap forgets what it is given back, and is otherwise as the C standard has it.
 *
 * Parts: wipe.c
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "wipe.h"

#define MARK 0x5A
#define MARKS_MAX 15 /* by chance: glibc keeps two pointers in a free block */
#define SIZE_MOST ((size_t) 200000) /* more than what glibc maps by itself, 128 KiB */
#define ROUNDS 20000

/*
 * MarksAt counts marked bytes at an address that no longer belongs to anyone. The kernel reads it,
 * as this program may not; what is not mapped any more has none.
 */
static size_t
MarksAt(uintptr_t address, size_t size)
{
	static unsigned char bytes[SIZE_MOST];
	int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	ssize_t got = pread(memory, bytes, size, (off_t) address);
	size_t marks = 0;
	ssize_t i;

	assert_true(memory >= 0);
	close(memory);
	for (i = 0; i < got; i++)
		marks += bytes[i] == MARK;
	return marks;
}

/* Marked fills a block, which must be there. */
static void *
Marked(void *block, size_t size)
{
	assert_non_null(block);
	memset(block, MARK, size);
	assert_int_equal(MarksAt((uintptr_t) block, size), size);
	return block;
}

static void
AssertWipedByFree(void *block, size_t size)
{
	uintptr_t address = (uintptr_t) Marked(block, size);

	free(block);
	assert_in_range(MarksAt(address, size), 0, MARKS_MAX);
}

static void
SkipUnlessWiping(void)
{
	if (!WIPE_ON_FREE)
		skip();
}

static void
what_is_freed_is_wiped(void **state)
{
	static const size_t sizes[] = {24, 100, 1000, 1033, 5000, 100000, SIZE_MOST};
	void *aligned;
	size_t i;

	(void) state;
	SkipUnlessWiping();
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		void *behind;

		aligned = malloc(sizes[i]);
		behind = malloc(24);
		AssertWipedByFree(aligned, sizes[i]);
		AssertWipedByFree(calloc(1, sizes[i]), sizes[i]);
		assert_int_equal(posix_memalign(&aligned, 64, sizes[i]), 0);
		AssertWipedByFree(aligned, sizes[i]);
		AssertWipedByFree(aligned_alloc(4096, 8192), 8192);
		free(behind);
	}
}

static void
realloc_leaves_nothing_behind(void **state)
{
	uintptr_t before;
	char *block;
	void *behind;

	(void) state;
	SkipUnlessWiping();
	block = Marked(malloc(1000), 1000);
	behind = malloc(24);
	before = (uintptr_t) block;
	block = realloc(block, 5000);
	assert_non_null(block);
	assert_int_not_equal((uintptr_t) block, before);
	assert_int_equal(MarksAt((uintptr_t) block, 1000), 1000);
	assert_in_range(MarksAt(before, 1000), 0, MARKS_MAX);

	Marked(block, 5000);
	before = (uintptr_t) block;
	block = realloc(block, 100);
	assert_int_equal(MarksAt((uintptr_t) block, 100), 100);
	assert_in_range(MarksAt(before + 100, 4900), 0, MARKS_MAX);

	/* glibc's own callers of realloc come here, too. */
	before = (uintptr_t) block;
	block = reallocarray(block, 300, 100);
	assert_non_null(block);
	assert_in_range(MarksAt(before, 100), 0, MARKS_MAX);
	free(block);
	free(behind);
}

static void
realloc_is_otherwise_as_ever(void **state)
{
	volatile size_t too_much = PTRDIFF_MAX;
	char *volatile kept;
	char *block;

	(void) state;
	SkipUnlessWiping(); /* a sanitizer ends the process instead of failing */
	free(NULL);
	block = realloc(NULL, 10);
	assert_non_null(block);
	memcpy(block, "some text", 10);
	kept = block;
	errno = 0;
	assert_null(realloc(block, too_much));
	assert_int_equal(errno, ENOMEM);
	assert_string_equal(kept, "some text");
	block = realloc(kept, SIZE_MOST);
	assert_string_equal(block, "some text");
	block = realloc(block, 3 * SIZE_MOST);
	assert_string_equal(block, "some text");
	block = realloc(block, 10);
	assert_string_equal(block, "some text");
	assert_null(realloc(block, 0));
	free(malloc(0));
}

static void
errno_survives(void **state)
{
	void *small = malloc(10);
	void *large = malloc(SIZE_MOST * 100);

	(void) state;
	errno = EINTR;
	free(small);
	free(large);
	free(NULL);
	assert_int_equal(errno, EINTR);
}

/* Churn moves blocks of its own about and returns how often one held what it should not. */
static void *
Churn(void *argument)
{
	unsigned char own = *(unsigned char *) argument;
	unsigned char *blocks[8] = {NULL};
	size_t sizes[8] = {0};
	uintptr_t wrong = 0;
	unsigned int seed = own;
	int i;

	for (i = 0; i < ROUNDS; i++)
	{
		int n = rand_r(&seed) % 8;
		size_t size = (size_t) (rand_r(&seed) % 4000) + 1;
		size_t kept = size < sizes[n] ? size : sizes[n];

		blocks[n] = realloc(blocks[n], size);
		wrong += kept > 0 && (blocks[n][0] != own || blocks[n][kept - 1] != own);
		memset(blocks[n], own, size);
		sizes[n] = size;
	}
	for (i = 0; i < 8; i++)
		free(blocks[i]);
	return (void *) wrong;
}

static void
threads_do_not_harm_each_other(void **state)
{
	unsigned char own[4] = {1, 2, 3, 4};
	pthread_t threads[4];
	void *wrong;
	int i;

	(void) state;
	for (i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, Churn, &own[i]), 0);
	for (i = 0; i < 4; i++)
	{
		assert_int_equal(pthread_join(threads[i], &wrong), 0);
		assert_null(wrong);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_freed_is_wiped),
		cmocka_unit_test(realloc_leaves_nothing_behind),
		cmocka_unit_test(realloc_is_otherwise_as_ever),
		cmocka_unit_test(errno_survives),
		cmocka_unit_test(threads_do_not_harm_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
