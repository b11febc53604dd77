/*
 * pcm.c
 *	  Decodes and de-interleaves PCM.
 */
#include "pcm.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "arena.h"

#define S16_SCALE (1.0f / 32768.0f)
#define MULAW_BIAS 0x84 /* of 16-bit magnitudes */

static size_t
SampleSize(PcmEncoding encoding)
{
	if (encoding == PCM_MULAW)
		return 1;
	return encoding == PCM_S16LE ? 2 : 4;
}

size_t
PcmFrameSize(const PcmFormat *format)
{
	return SampleSize(format->encoding) * (size_t) format->channels;
}

void
PcmInit(PcmReader *reader, const PcmFormat *format)
{
	memset(reader, 0, sizeof(*reader));
	reader->format = *format;
}

static float
DecodeS16(const unsigned char *bytes)
{
	return (float) (int16_t) (uint16_t) (bytes[0] | bytes[1] << 8) * S16_SCALE;
}

static float
DecodeF32(const unsigned char *bytes)
{
	uint32_t bits = (uint32_t) bytes[0] | (uint32_t) bytes[1] << 8 | (uint32_t) bytes[2] << 16 |
					(uint32_t) bytes[3] << 24;
	float sample;

	memcpy(&sample, &bits, sizeof(sample));
	if (!isfinite(sample))
		return 0.0f;
	return fminf(fmaxf(sample, -1.0f), 1.0f);
}

/* DecodeMulaw expands a byte of ITU-T G.711, table 2a: sign, exponent and mantissa, all inverted. */
static float
DecodeMulaw(unsigned char byte)
{
	int inverted = ~byte & 0xFF;
	int magnitude = ((((inverted & 0x0F) << 3) + MULAW_BIAS) << (inverted >> 4 & 7)) - MULAW_BIAS;

	return (float) (inverted & 0x80 ? -magnitude : magnitude) * S16_SCALE;
}

static float
DecodeSample(PcmEncoding encoding, const unsigned char *bytes)
{
	if (encoding == PCM_MULAW)
		return DecodeMulaw(*bytes);
	return encoding == PCM_S16LE ? DecodeS16(bytes) : DecodeF32(bytes);
}

static void
DecodeFrame(const PcmFormat *format, const unsigned char *bytes, float *const *planes, size_t frame)
{
	size_t step = SampleSize(format->encoding);
	int channel;

	for (channel = 0; channel < format->channels; channel++, bytes += step)
		planes[channel][frame] = DecodeSample(format->encoding, bytes);
}

/* TakePartial moves bytes into the partial frame and returns how many. */
static size_t
TakePartial(PcmReader *reader, const unsigned char *bytes, size_t size, size_t frame_size)
{
	size_t missing = frame_size - reader->partial_length;
	size_t taken = size < missing ? size : missing;

	memcpy(reader->partial + reader->partial_length, bytes, taken);
	reader->partial_length += taken;
	return taken;
}

size_t
PcmRead(PcmReader *reader, const unsigned char *bytes, size_t size, size_t *used,
		float *const *planes, size_t capacity)
{
	size_t frame_size = PcmFrameSize(&reader->format);
	size_t position = 0;
	size_t frames = 0;

	if (reader->partial_length > 0 && capacity > 0)
	{
		position = TakePartial(reader, bytes, size, frame_size);
		if (reader->partial_length == frame_size)
		{
			DecodeFrame(&reader->format, reader->partial, planes, frames++);
			PcmWipe(reader);
		}
	}
	while (frames < capacity && size - position >= frame_size)
	{
		DecodeFrame(&reader->format, bytes + position, planes, frames++);
		position += frame_size;
	}
	if (frames < capacity && position < size)
		position += TakePartial(reader, bytes + position, size - position, frame_size);
	*used = position;
	return frames;
}

size_t
PcmWipe(PcmReader *reader)
{
	size_t length = reader->partial_length;

	ArenaWipe(reader->partial, sizeof(reader->partial));
	reader->partial_length = 0;
	return length;
}
