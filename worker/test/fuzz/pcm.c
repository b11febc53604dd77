/*
 * pcm.c
 *	  Samples of each encoding come out the same however their bytes are cut, finite and within -1 to 1.
 *
 * Parts: pcm.c arena.c report.c
 * Most bytes: 4096
 *
 * Input: encoding, channels, bytes read at a time, frames taken at a time; then the samples.
 */
#include <math.h>

#include "fuzz.h"
#include "pcm.h"

#define SETTINGS 4
#define FRAMES_MAX 4096

typedef struct Planes
{
	float samples[PCM_CHANNELS_MAX][FRAMES_MAX];
	size_t frames;
	size_t left; /* bytes of a frame that is not whole */
} Planes;

static void
ReadAll(Planes *planes, const PcmFormat *format, const uint8_t *bytes, size_t size, size_t step,
		size_t capacity)
{
	PcmReader reader;
	size_t position = 0;

	planes->frames = 0;
	PcmInit(&reader, format);
	while (position < size)
	{
		size_t piece = size - position < step ? size - position : step;
		uint8_t *copy = FuzzCopy(bytes + position, piece);
		float *places[PCM_CHANNELS_MAX];
		size_t used;
		size_t frames;
		int i;

		for (i = 0; i < format->channels; i++)
			places[i] = planes->samples[i] + planes->frames;
		frames = PcmRead(&reader, copy, piece, &used, places, capacity);
		Require(frames <= capacity && used <= piece);
		Require(frames > 0 || used == piece);
		planes->frames += frames;
		position += used;
		free(copy);
	}
	planes->left = PcmWipe(&reader);
}

/* CheckFloat: a 32-bit number comes out as it is, clipped, and what is none as silence. */
static void
CheckFloat(const uint8_t *bytes, float sample)
{
	float given;

	memcpy(&given, bytes, sizeof(given)); /* this machine is little-endian */
	if (!isfinite(given))
		Require(sample == 0.0f);
	else
		Require(sample == (given > 1.0f ? 1.0f : given < -1.0f ? -1.0f : given));
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static Planes whole;
	static Planes cut;
	PcmFormat format;
	size_t i;
	int channel;

	if (size < SETTINGS || size > FRAMES_MAX)
		return 0;
	format.encoding = (PcmEncoding) (bytes[0] % 3);
	format.channels = bytes[1] % PCM_CHANNELS_MAX + 1;
	format.rate = PCM_RATE_MIN;
	ReadAll(&whole, &format, bytes + SETTINGS, size - SETTINGS, size, FRAMES_MAX);
	ReadAll(&cut, &format, bytes + SETTINGS, size - SETTINGS, bytes[2] % 64 + 1, bytes[3] % 16 + 1);
	Require(whole.frames == (size - SETTINGS) / PcmFrameSize(&format));
	Require(whole.left == (size - SETTINGS) % PcmFrameSize(&format));
	Require(whole.frames == cut.frames && whole.left == cut.left);
	for (channel = 0; channel < format.channels; channel++)
	{
		for (i = 0; i < whole.frames; i++)
		{
			Require(fabsf(whole.samples[channel][i]) <= 1.0f);
			Require(whole.samples[channel][i] == cut.samples[channel][i]);
			if (format.encoding == PCM_F32LE)
				CheckFloat(bytes + SETTINGS + i * PcmFrameSize(&format) + 4 * (size_t) channel,
						   whole.samples[channel][i]);
		}
	}
	return 0;
}
