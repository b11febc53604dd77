/*
 * recognition.c
 *	  Words get the times and the confidence of their tokens, and none that do not fit.
 *
 * Parts: recognition.c text.c
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "recognition.h"

#define NEAR 1e-6f

static Recognition
Make(const char *text, const Tokens *tokens)
{
	Recognition said;

	assert_true(RecognitionMake(&said, text, tokens));
	return said;
}

static void
Is(const Recognition *said, size_t word, int64_t start_ms, int64_t end_ms)
{
	assert_int_equal(said->words[word].start_ms, start_ms);
	assert_int_equal(said->words[word].end_ms, end_ms);
}

/* Has checks how many words with times a text has of tokens that are there. */
static void
Has(const char *text, const char *const *tokens, size_t count, size_t words)
{
	static const float starts[] = {0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f, 0.7f, 0.8f};
	Recognition said = Make(text, &(Tokens){.texts = tokens, .starts = starts, .count = count});

	assert_int_equal(said.word_count, words);
	assert_true((said.words == NULL) == (words == 0));
	RecognitionFree(&said);
}

#define HAS(text, words, ...)                                                                      \
	Has(text, (const char *const[]){__VA_ARGS__},                                                  \
		sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), words)

static void
words_are_made_of_tokens(void **state)
{
	static const char *const texts[] = {" four", "teen", " six", "."};
	static const float starts[] = {0.5f, 0.7f, 1.2f, 1.3f};
	static const float durations[] = {0.1f, 0.2f, 0.3f, 0.1f};
	float log_probs[] = {logf(0.9f), logf(0.4f), logf(0.5f), logf(0.5f)};
	Tokens tokens = {texts, starts, durations, log_probs, 4};
	Recognition said = Make(" fourteen six.", &tokens);
	Recognition copy;

	(void) state;
	assert_string_equal(said.text, "fourteen six.");
	assert_float_equal(said.confidence, powf(0.9f * 0.4f * 0.5f * 0.5f, 0.25f), NEAR);
	assert_float_equal(said.words[0].confidence, 0.6f, NEAR);
	assert_float_equal(said.words[1].confidence, 0.5f, NEAR);
	RecognitionPlace(&said, 1000, 1000, 5000);
	Is(&said, 0, 1500, 1900);
	Is(&said, 1, 2200, 2400);
	assert_true(RecognitionCopy(&copy, &said));
	RecognitionFree(&said);
	Is(&copy, 1, 2200, 2400);
	RecognitionFree(&copy);

	/* Without durations a word ends where the next begins. */
	tokens.durations = NULL;
	said = Make("fourteen six.", &tokens);
	RecognitionPlace(&said, 1000, 1000, 5000);
	Is(&said, 0, 1500, 2200);
	Is(&said, 1, 2200, 5000);
	RecognitionFree(&said);
}

static void
times_stay_in_the_segment_and_in_order(void **state)
{
	static const char *const texts[] = {"a", " b", " c", " d"};
	static const float starts[] = {0.1f, 0.8f, 0.6f, 9.0f};
	static const float durations[] = {2.0f, 0.1f, 0.1f, 0.1f};
	Recognition said = Make("a b c d", &(Tokens){texts, starts, durations, NULL, 4});

	(void) state;
	RecognitionPlace(&said, 700, 1000, 3000);
	Is(&said, 0, 1000, 1500);
	Is(&said, 1, 1500, 1500);
	Is(&said, 2, 1500, 1500);
	Is(&said, 3, 3000, 3000);
	RecognitionFree(&said);
}

static void
tokens_that_are_not_the_text_give_no_times(void **state)
{
	(void) state;
	HAS("two words", 2, " two", " words");
	HAS("two words", 2, "two", " ", "words");
	HAS("two words", 2, "two word", "s");
	HAS("  two \t words ", 2, "two", "words");
	HAS("caf\xC3\xA9", 1, "caf", "<0xC3>", "<0xA9>");
	HAS("20 words", 0, " twenty", " words");
	HAS("two words", 0, " two");
	HAS("two", 0, " two", " words");
	HAS("two", 0, "tow");
	HAS("", 0, "two");
	HAS("caf\xC3", 0, "caf", "<0xC3>");
}

static void
what_a_model_does_not_tell_is_left_out(void **state)
{
	static const char *const texts[] = {"a", " b"};
	static const float starts[] = {0.1f, 0.2f};
	static const float none[] = {NAN, 0.5f};
	static const float rounded[] = {1e-6f, 0.0f};
	Recognition said = Make("a b", &(Tokens){texts, starts, NULL, none, 2});

	(void) state;
	assert_float_equal(said.confidence, NO_CONFIDENCE, 0.0f);
	assert_float_equal(said.words[0].confidence, NO_CONFIDENCE, 0.0f);
	assert_float_equal(said.words[1].confidence, NO_CONFIDENCE, 0.0f);
	RecognitionFree(&said);
	said = Make("a b", &(Tokens){texts, starts, NULL, rounded, 2});
	assert_float_equal(said.confidence, 1.0f, 0.0f);
	RecognitionFree(&said);
	said = Make("a b", &(Tokens){texts, NULL, NULL, rounded, 2});
	assert_null(said.words);
	assert_float_equal(said.confidence, 1.0f, 0.0f);
	RecognitionFree(&said);
	said = Make(" ", &(Tokens){.texts = NULL});
	assert_null(said.text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_are_made_of_tokens),
		cmocka_unit_test(times_stay_in_the_segment_and_in_order),
		cmocka_unit_test(tokens_that_are_not_the_text_give_no_times),
		cmocka_unit_test(what_a_model_does_not_tell_is_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
