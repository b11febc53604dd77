/*
 * ogg.c
 *	  Ogg Opus of any bytes gives bounded, finite audio or a reason, the same however it is cut.
 *
 * Parts: ogg.c arena.c report.c
 * Most bytes: 16384
 *
 * Input: whether the pages' checksums are put right (or nothing would get past them), how many bytes are
 * read at a time, then the stream.
 */
#include <math.h>

#include "fuzz.h"
#include "ogg.h"
#include "pcm.h"

#define SETTINGS 2
#define PAGE_HEADER 27 /* bytes, RFC 3533 section 6 */

/* Samples of a channel after which the rest is left out, so that one input takes a moment only. */
#define SAMPLES_MAX ((uint64_t) 16000 * 20)

typedef struct Outcome
{
	OggState state;
	int channels;
	uint64_t samples;
} Outcome;

/* MendPages puts the checksum of each whole page right. */
static void
MendPages(uint8_t *bytes, size_t size)
{
	size_t at = 0;

	while (at + PAGE_HEADER <= size)
	{
		size_t segments = bytes[at + PAGE_HEADER - 1];
		size_t body = 0;
		ogg_page page;
		size_t i;

		if (memcmp(bytes + at, "OggS", 4) != 0 || at + PAGE_HEADER + segments > size)
		{
			at++;
			continue;
		}
		for (i = 0; i < segments; i++)
			body += bytes[at + PAGE_HEADER + i];
		if (at + PAGE_HEADER + segments + body > size)
		{
			at++;
			continue;
		}
		page.header = bytes + at;
		page.header_len = (long) (PAGE_HEADER + segments);
		page.body = page.header + page.header_len;
		page.body_len = (long) body;
		ogg_page_checksum_set(&page);
		at += PAGE_HEADER + segments + body;
	}
}

/* TakeAudio takes what there is now. */
static void
TakeAudio(OggReader *reader, Outcome *outcome)
{
	static float samples[PCM_CHANNELS_MAX][OGG_PACKET_MAX];
	float *planes[PCM_CHANNELS_MAX];
	size_t frames;
	size_t i;
	int channel;

	for (channel = 0; channel < PCM_CHANNELS_MAX; channel++)
		planes[channel] = samples[channel];
	while (outcome->samples < SAMPLES_MAX && (frames = OggNext(reader, planes, OGG_PACKET_MAX)) > 0)
	{
		Require(frames <= OGG_PACKET_MAX);
		outcome->samples += frames;
		for (channel = 0; channel < reader->channels; channel++)
		{
			for (i = 0; i < frames; i++)
				Require(isfinite(samples[channel][i]));
		}
	}
}

static void
ReadAll(Outcome *outcome, const uint8_t *bytes, size_t size, size_t step)
{
	OggReader reader;
	size_t position;

	memset(outcome, 0, sizeof(*outcome));
	Require(OggInit(&reader));
	for (position = 0; position < size && outcome->samples < SAMPLES_MAX && reader.state != OGG_BAD;
		 position += step)
	{
		size_t piece = size - position < step ? size - position : step;
		uint8_t *copy = FuzzCopy(bytes + position, piece);

		Require(OggFeed(&reader, copy, piece));
		free(copy);
		if (OggStart(&reader))
			TakeAudio(&reader, outcome);
	}
	Require((reader.state == OGG_BAD) == (reader.problem != NULL));
	Require(reader.channels >= 0 && reader.channels <= PCM_CHANNELS_MAX);
	outcome->state = reader.state;
	outcome->channels = reader.channels;
	OggDestroy(&reader);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	uint8_t *stream;
	Outcome whole;
	Outcome cut;

	if (size <= SETTINGS)
		return 0;
	stream = FuzzCopy(bytes + SETTINGS, size - SETTINGS);
	if (bytes[0] & 1)
		MendPages(stream, size - SETTINGS);
	ReadAll(&whole, stream, size - SETTINGS, size);
	ReadAll(&cut, stream, size - SETTINGS, (size_t) bytes[1] * 4 + 1);
	free(stream);
	Require(whole.state == cut.state && whole.channels == cut.channels);
	Require(whole.samples == cut.samples);
	return 0;
}
