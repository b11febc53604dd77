/*
 * interim.c
 *	  What a person has read of a sentence that goes on does not change under his eyes.
 *
 * Parts: interim.c text.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "interim.h"
#include "text.h"

/* Shows feeds a decoding and checks the text that is shown; NULL means none. */
static void
Shows(Interim *interim, const char *decoded, const char *expected)
{
	char *text = NULL;

	assert_int_equal(InterimTake(interim, decoded == NULL ? NULL : strdup(decoded), &text),
					 expected != NULL);
	if (expected != NULL)
		assert_string_equal(text, expected);
	TextFree(text);
}

static void
words_that_two_decodings_agree_on_stay(void **state)
{
	Interim interim = {.kept = 0};

	(void) state;
	Shows(&interim, "I feel", "I feel");
	Shows(&interim, "I feel fine", "I feel fine");
	Shows(&interim, "Eye feel find today", "I feel find today");
	Shows(&interim, "Eye feel find today and", "I feel find today and");
	Shows(&interim, "completely else", "I feel find today");
	InterimReset(&interim);
	assert_null(interim.last);
}

static void
the_same_text_is_not_shown_twice(void **state)
{
	Interim interim = {.kept = 0};

	(void) state;
	Shows(&interim, NULL, NULL);
	Shows(&interim, "one two", "one two");
	Shows(&interim, "one two", NULL);
	Shows(&interim, NULL, NULL);
	Shows(&interim, "one two three", "one two three");
	InterimReset(&interim);
}

/* Whatever comes, the shown text starts with what was kept, and a word is never half kept. */
static void
random_decodings_never_take_back_what_is_kept(void **state)
{
	static const char *const vocabulary[] = {"a", "ab", "abc", "b", "bc"};
	unsigned int seed;

	(void) state;
	for (seed = 1; seed <= 300; seed++)
	{
		Interim interim = {.kept = 0};
		unsigned int random = seed;
		char before[256] = "";
		int round;

		for (round = 0; round < 12; round++)
		{
			char decoded[256] = "";
			char *text = NULL;
			int words = (int) (rand_r(&random) % 12);
			int kept = interim.kept;
			int i;

			for (i = 0; i < words; i++)
			{
				strcat(decoded, i == 0 ? "" : " ");
				strcat(decoded, vocabulary[(size_t) rand_r(&random) % (i < 6 ? 2 : 5)]);
			}
			if (!InterimTake(&interim, strdup(decoded), &text))
				continue;
			assert_true(interim.kept >= kept);
			for (i = 0; before[i] != '\0' && kept > 0; i++)
			{
				assert_int_equal(text[i], before[i]);
				if (before[i + 1] == ' ' || before[i + 1] == '\0')
					kept--;
			}
			strcpy(before, text);
			TextFree(text);
		}
		InterimReset(&interim);
	}
}

static void
text_of_a_streaming_model_is_shown_as_it_grows(void **state)
{
	static const char *const decoded[] = {"four", "four", "fourteen", "fourteen six"};
	static const bool shown[] = {true, false, true, true};
	Interim interim = {.kept = 0};
	size_t i;

	(void) state;
	for (i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
	{
		char *text = NULL;

		assert_int_equal(InterimGrow(&interim, decoded[i], &text), shown[i]);
		assert_string_equal(shown[i] ? text : interim.shown, decoded[i]);
		TextFree(text);
	}
	InterimReset(&interim);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_that_two_decodings_agree_on_stay),
		cmocka_unit_test(the_same_text_is_not_shown_twice),
		cmocka_unit_test(random_decodings_never_take_back_what_is_kept),
		cmocka_unit_test(text_of_a_streaming_model_is_shown_as_it_grows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
