/*
 * arena.c
 *	  Audio memory is locked, out of dumps and children, bounded, and wiped.
 *
 * Parts: arena.c report.c
 */
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "arena.h"

/* FlagsOf copies the VmFlags of the mapping that holds an address. */
static void
FlagsOf(const void *address, char flags[256])
{
	FILE *maps = fopen("/proc/self/smaps", "r");
	char line[256];
	int inside = 0;

	assert_non_null(maps);
	flags[0] = '\0';
	while (fgets(line, sizeof(line), maps) != NULL)
	{
		unsigned long from;
		unsigned long until;

		if (sscanf(line, "%lx-%lx ", &from, &until) == 2)
			inside = (unsigned long) address >= from && (unsigned long) address < until;
		else if (inside && strncmp(line, "VmFlags:", 8) == 0)
			memcpy(flags, line, sizeof(line));
	}
	fclose(maps);
}

static void
memory_is_locked_and_kept_from_dumps_and_children(void **state)
{
	char flags[256];
	Arena arena;

	(void) state;
	assert_true(ArenaCreate(&arena, 100000));
	FlagsOf(arena.base, flags);
	assert_non_null(strstr(flags, " lo"));
	assert_non_null(strstr(flags, " dd"));
	assert_non_null(strstr(flags, " dc"));
	ArenaDestroy(&arena);
	assert_null(arena.base);
}

static void
parts_are_apart_and_bounded(void **state)
{
	size_t page = (size_t) sysconf(_SC_PAGESIZE);
	unsigned char *first;
	unsigned char *second;
	Arena arena;

	(void) state;
	assert_true(ArenaCreate(&arena, 2 * ArenaRoom(100)));
	first = ArenaTake(&arena, 100);
	second = ArenaTake(&arena, 100);
	assert_true(second >= first + 100);
	assert_int_equal((uintptr_t) second % 64, 0);
	assert_null(ArenaTake(&arena, page));
	assert_null(ArenaTake(&arena, SIZE_MAX));
	ArenaDestroy(&arena);
}

static void
wiping_leaves_zeros(void **state)
{
	static const unsigned char zeros[100];
	unsigned char *part;
	Arena arena;

	(void) state;
	assert_true(ArenaCreate(&arena, 100));
	part = ArenaTake(&arena, 100);
	memset(part, 0x5A, 100);
	ArenaWipe(part, 100);
	assert_memory_equal(part, zeros, 100);
	ArenaDestroy(&arena);
}

static void
a_lock_that_is_not_allowed_is_an_error(void **state)
{
	struct rlimit before;
	struct rlimit none;
	Arena arena;

	(void) state;
	if (getuid() == 0)
		skip(); /* root may lock whatever the limit */
	assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &before), 0);
	none = before;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &none), 0);
	assert_false(ArenaCreate(&arena, 100000));
	assert_null(arena.base);
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &before), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_is_locked_and_kept_from_dumps_and_children),
		cmocka_unit_test(parts_are_apart_and_bounded),
		cmocka_unit_test(wiping_leaves_zeros),
		cmocka_unit_test(a_lock_that_is_not_allowed_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
