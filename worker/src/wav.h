/*
 * wav.h
 *	  The header of a WAV stream, read as it arrives.
 *
 * States:	RIFF -> CHUNK <-> FORMAT | SKIP, CHUNK -> DATA -> END; any but END -> BAD
 *
 * What is read: RIFF/WAVE with 16-bit integer, 32-bit floating-point or mu-law PCM, also as
 * WAVE_FORMAT_EXTENSIBLE (Microsoft, "Multiple Channel Audio Data and WAVE Files"). A live
 * encoder that cannot go back writes 0 or the largest value as the size of the data: then the
 * data goes on to the end of the stream.
 */
#ifndef CAUCE_WAV_H
#define CAUCE_WAV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pcm.h"

/* The largest part of a header that has to be in one piece: an extensible format chunk. */
#define WAV_FIELD_MAX 40

typedef enum WavState
{
	WAV_RIFF, /* the first 12 bytes */
	WAV_CHUNK, /* a chunk's name and size */
	WAV_FORMAT, /* the format chunk */
	WAV_SKIP, /* the rest of a chunk that says nothing needed */
	WAV_DATA, /* samples */
	WAV_END, /* after the samples */
	WAV_BAD /* not a stream that can be read; problem says why */
} WavState;

typedef struct WavReader
{
	WavState state;
	PcmFormat format; /* valid in WAV_DATA and WAV_END */
	const char *problem;
	bool has_format;
	bool endless; /* the header does not say how long the data is */
	uint64_t left; /* bytes left of the chunk to skip, or of the data unless endless */
	uint64_t skipped;
	uint32_t chunk_size;
	unsigned char field[WAV_FIELD_MAX];
	size_t field_length;
} WavReader;

extern void WavInit(WavReader *reader);

/*
 * WavRead looks at size bytes and returns how many of them are done with. It stops before the
 * first byte of audio, and returns less than size, once state is WAV_DATA: then *audio says how many
 * of the following bytes are audio, and the caller reports with WavTake how many it took.
 */
extern size_t WavRead(WavReader *reader, const unsigned char *bytes, size_t size, size_t *audio);

/* WavTake tells the reader that size bytes of audio have been taken. */
extern void WavTake(WavReader *reader, size_t size);

/*
 * WavMissing tells, at the end of the stream, how many bytes of audio the header promised that
 * did not arrive; 0 if the header promised none.
 */
extern uint64_t WavMissing(const WavReader *reader);

#endif
