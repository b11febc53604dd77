/*
 * stream.h
 *	  One stream of audio: from bytes as they arrive to its channels.
 *
 * States:	HEADER --format known--> AUDIO --end of data--> TRAILER
 *			HEADER, AUDIO --not audio--> BAD; HEADER, AUDIO --sink or engine ended--> STOPPED
 * A stream of raw PCM starts in AUDIO.
 */
#ifndef CAUCE_STREAM_H
#define CAUCE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "channel.h"
#include "options.h"
#include "pcm.h"
#include "wav.h"

typedef enum StreamState
{
	STREAM_HEADER,
	STREAM_AUDIO,
	STREAM_TRAILER, /* what follows the audio is passed over */
	STREAM_BAD, /* the stream is at fault: problem says how, after "the stream" */
	STREAM_STOPPED /* the sink has ended */
} StreamState;

typedef struct Stream
{
	StreamState state;
	const char *problem;
	ExitCode failure; /* why it is BAD or STOPPED, as far as the stream knows */
	const Options *options;
	ChannelSetup setup;
	WavReader wav;
	PcmReader pcm;
	bool started; /* the channels are there */
	Arena arena; /* the channels' */
	float *planes[PCM_CHANNELS_MAX];
	Channel channels[PCM_CHANNELS_MAX];
	uint64_t bytes; /* that arrived */
	uint64_t frames; /* of audio */
	size_t magic; /* how many bytes at the start of raw PCM look like a WAV file */
} Stream;

/*
 * StreamInit readies a stream. Of setup it takes models, recognizer, sink and first_seq. Returns
 * false if the channels of raw PCM cannot be made.
 */
extern bool StreamInit(Stream *stream, const Options *options, const ChannelSetup *setup);

/*
 * StreamFeed takes size bytes. Returns whether the stream goes on; when not, see state. What was
 * recognised before that is on its way to the database.
 */
extern bool StreamFeed(Stream *stream, const unsigned char *bytes, size_t size);

/*
 * StreamFinish transcribes what was heard up to the end, be it in the middle of a sample or of
 * a word, reports if that is not where the stream should end, and wipes the audio.
 */
extern void StreamFinish(Stream *stream);

/* StreamRecognised tells how many segments with text there were. */
extern long StreamRecognised(const Stream *stream);

/* StreamSeconds tells the length of the audio, all channels added up. */
extern double StreamSeconds(const Stream *stream);

/* StreamWipe wipes the audio and frees what held it; the counts stay. */
extern void StreamWipe(Stream *stream);

#endif
