/*
 * wav.c
 *	  A WAV header is understood however its bytes are cut, and refused if it is not one.
 *
 * Parts: wav.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "wav.h"

#define AUDIO_SIZE 8

typedef struct File
{
	unsigned char bytes[256];
	size_t size;
} File;

static void
Put(File *file, const void *bytes, size_t size)
{
	memcpy(file->bytes + file->size, bytes, size);
	file->size += size;
}

static void
Put32(File *file, uint32_t value)
{
	unsigned char bytes[] = {value, value >> 8, value >> 16, value >> 24};

	Put(file, bytes, sizeof(bytes));
}

static void
Put16(File *file, uint32_t value)
{
	unsigned char bytes[] = {value, value >> 8};

	Put(file, bytes, sizeof(bytes));
}

static void
PutFormat(File *file, uint32_t tag, uint32_t channels, uint32_t rate, uint32_t bits)
{
	Put(file, "fmt ", 4);
	Put32(file, 16);
	Put16(file, tag);
	Put16(file, channels);
	Put32(file, rate);
	Put32(file, rate * channels * bits / 8);
	Put16(file, channels * bits / 8);
	Put16(file, bits);
}

static void
PutExtensible(File *file, uint32_t tag, uint32_t last_byte)
{
	static const unsigned char tail[] = {0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B};

	PutFormat(file, 0xFFFE, 1, 48000, tag == 3 ? 32 : 16);
	file->bytes[file->size - 20] = 40;
	Put16(file, 22);
	Put16(file, tag == 3 ? 32 : 16);
	Put32(file, 4);
	Put16(file, tag);
	Put(file, tail, sizeof(tail));
	file->bytes[file->size++] = (unsigned char) last_byte;
}

static void
PutStart(File *file)
{
	Put(file, "RIFF", 4);
	Put32(file, 0);
	Put(file, "WAVE", 4);
}

/* PutAudio adds a data chunk that says it has size bytes and has AUDIO_SIZE. */
static void
PutAudio(File *file, uint32_t size)
{
	Put(file, "data", 4);
	Put32(file, size);
	Put(file, "\1\2\3\4\5\6\7\10", AUDIO_SIZE);
}

/* ReadIn feeds a file in pieces of the given sizes and collects its audio. */
static size_t
ReadIn(const File *file, size_t first, size_t step, WavReader *reader, unsigned char *audio)
{
	size_t position = 0;
	size_t size = first;
	size_t got = 0;

	WavInit(reader);
	while (position < file->size)
	{
		size_t found;
		size_t done;

		if (size > file->size - position)
			size = file->size - position;
		done = WavRead(reader, file->bytes + position, size, &found);
		assert_true(done + found <= size);
		memcpy(audio + got, file->bytes + position + done, found);
		got += found;
		if (found > 0)
			WavTake(reader, found);
		position += size;
		size = step;
	}
	return got;
}

static void
AssertAudio(const File *file, const PcmFormat *format, WavState state, size_t size)
{
	unsigned char audio[256];
	WavReader reader;
	size_t first;

	for (first = 1; first <= file->size; first++)
	{
		assert_int_equal(ReadIn(file, first, 1, &reader, audio), size);
		assert_int_equal(ReadIn(file, first, file->size, &reader, audio), size);
		assert_memory_equal(audio, "\1\2\3\4\5\6\7\10", AUDIO_SIZE);
		assert_int_equal(reader.state, state);
		assert_int_equal(reader.format.rate, format->rate);
		assert_int_equal(reader.format.channels, format->channels);
		assert_int_equal(reader.format.encoding, format->encoding);
	}
}

static void
AssertBad(const File *file, const char *word)
{
	unsigned char audio[256];
	WavReader reader;
	size_t first;

	for (first = 1; first <= file->size; first++)
	{
		assert_int_equal(ReadIn(file, first, 1, &reader, audio), 0);
		assert_int_equal(reader.state, WAV_BAD);
		assert_non_null(strstr(reader.problem, word));
	}
}

static void
reads_a_header_split_anywhere(void **state)
{
	PcmFormat format = {.encoding = PCM_S16LE, .channels = 2, .rate = 44100};
	File file = {.size = 0};

	(void) state;
	PutStart(&file);
	PutFormat(&file, 1, 2, 44100, 16);
	PutAudio(&file, AUDIO_SIZE);
	AssertAudio(&file, &format, WAV_END, AUDIO_SIZE);
}

static void
skips_unknown_chunks_of_odd_size_and_what_follows_the_audio(void **state)
{
	PcmFormat format = {.encoding = PCM_F32LE, .channels = 1, .rate = 8000};
	File file = {.size = 0};

	(void) state;
	PutStart(&file);
	Put(&file, "LIST\3\0\0\0abc\0", 12);
	Put(&file, "junk\0\0\0\0", 8);
	PutFormat(&file, 3, 1, 8000, 32);
	Put(&file, "fact\4\0\0\0\2\0\0\0", 12);
	PutAudio(&file, AUDIO_SIZE);
	Put(&file, "LIST\2\0\0\0ab", 10);
	AssertAudio(&file, &format, WAV_END, AUDIO_SIZE);
}

static void
reads_to_the_end_when_a_live_encoder_left_the_size_open(void **state)
{
	static const uint32_t sizes[] = {0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFFFFF - 36, 0xFFFFFFFF - 44};
	PcmFormat format = {.encoding = PCM_S16LE, .channels = 1, .rate = 16000};
	size_t i;

	(void) state;
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		File file = {.size = 0};

		PutStart(&file);
		PutFormat(&file, 1, 1, 16000, 16);
		PutAudio(&file, sizes[i]);
		AssertAudio(&file, &format, WAV_DATA, AUDIO_SIZE);
	}
}

static void
knows_what_is_missing_of_a_stream_cut_short(void **state)
{
	unsigned char audio[256];
	File file = {.size = 0};
	WavReader reader;

	(void) state;
	PutStart(&file);
	PutFormat(&file, 1, 1, 16000, 16);
	PutAudio(&file, 1000);
	assert_int_equal(ReadIn(&file, 1, 1, &reader, audio), AUDIO_SIZE);
	assert_int_equal(WavMissing(&reader), 1000 - AUDIO_SIZE);
}

static void
reads_extensible_formats(void **state)
{
	PcmFormat integer = {.encoding = PCM_S16LE, .channels = 1, .rate = 48000};
	PcmFormat real = {.encoding = PCM_F32LE, .channels = 1, .rate = 48000};
	File files[3] = {{.size = 0}, {.size = 0}, {.size = 0}};

	(void) state;
	PutStart(&files[0]);
	PutExtensible(&files[0], 1, 0x71);
	PutAudio(&files[0], AUDIO_SIZE);
	AssertAudio(&files[0], &integer, WAV_END, AUDIO_SIZE);
	PutStart(&files[1]);
	PutExtensible(&files[1], 3, 0x71);
	PutAudio(&files[1], AUDIO_SIZE);
	AssertAudio(&files[1], &real, WAV_END, AUDIO_SIZE);
	PutStart(&files[2]);
	PutExtensible(&files[2], 1, 0x72);
	PutAudio(&files[2], AUDIO_SIZE);
	AssertBad(&files[2], "format");
}

static void
refuses_what_it_cannot_read(void **state)
{
	static const struct
	{
		uint32_t tag, channels, rate, bits;
		const char *word;
	} formats[] = {{1, 1, 16000, 8, "format"},	  {1, 1, 16000, 24, "format"},
				   {6, 1, 8000, 8, "format"},	  {3, 1, 16000, 64, "format"},
				   {1, 0, 16000, 16, "channels"}, {1, 9, 16000, 16, "channels"},
				   {1, 1, 7999, 16, "rate"},	  {1, 1, 96000, 16, "rate"}};
	File no_wav = {.size = 0};
	File no_format = {.size = 0};
	File endless_header = {.size = 0};
	size_t i;

	(void) state;
	for (i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
	{
		File file = {.size = 0};

		PutStart(&file);
		PutFormat(&file, formats[i].tag, formats[i].channels, formats[i].rate, formats[i].bits);
		PutAudio(&file, AUDIO_SIZE);
		AssertBad(&file, formats[i].word);
	}
	Put(&no_wav, "OggS\0\2\0\0\0\0\0\0\0\0\0\0", 16);
	AssertBad(&no_wav, "not a WAV");
	PutStart(&no_format);
	PutAudio(&no_format, AUDIO_SIZE);
	AssertBad(&no_format, "before its format");
	PutStart(&endless_header);
	Put(&endless_header, "LIST\377\377\377\377", 8);
	AssertBad(&endless_header, "too much");
}

static void
survives_any_bytes(void **state)
{
	unsigned char audio[256];
	unsigned int seed = 1;
	WavReader reader;
	int round;

	(void) state;
	for (round = 0; round < 20000; round++)
	{
		File file = {.size = 0};
		int flips;

		PutStart(&file);
		PutFormat(&file, 1, 1, 16000, 16);
		PutAudio(&file, AUDIO_SIZE);
		for (flips = 0; flips < 4; flips++)
			file.bytes[(size_t) rand_r(&seed) % file.size] = (unsigned char) rand_r(&seed);
		ReadIn(&file, 1 + (size_t) rand_r(&seed) % file.size, 7, &reader, audio);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_a_header_split_anywhere),
		cmocka_unit_test(skips_unknown_chunks_of_odd_size_and_what_follows_the_audio),
		cmocka_unit_test(reads_to_the_end_when_a_live_encoder_left_the_size_open),
		cmocka_unit_test(knows_what_is_missing_of_a_stream_cut_short),
		cmocka_unit_test(reads_extensible_formats),
		cmocka_unit_test(refuses_what_it_cannot_read),
		cmocka_unit_test(survives_any_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
