/*
 * text.c
 *	  What is stored is always valid UTF-8 on one line; and which answers of the database pass.
 *
 * Parts: text.c outcome.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "outcome.h"
#include "text.h"

static void
text_is_made_valid(void **state)
{
	static const struct
	{
		const char *raw, *text;
	} cases[] = {{"  Hello,\tworld.\n ", "Hello, world."},
				 {"na\xC3\xAFve \xE2\x82\xAC \xF0\x9F\x98\x80",
				  "na\xC3\xAFve \xE2\x82\xAC \xF0\x9F\x98\x80"},
				 {"a\xFF"
				  "b\xC3",
				  "ab"},
				 {"\xC0\x80\xED\xA0\x80\xF4\x90\x80\x80x", "x"},
				 {"\xE2\x82", ""},
				 {" \x1B \x7F", ""}};
	size_t i;

	(void) state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char *text = TextCopy(cases[i].raw);

		assert_string_equal(text, cases[i].text);
		TextFree(text);
	}
}

static void
only_what_passes_is_tried_again(void **state)
{
	static const char *const passing[] = {"08006", "40001", "40P01", "53300", "57P01",
										  "57P03", "57014", "25006", "58030"};
	static const char *const lasting[] = {"28000", "28P01", "42501", "23505", "23503", "22P02",
										  "3D000", "42P01", "55000", "25P02", "XX000"};
	size_t i;

	(void) state;
	assert_int_equal(OutcomeOfState(NULL), OUTCOME_RETRY);
	for (i = 0; i < sizeof(passing) / sizeof(passing[0]); i++)
		assert_int_equal(OutcomeOfState(passing[i]), OUTCOME_RETRY);
	for (i = 0; i < sizeof(lasting) / sizeof(lasting[0]); i++)
		assert_int_equal(OutcomeOfState(lasting[i]), OUTCOME_REFUSED);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_is_made_valid),
		cmocka_unit_test(only_what_passes_is_tried_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
