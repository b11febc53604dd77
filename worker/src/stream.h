/*
 * stream.h
 *	  One stream of audio: from bytes as they arrive to its channels.
 *
 * States:	START --raw PCM--> AUDIO; START --first bytes of a container--> HEADER
 *			HEADER --format known--> AUDIO --end of data--> TRAILER
 *			START, HEADER, AUDIO --not audio--> BAD; any but BAD --sink or engine ended--> STOPPED
 */
#ifndef CAUCE_STREAM_H
#define CAUCE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "channel.h"
#include "exitcode.h"
#include "ogg.h"
#include "pcm.h"
#include "wav.h"

typedef enum StreamState
{
	STREAM_START,
	STREAM_HEADER,
	STREAM_AUDIO,
	STREAM_TRAILER, /* what follows the audio is passed over */
	STREAM_BAD, /* the stream is at fault: problem says how, after "the stream" */
	STREAM_STOPPED /* the sink has ended, or there is no room or memory */
} StreamState;

typedef enum StreamKind
{
	STREAM_RAW, /* PCM of a format that is known */
	STREAM_CONTAINER, /* WAV or Ogg Opus, as its first bytes say */
	STREAM_ANY, /* the one or, if the first bytes say nothing, the other */
	/* What STREAM_CONTAINER and STREAM_ANY turn out to be: */
	STREAM_WAV,
	STREAM_OGG
} StreamKind;

/* What is said of a stream before it starts. */
typedef struct StreamSettings
{
	StreamKind kind;
	PcmFormat format; /* of raw PCM */
	const char *speakers[PCM_CHANNELS_MAX]; /* they outlive the stream */
	int speaker_count;
	int offset_ms; /* where in its session it begins */
} StreamSettings;

#define STREAM_OFFSET_MAX_MS (7 * 24 * 3600 * 1000)

#define STREAM_MAGIC ((size_t) 4) /* bytes that tell a container */

typedef struct Stream
{
	StreamState state;
	const char *problem;
	ExitCode failure; /* why it is BAD or STOPPED, as far as the stream knows */
	const StreamSettings *settings;
	StreamKind kind;
	ChannelSetup setup;
	Voices *voices;
	unsigned char magic[STREAM_MAGIC];
	size_t magic_length;
	WavReader wav;
	OggReader ogg;
	PcmReader pcm;
	bool started; /* the channels are there */
	int channel_count;
	int rate;
	float *planes[PCM_CHANNELS_MAX];
	Voice *lent[PCM_CHANNELS_MAX];
	Channel channels[PCM_CHANNELS_MAX];
	uint64_t bytes; /* that arrived */
	uint64_t frames; /* of audio */
} Stream;

/*
 * StreamInit readies a stream, which borrows its voices from voices. Of setup it takes all but the
 * rate. Returns false if the channels of raw PCM cannot be made.
 */
extern bool StreamInit(Stream *stream, const StreamSettings *settings, const ChannelSetup *setup,
					   Voices *voices);

/*
 * StreamFeed takes size bytes. Returns whether the stream goes on; when not, see state. What was
 * recognised before that is on its way to the database.
 */
extern bool StreamFeed(Stream *stream, const unsigned char *bytes, size_t size);

/*
 * StreamPutMax tells how many utterances StreamFeed puts in the sink's queue at most, for size bytes,
 * and StreamFlush and StreamFinish.
 */
extern size_t StreamPutMax(const Stream *stream);

/* StreamPiece tells how many bytes StreamPutMax holds for. */
extern size_t StreamPiece(const Stream *stream);

/* StreamAheadDue tells what is most due of ChannelAheadDue's; StreamDecodeAhead is as StreamFeed. */
extern ChannelAhead StreamAheadDue(const Stream *stream);
extern bool StreamDecodeAhead(Stream *stream);

/* StreamFlush transcribes what was heard up to now. Returns whether the stream goes on. */
extern bool StreamFlush(Stream *stream);

/*
 * StreamFinish transcribes what was heard up to the end, be it in the middle of a sample or of
 * a word, reports if that is not where the stream should end, and wipes the audio.
 */
extern void StreamFinish(Stream *stream);

/* StreamRecognised tells how many segments with text there were. */
extern long StreamRecognised(const Stream *stream);

/* StreamSeconds tells the length of the audio of one channel. */
extern double StreamSeconds(const Stream *stream);

/* StreamWipe wipes the audio and gives back what held it; the counts stay. */
extern void StreamWipe(Stream *stream);

#endif
