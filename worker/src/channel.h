/*
 * channel.h
 *	  One channel of a stream: resampler, voice detection, segmenter, recognizer, sink.
 */
#ifndef CAUCE_CHANNEL_H
#define CAUCE_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "interim.h"
#include "recognizer.h"
#include "resampler.h"
#include "segmenter.h"
#include "sink.h"
#include "voices.h"

#define SPEAKER_MAX 16 /* bytes of a speaker's name that is made here */

/* Utterances that a call of this header puts in the queue at most, for VOICE_BLOCK samples. */
#define CHANNEL_PUT_MAX 8

typedef enum ChannelResult
{
	CHANNEL_OK,
	CHANNEL_CLOSED, /* the sink takes no more */
	CHANNEL_FAILED /* no memory, or the engine failed */
} ChannelResult;

/* What the one who streams wants to hear beside segments. */
typedef struct ChannelNotes
{
	bool interim; /* UTTERANCE_INTERIM */
	bool begins; /* UTTERANCE_BEGINS */
	int ends_ms; /* UTTERANCE_ENDS after so much silence; 0: never */
} ChannelNotes;

/* What may be done with the segment that is being spoken, before it is complete. */
typedef enum ChannelAhead
{
	CHANNEL_NOTHING,
	CHANNEL_EARLY, /* it is in a pause, which may be its end: its text, if so, will be there */
	CHANNEL_INTERIM /* there is enough new of it for interim text */
} ChannelAhead;

/* What the channels of a stream have in common. */
typedef struct ChannelSetup
{
	int rate;
	int64_t first_seq;
	int pause_ms; /* as SegmenterInit has it */
	ChannelNotes notes;
	Recognizer *recognizer;
	Sink *sink;
} ChannelSetup;

typedef struct Channel
{
	int number;
	const char *speaker;
	char own_speaker[SPEAKER_MAX];
	int64_t next_seq;
	long recognised; /* segments with text, whether stored or not */
	const ChannelSetup *setup;
	Resampler *resampler; /* NULL: the stream has the models' rate already */
	Voice *voice;
	Segmenter segmenter;
	Hearing hearing; /* of the open segment */
	Interim interim;
	Recognition early; /* of the segment from early_start_ms to early_end_ms, in its pause */
	bool early_decoded; /* it has been, though early may have no text: nothing was said */
	int64_t early_start_ms;
	int64_t early_end_ms;
	int64_t interim_ms; /* where the last interim text was decoded */
	int64_t
		ended_ms; /* the voice of the last segment ended here and UTTERANCE_ENDS is due; or -1 */
} Channel;

/*
 * ChannelInit readies a channel; speaker NULL names it by its number. setup has to outlive it. Returns
 * false, with a report, on failure.
 */
extern bool ChannelInit(Channel *channel, int number, const char *speaker, Voice *voice,
						const ChannelSetup *setup);

/* ChannelFeed takes the next samples, at most VOICE_BLOCK, at the rate of the stream. */
extern ChannelResult ChannelFeed(Channel *channel, const float *samples, size_t length);

/* ChannelAheadDue tells what may be done now, and ChannelDecodeAhead does that. */
extern ChannelAhead ChannelAheadDue(const Channel *channel);
extern ChannelResult ChannelDecodeAhead(Channel *channel);

/* ChannelFlush ends the segment that is being spoken; the stream may go on. */
extern ChannelResult ChannelFlush(Channel *channel);

/* ChannelFinish transcribes what was heard up to the end of the stream. */
extern ChannelResult ChannelFinish(Channel *channel);

/* ChannelPartial copies the text so far of the open segment, for TextFree; NULL if there is none. */
extern char *ChannelPartial(const Channel *channel);

/* ChannelDestroy frees what is the channel's own; its voice goes back where it came from. */
extern void ChannelDestroy(Channel *channel);

#endif
