/*
 * channel.c
 *	  The way of one channel's samples to rows.
 */
#include "channel.h"

#include <stdio.h>
#include <string.h>

#include "report.h"
#include "signals.h"
#include "text.h"

#define PUT_TIMEOUT_MS 200 /* how soon a second signal is noticed while the queue is full */

size_t
ChannelRoom(void)
{
	return ArenaRoom(SegmenterCapacity() * sizeof(float));
}

bool
ChannelInit(Channel *channel, int number, const char *speaker, const ChannelSetup *setup)
{
	float *audio = ArenaTake(setup->arena, SegmenterCapacity() * sizeof(float));

	memset(channel, 0, sizeof(*channel));
	channel->number = number;
	snprintf(channel->own_speaker, sizeof(channel->own_speaker), "channel %d", number);
	channel->speaker = speaker == NULL ? channel->own_speaker : speaker;
	channel->next_seq = setup->first_seq;
	channel->recognizer = setup->recognizer;
	channel->vad = &setup->vads[number];
	channel->sink = setup->sink;
	if (audio == NULL)
	{
		Report("no room for the audio of channel %d", number);
		return false;
	}
	SegmenterInit(&channel->segmenter, audio);
	if (setup->rate != MODEL_RATE && (channel->resampler = ResamplerCreate(setup->rate)) == NULL)
		return false;
	return channel->vad->detector != NULL || VadCreate(channel->vad, &setup->models->vad);
}

/* Put hands an utterance to the sink, and waits while that is full. */
static ChannelResult
Put(Channel *channel, const Utterance *utterance)
{
	while (!QueuePut(&channel->sink->queue, utterance, PUT_TIMEOUT_MS))
	{
		if (SignalsCount() >= 2)
			SinkAbandon(channel->sink);
		if (QueueBroken(&channel->sink->queue))
			return CHANNEL_CLOSED;
	}
	return CHANNEL_OK;
}

/* Transcribe recognises a segment, wipes its audio and hands on its text. */
static ChannelResult
Transcribe(Channel *channel, const Segment *segment)
{
	Utterance utterance = {.channel = channel->number,
						   .speaker = channel->speaker,
						   .start_ms = segment->start_ms,
						   .end_ms = segment->end_ms};
	bool decoded =
		RecognizerDecode(channel->recognizer, segment->samples, segment->length, &utterance.text);
	ChannelResult result;

	SegmenterRelease(&channel->segmenter);
	if (!decoded)
		return CHANNEL_FAILED;
	if (utterance.text == NULL)
		return CHANNEL_OK;
	utterance.seq = channel->next_seq++;
	channel->recognised++;
	result = Put(channel, &utterance);
	if (result != CHANNEL_OK)
		TextFree(utterance.text);
	return result;
}

/* Listen judges the frames that are there and transcribes what they complete. */
static ChannelResult
Listen(Channel *channel)
{
	ChannelResult result = CHANNEL_OK;
	const float *frame;
	Segment segment;

	while (result == CHANNEL_OK && (frame = SegmenterFrame(&channel->segmenter)) != NULL)
	{
		if (SegmenterJudge(&channel->segmenter, VadJudge(channel->vad, frame), &segment))
			result = Transcribe(channel, &segment);
	}
	return result;
}

/*
 * Resample gives the segmenter what comes of some samples; NULL flushes. *used is how many
 * were taken, *made how many came out.
 */
static ChannelResult
Resample(Channel *channel, const float *samples, size_t length, size_t *used, size_t *made)
{
	size_t room;
	float *tail = SegmenterTail(&channel->segmenter, &room);

	if (channel->resampler != NULL)
	{
		if (!ResamplerRun(channel->resampler, samples, length, used, tail, room, made))
			return CHANNEL_FAILED;
	}
	else
	{
		*used = *made = length < room ? length : room;
		if (*made > 0)
			memcpy(tail, samples, *made * sizeof(float));
	}
	SegmenterExtend(&channel->segmenter, *made);
	return Listen(channel);
}

ChannelResult
ChannelFeed(Channel *channel, const float *samples, size_t length)
{
	ChannelResult result = CHANNEL_OK;
	size_t used;
	size_t made;

	while (result == CHANNEL_OK && length > 0)
	{
		result = Resample(channel, samples, length, &used, &made);
		if (result == CHANNEL_OK && used == 0 && made == 0)
			return CHANNEL_FAILED;
		samples += used;
		length -= used;
	}
	return result;
}

ChannelResult
ChannelFinish(Channel *channel)
{
	ChannelResult result = CHANNEL_OK;
	size_t used;
	size_t made;
	Segment segment;

	do
		result = Resample(channel, NULL, 0, &used, &made);
	while (result == CHANNEL_OK && made > 0);
	if (result == CHANNEL_OK && SegmenterFinish(&channel->segmenter, &segment))
		result = Transcribe(channel, &segment);
	return result;
}

void
ChannelDestroy(Channel *channel)
{
	if (channel->resampler != NULL)
		ResamplerDestroy(channel->resampler);
	channel->resampler = NULL;
}
