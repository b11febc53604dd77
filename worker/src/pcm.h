/*
 * pcm.h
 *	  Interleaved PCM bytes, split anywhere, to frames of floating-point samples.
 *
 * A frame is one sample of every channel at one moment.
 */
#ifndef CAUCE_PCM_H
#define CAUCE_PCM_H

#include <stdbool.h>
#include <stddef.h>

#define PCM_CHANNELS_MAX 8
#define PCM_RATE_MIN 8000
#define PCM_RATE_MAX 48000
#define PCM_SAMPLE_MAX 4 /* bytes of the widest sample */

typedef enum PcmEncoding
{
	PCM_S16LE,
	PCM_F32LE,
	PCM_MULAW /* ITU-T G.711 */
} PcmEncoding;

typedef struct PcmFormat
{
	PcmEncoding encoding;
	int channels; /* 1 to PCM_CHANNELS_MAX */
	int rate; /* frames a second, PCM_RATE_MIN to PCM_RATE_MAX */
} PcmFormat;

/* PcmReader keeps the bytes of a frame that has not arrived whole. */
typedef struct PcmReader
{
	PcmFormat format;
	unsigned char partial[PCM_CHANNELS_MAX * PCM_SAMPLE_MAX];
	size_t partial_length;
} PcmReader;

extern void PcmInit(PcmReader *reader, const PcmFormat *format);

/* PcmFrameSize tells how many bytes a frame has. */
extern size_t PcmFrameSize(const PcmFormat *format);

/*
 * PcmRead turns bytes into at most capacity frames. planes[c] receives the samples of channel
 * c, in -1 to 1: floating-point input beyond that is clipped, and what is not a number is
 * silence. Returns the number of frames and, in *used, how many bytes it took; when *used is
 * size all whole frames have been given out.
 */
extern size_t PcmRead(PcmReader *reader, const unsigned char *bytes, size_t size, size_t *used,
					  float *const *planes, size_t capacity);

/* PcmWipe forgets the bytes of a partial frame and returns how many there were. */
extern size_t PcmWipe(PcmReader *reader);

#endif
