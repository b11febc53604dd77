/*
 * rules.c
 *	  A phrase is found by its words, whatever their case and accents, and only as whole words.
 *
 * Parts: rules.c text.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "rules.h"

static size_t
Matches(const char *pattern, const char *text)
{
	Rules rules = {.count = 0};
	const Rule *found[2];
	size_t count;

	assert_true(RulesAdd(&rules, "id", pattern, "risk", "high"));
	count = RulesMatch(&rules, text, found, 2);
	if (count > 0)
		assert_string_equal(found[0]->pattern, pattern);
	RulesClear(&rules);
	return count;
}

static void
case_accents_and_punctuation_do_not_count(void **state)
{
	(void) state;
	assert_int_equal(Matches("harm myself", "I want to HARM myself, sometimes."), 1);
	assert_int_equal(Matches("Harm  Myself!", "harm-myself"), 1);
	assert_int_equal(Matches("caf\xC3\xA9", "At the CAFE."), 1);
	assert_int_equal(Matches("cafe", "Au caf\xC3\xA9"), 1);
	assert_int_equal(Matches("cafe", "Au cafe\xCC\x81"), 1);
	assert_int_equal(Matches("stra\xC3\x9F"
							 "e",
							 "STRASSE"),
					 1);
	assert_int_equal(Matches("don't", "I don\xE2\x80\x99t know"), 1);
	assert_int_equal(Matches("\xD0\x9C\xD0\x98\xD0\xA0", "\xD0\xBC\xD0\xB8\xD1\x80"), 1);
}

static void
only_whole_words_in_their_order_count(void **state)
{
	(void) state;
	assert_int_equal(Matches("harm", "harmless pharmacy"), 0);
	assert_int_equal(Matches("harm myself", "myself harm"), 0);
	assert_int_equal(Matches("harm myself", "harm only myself"), 0);
	assert_int_equal(Matches("a", "b c"), 0);
	assert_int_equal(Matches("pain", ""), 0);
}

static void
a_pattern_without_a_word_matches_nothing(void **state)
{
	(void) state;
	assert_int_equal(Matches("...", "anything ... at all"), 0);
	assert_int_equal(Matches("", "anything"), 0);
}

static void
there_is_a_bound(void **state)
{
	Rules rules = {.count = 0};
	const Rule *found[3];
	int i;

	(void) state;
	for (i = 0; i < RULES_MAX; i++)
		assert_true(RulesAdd(&rules, "id", "word", "risk", "high"));
	assert_false(RulesAdd(&rules, "id", "word", "risk", "high"));
	assert_int_equal(RulesMatch(&rules, "a word", found, 3), 3);
	RulesClear(&rules);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(case_accents_and_punctuation_do_not_count),
		cmocka_unit_test(only_whole_words_in_their_order_count),
		cmocka_unit_test(a_pattern_without_a_word_matches_nothing),
		cmocka_unit_test(there_is_a_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
