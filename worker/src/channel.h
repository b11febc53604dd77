/*
 * channel.h
 *	  One channel of a stream: resampler, voice detection, segmenter, recognizer, sink.
 */
#ifndef CAUCE_CHANNEL_H
#define CAUCE_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "models.h"
#include "recognizer.h"
#include "resampler.h"
#include "segmenter.h"
#include "sink.h"
#include "vad.h"

#define SPEAKER_MAX 16 /* bytes of a speaker's name that is made here */

typedef enum ChannelResult
{
	CHANNEL_OK,
	CHANNEL_CLOSED, /* the sink takes no more */
	CHANNEL_FAILED /* no memory, or the engine failed */
} ChannelResult;

typedef struct Channel
{
	int number;
	const char *speaker;
	char own_speaker[SPEAKER_MAX];
	int64_t next_seq;
	long recognised; /* segments with text, whether stored or not */
	Resampler *resampler; /* NULL: the stream has the models' rate already */
	Vad *vad;
	Segmenter segmenter;
	Recognizer *recognizer;
	Sink *sink;
} Channel;

/* What the channels of a stream have in common. */
typedef struct ChannelSetup
{
	int rate;
	int64_t first_seq;
	const Models *models;
	Vad *vads; /* one a channel; one that is not made yet is made when the channel is */
	Recognizer *recognizer;
	Sink *sink;
	Arena *arena;
} ChannelSetup;

/* ChannelRoom tells how many bytes of an arena a channel takes. */
extern size_t ChannelRoom(void);

/*
 * ChannelInit readies a channel; speaker NULL names it by its number. Returns false, with a
 * report, on failure.
 */
extern bool ChannelInit(Channel *channel, int number, const char *speaker,
						const ChannelSetup *setup);

/* ChannelFeed takes the next samples, at the rate of the stream. */
extern ChannelResult ChannelFeed(Channel *channel, const float *samples, size_t length);

/* ChannelFinish transcribes what was heard up to the end of the stream. */
extern ChannelResult ChannelFinish(Channel *channel);

/* ChannelDestroy frees what is the channel's; its audio is wiped with the arena. */
extern void ChannelDestroy(Channel *channel);

#endif
