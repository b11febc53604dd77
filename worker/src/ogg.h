/*
 * ogg.h
 *	  Ogg Opus (RFC 7845) as it arrives, to frames of floating-point samples.
 *
 * States:	HEAD --OpusHead--> TAGS --OpusTags--> AUDIO --next OpusHead--> TAGS; any --broken--> BAD
 *
 * Opus is decoded straight to the models' rate. Packets that are lost or damaged are passed over.
 */
#ifndef CAUCE_OGG_H
#define CAUCE_OGG_H

#include <ogg/ogg.h>
#include <opus/opus_multistream.h>
#include <stdbool.h>
#include <stddef.h>

#include "arena.h"

typedef enum OggState
{
	OGG_HEAD,
	OGG_TAGS,
	OGG_AUDIO,
	OGG_BAD /* problem says why, after "the stream" */
} OggState;

typedef struct OggReader
{
	OggState state;
	const char *problem;
	int channels; /* known after OGG_HEAD */
	ogg_sync_state sync;
	ogg_stream_state logical;
	bool has_logical;
	OpusMSDecoder *decoder;
	int skip; /* samples of a channel still to be left out at the start */
	Arena arena; /* decoded's */
	float *decoded; /* a packet, interleaved */
} OggReader;

/* OggInit returns false, with a report, if there is no memory. */
extern bool OggInit(OggReader *reader);

/* OggFeed takes over all the bytes. Returns false if there is no memory for them. */
extern bool OggFeed(OggReader *reader, const unsigned char *bytes, size_t size);

/*
 * OggNext decodes the next packet of audio. planes[c] receives the samples of channel c, at most
 * capacity; a packet never has more than OGG_PACKET_MAX. Returns how many, or 0 if more bytes are
 * needed or the stream is bad.
 */
extern size_t OggNext(OggReader *reader, float *const *planes, size_t capacity);

/* OggStart reads on until the channels are known. Returns whether they are. */
extern bool OggStart(OggReader *reader);

#define OGG_PACKET_MAX ((size_t) 1920) /* 120 ms, RFC 6716 section 3.2 */

/* OggDestroy wipes and frees; a reader that OggInit has not made is left alone. */
extern void OggDestroy(OggReader *reader);

#endif
