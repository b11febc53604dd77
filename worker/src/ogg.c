/*
 * ogg.c
 *	  Takes Ogg pages apart with libogg and decodes their packets with libopus.
 */
#include "ogg.h"

#include <opus/opusfile.h>
#include <string.h>

#include "pcm.h"
#include "report.h"
#include "resampler.h"

#define OPUS_RATE 48000 /* in which pre-skip is counted, RFC 7845 section 4.2 */

/* EnterState is the one place where the state changes. */
static void
EnterState(OggReader *reader, OggState state)
{
	reader->state = state;
}

static void
Fail(OggReader *reader, const char *problem)
{
	reader->problem = problem;
	EnterState(reader, OGG_BAD);
}

bool
OggInit(OggReader *reader)
{
	size_t size = OGG_PACKET_MAX * PCM_CHANNELS_MAX * sizeof(float);

	memset(reader, 0, sizeof(*reader));
	if (!ArenaCreate(&reader->arena, size))
		return false;
	reader->decoded = ArenaTake(&reader->arena, size);
	ogg_sync_init(&reader->sync);
	return true;
}

bool
OggFeed(OggReader *reader, const unsigned char *bytes, size_t size)
{
	char *room = ogg_sync_buffer(&reader->sync, (long) size);

	if (room == NULL)
		return false;
	memcpy(room, bytes, size);
	return ogg_sync_wrote(&reader->sync, (long) size) == 0;
}

/* TakePage moves a page into the logical stream; returns false if there is none yet. */
static bool
TakePage(OggReader *reader)
{
	ogg_page page;
	int found;

	do
		found = ogg_sync_pageout(&reader->sync, &page);
	while (found < 0);
	if (found == 0)
		return false;
	if (ogg_page_bos(&page) && (reader->state == OGG_HEAD || reader->state == OGG_AUDIO))
	{
		if (reader->has_logical)
			ogg_stream_clear(&reader->logical);
		reader->has_logical = ogg_stream_init(&reader->logical, ogg_page_serialno(&page)) == 0;
		EnterState(reader, OGG_HEAD);
	}
	/* A page of another stream, of a video say, is refused by its number and passed over. */
	if (reader->has_logical)
		ogg_stream_pagein(&reader->logical, &page);
	return true;
}

/* NextPacket gives the next whole packet; returns false if more bytes are needed. */
static bool
NextPacket(OggReader *reader, ogg_packet *packet)
{
	while (reader->state != OGG_BAD)
	{
		int found = reader->has_logical ? ogg_stream_packetout(&reader->logical, packet) : 0;

		if (found > 0)
			return true;
		if (found == 0 && !TakePage(reader))
			return false;
	}
	return false;
}

static void
ReadHead(OggReader *reader, const ogg_packet *packet)
{
	OpusHead head;
	int problem;

	if (opus_head_parse(&head, packet->packet, (size_t) packet->bytes) != 0)
		Fail(reader, "is an Ogg file, but not of Opus; send Ogg Opus, WAV or raw PCM");
	else if (head.channel_count < 1 || head.channel_count > PCM_CHANNELS_MAX)
		Fail(reader, "has an unsupported number of channels; 1 to 8 are read");
	else if (reader->channels != 0 && reader->channels != head.channel_count)
		Fail(reader, "changes its number of channels");
	if (reader->state == OGG_BAD)
		return;
	if (reader->decoder != NULL)
		opus_multistream_decoder_destroy(reader->decoder);
	reader->decoder =
		opus_multistream_decoder_create(MODEL_RATE, head.channel_count, head.stream_count,
										head.coupled_count, head.mapping, &problem);
	if (reader->decoder == NULL)
	{
		Fail(reader, "could not be decoded: no memory");
		return;
	}
	reader->channels = head.channel_count;
	reader->skip = (int) (head.pre_skip / (OPUS_RATE / MODEL_RATE));
	EnterState(reader, OGG_TAGS);
}

/* ReadPacket decodes a packet of audio and returns its samples a channel. */
static size_t
ReadPacket(OggReader *reader, const ogg_packet *packet)
{
	int got =
		opus_multistream_decode_float(reader->decoder, packet->packet, (opus_int32) packet->bytes,
									  reader->decoded, (int) OGG_PACKET_MAX, 0);

	return got < 0 ? 0 : (size_t) got;
}

/* Separate hands out what was decoded, without what the encoder put before the audio. */
static size_t
Separate(OggReader *reader, size_t length, float *const *planes, size_t capacity)
{
	size_t skip = (size_t) reader->skip < length ? (size_t) reader->skip : length;
	size_t kept = length - skip < capacity ? length - skip : capacity;
	size_t channels = (size_t) reader->channels;
	size_t i;
	size_t c;

	reader->skip -= (int) skip;
	for (i = 0; i < kept; i++)
	{
		for (c = 0; c < channels; c++)
			planes[c][i] = reader->decoded[(skip + i) * channels + c];
	}
	ArenaWipe(reader->decoded, length * channels * sizeof(float));
	return kept;
}

bool
OggStart(OggReader *reader)
{
	ogg_packet packet;

	if (reader->state == OGG_HEAD && NextPacket(reader, &packet))
		ReadHead(reader, &packet);
	return reader->channels > 0 && reader->state != OGG_BAD;
}

size_t
OggNext(OggReader *reader, float *const *planes, size_t capacity)
{
	ogg_packet packet;

	while (NextPacket(reader, &packet))
	{
		size_t made = 0;

		if (reader->state == OGG_HEAD)
			ReadHead(reader, &packet);
		else if (reader->state == OGG_TAGS)
			EnterState(reader, OGG_AUDIO);
		else if (reader->state == OGG_AUDIO)
			made = Separate(reader, ReadPacket(reader, &packet), planes, capacity);
		if (made > 0)
			return made;
	}
	return 0;
}

void
OggDestroy(OggReader *reader)
{
	if (reader->arena.base == NULL)
		return;
	if (reader->decoder != NULL)
		opus_multistream_decoder_destroy(reader->decoder);
	if (reader->has_logical)
		ogg_stream_clear(&reader->logical);
	ogg_sync_clear(&reader->sync);
	ArenaDestroy(&reader->arena);
	memset(reader, 0, sizeof(*reader));
}
