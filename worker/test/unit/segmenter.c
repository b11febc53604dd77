/*
 * segmenter.c
 *	  Every voice is in exactly one segment, in order, and what is done with is wiped.
 *
 * Parts: segmenter.c arena.c report.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "resampler.h"
#include "segmenter.h"

#define FRAME_MS 32
#define SEGMENTS_MAX 64

/* What came out of a run: the audio says its own position, sample n is n + 1. */
typedef struct Heard
{
	int count;
	int64_t first[SEGMENTS_MAX];
	int64_t last[SEGMENTS_MAX];
	int64_t start_ms[SEGMENTS_MAX];
	int64_t end_ms[SEGMENTS_MAX];
} Heard;

static void
Note(Heard *heard, const Segment *segment)
{
	int64_t first = (int64_t) segment->samples[0] - 1;
	size_t i;

	assert_true(heard->count < SEGMENTS_MAX);
	assert_int_equal(segment->audio_ms, first * 1000 / MODEL_RATE);
	assert_int_equal(segment->certain, segment->length);
	for (i = 0; i < segment->length; i++)
		assert_int_equal((int64_t) segment->samples[i], first + 1 + (int64_t) i);
	heard->first[heard->count] = first;
	heard->last[heard->count] = first + (int64_t) segment->length - 1;
	heard->start_ms[heard->count] = segment->start_ms;
	heard->end_ms[heard->count++] = segment->end_ms;
}

/*
 * NoteCertain takes how many samples are certain to be in the open segment: they get more, and are, when a
 * pause ends it.
 */
static void
NoteCertain(const Segmenter *segmenter, size_t *certain)
{
	Segment open;

	if (!SegmenterOpen(segmenter, &open))
		return;
	assert_true(open.certain >= *certain);
	assert_true(open.certain <= open.length);
	*certain = open.certain;
}

/* AssertWiped holds that the buffer behind the audio in use is zero. */
static void
AssertWiped(const Segmenter *segmenter)
{
	size_t i;

	for (i = segmenter->length; i < segmenter->capacity; i++)
		assert_true(segmenter->audio[i] == 0.0f);
}

/* Run feeds a stream whose frames have voice where the pattern says '#'. */
static void
Run(const char *pattern, Heard *heard)
{
	float *audio = calloc(SegmenterCapacity(), sizeof(float));
	int64_t position = 0;
	size_t certain = 0;
	Segmenter segmenter;
	Segment segment;

	assert_non_null(audio);
	memset(heard, 0, sizeof(*heard));
	SegmenterInit(&segmenter, audio, 0);
	for (; *pattern != '\0'; pattern++)
	{
		size_t room;
		float *tail = SegmenterTail(&segmenter, &room);
		size_t i;

		assert_true(room >= SEGMENTER_FRAME);
		for (i = 0; i < SEGMENTER_FRAME; i++)
			tail[i] = (float) ++position;
		SegmenterExtend(&segmenter, SEGMENTER_FRAME);
		assert_non_null(SegmenterFrame(&segmenter));
		if (SegmenterJudge(&segmenter, *pattern == '#', &segment))
		{
			Note(heard, &segment);
			assert_true(certain <= segment.length || !segment.pause);
			certain = 0;
			SegmenterRelease(&segmenter);
			AssertWiped(&segmenter);
		}
		NoteCertain(&segmenter, &certain);
		assert_null(SegmenterFrame(&segmenter));
	}
	if (SegmenterFlush(&segmenter, &segment))
	{
		Note(heard, &segment);
		assert_true(certain <= segment.length);
		SegmenterRelease(&segmenter);
		AssertWiped(&segmenter);
	}
	free(audio);
}

static int64_t
Ms(int64_t sample)
{
	return sample * 1000 / MODEL_RATE;
}

/* Pattern makes "frames" of a kind; the result is the caller's. */
static char *
Pattern(int count, ...)
{
	char *pattern = calloc(1, 8192);
	va_list arguments;
	size_t used = 0;

	va_start(arguments, count);
	while (count-- > 0)
	{
		int kind = va_arg(arguments, int);
		int frames = va_arg(arguments, int);

		memset(pattern + used, kind, (size_t) frames);
		used += (size_t) frames;
	}
	va_end(arguments);
	return pattern;
}

static void
RunAndFree(char *pattern, Heard *heard)
{
	Run(pattern, heard);
	free(pattern);
}

static void
silence_gives_nothing(void **state)
{
	Heard heard;

	(void) state;
	RunAndFree(Pattern(1, '.', 2000), &heard);
	assert_int_equal(heard.count, 0);
}

static void
a_voice_is_cut_with_lead_and_trail(void **state)
{
	Heard heard;

	(void) state;
	RunAndFree(Pattern(3, '.', 100, '#', 50, '.', 100), &heard);
	assert_int_equal(heard.count, 1);
	assert_int_equal(heard.start_ms[0], 99 * FRAME_MS);
	assert_int_equal(heard.end_ms[0], 150 * FRAME_MS);
	assert_in_range(heard.start_ms[0] - Ms(heard.first[0]), 290, 310);
	assert_in_range(Ms(heard.last[0]) - heard.end_ms[0], 190, 210);
}

static void
a_stream_that_begins_and_ends_in_speech_loses_nothing(void **state)
{
	Heard heard;

	(void) state;
	RunAndFree(Pattern(1, '#', 60), &heard);
	assert_int_equal(heard.count, 1);
	assert_int_equal(heard.first[0], 0);
	assert_int_equal(heard.last[0], 60 * (int64_t) SEGMENTER_FRAME - 1);
	assert_int_equal(heard.start_ms[0], 0);
}

static void
a_short_pause_keeps_a_sentence_together_and_a_long_one_ends_it(void **state)
{
	Heard heard;

	(void) state;
	RunAndFree(Pattern(5, '#', 30, '.', 12, '#', 30, '.', 13, '#', 30), &heard);
	assert_int_equal(heard.count, 2);
	assert_true(heard.last[0] < heard.first[1]);
}

static void
a_click_is_no_speech(void **state)
{
	Heard heard;

	(void) state;
	RunAndFree(Pattern(3, '.', 50, '#', 2, '.', 50), &heard);
	assert_int_equal(heard.count, 0);
}

static void
endless_speech_is_cut_without_losing_or_repeating_a_sample(void **state)
{
	Heard heard;
	int i;

	(void) state;
	RunAndFree(Pattern(1, '#', 5000), &heard);
	assert_in_range(heard.count, 6, 12);
	assert_int_equal(heard.first[0], 0);
	for (i = 1; i < heard.count; i++)
	{
		assert_int_equal(heard.first[i], heard.last[i - 1] + 1);
		assert_true(heard.start_ms[i] >= heard.end_ms[i - 1]);
		assert_true(heard.last[i] - heard.first[i] <= 25 * MODEL_RATE);
	}
	assert_int_equal(heard.last[heard.count - 1], 5000 * (int64_t) SEGMENTER_FRAME - 1);
}

/* Any pattern: segments are in order, apart, and hold every run of voice that is no click. */
static void
random_talk_is_covered(void **state)
{
	unsigned int seed = 7;
	int round;

	(void) state;
	for (round = 0; round < 40; round++)
	{
		char *pattern = calloc(1, 4096);
		size_t used = 0;
		Heard heard;
		int i;

		while (used < 3000)
		{
			size_t voice = 3 + (size_t) rand_r(&seed) % 120;
			size_t pause = 1 + (size_t) rand_r(&seed) % 40;

			memset(pattern + used, '#', voice);
			memset(pattern + used + voice, '.', pause);
			used += voice + pause;
		}
		Run(pattern, &heard);
		for (i = 1; i < heard.count; i++)
			assert_true(heard.first[i] > heard.last[i - 1]);
		for (used = 0; pattern[used] != '\0'; used++)
		{
			int64_t middle = (int64_t) used * (int64_t) SEGMENTER_FRAME + 256;

			for (i = 0; i < heard.count && heard.last[i] < middle; i++)
				;
			if (pattern[used] == '#')
				assert_true(i < heard.count && heard.first[i] <= middle);
		}
		free(pattern);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(silence_gives_nothing),
		cmocka_unit_test(a_voice_is_cut_with_lead_and_trail),
		cmocka_unit_test(a_stream_that_begins_and_ends_in_speech_loses_nothing),
		cmocka_unit_test(a_short_pause_keeps_a_sentence_together_and_a_long_one_ends_it),
		cmocka_unit_test(a_click_is_no_speech),
		cmocka_unit_test(endless_speech_is_cut_without_losing_or_repeating_a_sample),
		cmocka_unit_test(random_talk_is_covered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
