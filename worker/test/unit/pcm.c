/*
 * pcm.c
 *	  Samples come out the same however their bytes are cut, each in its channel.
 *
 * Parts: pcm.c arena.c report.c
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "pcm.h"

#define FRAMES 50
#define CHANNELS 3

static unsigned char bytes[FRAMES * CHANNELS * PCM_SAMPLE_MAX];
static float expected[CHANNELS][FRAMES];

static void
PutF32(size_t place, float sample)
{
	uint32_t bits;

	memcpy(&bits, &sample, sizeof(bits));
	for (int i = 0; i < 4; i++)
		bytes[place * 4 + i] = (unsigned char) (bits >> (8 * i));
}

/* MakeBytes makes a stream of CHANNELS channels and what it has to come out as. */
static size_t
MakeBytes(PcmEncoding encoding)
{
	int frame;
	int channel;

	for (frame = 0; frame < FRAMES; frame++)
	{
		for (channel = 0; channel < CHANNELS; channel++)
		{
			size_t place = (size_t) (frame * CHANNELS + channel);
			int16_t sample = (int16_t) (frame * 1311 - 32768 + channel);

			expected[channel][frame] = (float) sample / 32768.0f;
			if (encoding == PCM_F32LE)
				PutF32(place, expected[channel][frame]);
			else
			{
				bytes[place * 2] = (unsigned char) sample;
				bytes[place * 2 + 1] = (unsigned char) (sample >> 8);
			}
		}
	}
	return (size_t) (FRAMES * CHANNELS) * (encoding == PCM_F32LE ? 4 : 2);
}

/* ReadIn feeds bytes in pieces of step bytes to a reader that gives capacity frames at most. */
static size_t
ReadIn(PcmReader *reader, size_t size, size_t step, size_t capacity, float got[CHANNELS][FRAMES])
{
	size_t frames = 0;
	size_t start;

	for (start = 0; start < size; start += step)
	{
		size_t end = start + step < size ? start + step : size;
		size_t position = start;

		while (position < end)
		{
			float *planes[CHANNELS] = {got[0] + frames, got[1] + frames, got[2] + frames};
			size_t used;

			frames += PcmRead(reader, bytes + position, end - position, &used, planes, capacity);
			position += used;
		}
	}
	return frames;
}

static void
AssertSplits(PcmEncoding encoding)
{
	PcmFormat format = {.encoding = encoding, .channels = CHANNELS, .rate = 16000};
	size_t size = MakeBytes(encoding);
	size_t step;

	for (step = 1; step <= size; step++)
	{
		float got[CHANNELS][FRAMES] = {{0}};
		PcmReader reader;

		PcmInit(&reader, &format);
		assert_int_equal(ReadIn(&reader, size, step, 1 + step % 7, got), FRAMES);
		assert_memory_equal(got, expected, sizeof(expected));
		assert_int_equal(PcmWipe(&reader), 0);
	}
}

static void
splits_of_16_bit_samples_do_not_matter(void **state)
{
	(void) state;
	AssertSplits(PCM_S16LE);
}

static void
splits_of_floating_point_samples_do_not_matter(void **state)
{
	(void) state;
	AssertSplits(PCM_F32LE);
}

static void
half_a_frame_at_the_end_is_counted_and_wiped(void **state)
{
	PcmFormat format = {.encoding = PCM_S16LE, .channels = CHANNELS, .rate = 16000};
	size_t size = MakeBytes(PCM_S16LE);
	float got[CHANNELS][FRAMES];
	PcmReader reader;

	(void) state;
	PcmInit(&reader, &format);
	assert_int_equal(ReadIn(&reader, size - 1, 10, FRAMES, got), FRAMES - 1);
	assert_int_equal(PcmWipe(&reader), 5);
	assert_int_equal(PcmWipe(&reader), 0);
	assert_int_equal(reader.partial[0], 0);
}

static void
wild_floating_point_samples_are_tamed(void **state)
{
	static const float wild[] = {NAN, INFINITY, -INFINITY, 3.0f, -3.0f, 0.25f};
	static const float tame[] = {0.0f, 0.0f, 0.0f, 1.0f, -1.0f, 0.25f};
	PcmFormat format = {.encoding = PCM_F32LE, .channels = 1, .rate = 16000};
	float got[6];
	float *plane = got;
	PcmReader reader;
	size_t used;

	(void) state;
	for (size_t i = 0; i < 6; i++)
		PutF32(i, wild[i]);
	PcmInit(&reader, &format);
	assert_int_equal(PcmRead(&reader, bytes, 24, &used, &plane, 6), 6);
	assert_memory_equal(got, tame, sizeof(tame));
}

/* Values of ITU-T G.711, table 2a, at 16 bits: both ends of the range, zero, and each segment's end. */
static void
mu_law_is_expanded(void **state)
{
	static const unsigned char bytes[] = {0x80, 0x00, 0xFF, 0x7F, 0xF0,
										  0xE0, 0xD0, 0xC0, 0xB0, 0x70};
	static const float expected[] = {32124, -32124, 0, 0, 120, 372, 876, 1884, 3900, -120};
	const PcmFormat format = {PCM_MULAW, 1, 8000};
	float got[sizeof(bytes)];
	float *plane = got;
	PcmReader reader;
	size_t used;
	size_t i;

	(void) state;
	PcmInit(&reader, &format);
	assert_int_equal(PcmRead(&reader, bytes, sizeof(bytes), &used, &plane, sizeof(bytes)),
					 sizeof(bytes));
	for (i = 0; i < sizeof(bytes); i++)
		assert_float_equal(got[i] * 32768.0f, expected[i], 0.001);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(splits_of_16_bit_samples_do_not_matter),
		cmocka_unit_test(splits_of_floating_point_samples_do_not_matter),
		cmocka_unit_test(half_a_frame_at_the_end_is_counted_and_wiped),
		cmocka_unit_test(wild_floating_point_samples_are_tamed),
		cmocka_unit_test(mu_law_is_expanded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
