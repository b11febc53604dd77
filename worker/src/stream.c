/*
 * stream.c
 *	  Takes a stream apart into channels.
 */
#include "stream.h"

#include <inttypes.h>
#include <string.h>

#include "report.h"

#define BLOCK_FRAMES ((size_t) 1024) /* frames that are taken apart at a time */
#define MONO_SPEAKER "speaker"

static const unsigned char wavMagic[4] = {'R', 'I', 'F', 'F'};

/* EnterState is the one place where the state changes. */
static void
EnterState(Stream *stream, StreamState state)
{
	stream->state = state;
}

static void
Fail(Stream *stream, StreamState state, ExitCode failure, const char *problem)
{
	stream->failure = failure;
	stream->problem = problem;
	EnterState(stream, state);
}

static const char *
SpeakerOf(const Stream *stream, int channel, int channels)
{
	if (channel < stream->options->speaker_count)
		return stream->options->speakers[channel];
	return channels == 1 ? MONO_SPEAKER : NULL;
}

/* MakeChannels makes the channels and locks memory for them, now that their number is known. */
static bool
MakeChannels(Stream *stream, const PcmFormat *format)
{
	size_t plane = BLOCK_FRAMES * sizeof(float);
	int i;

	if (!ArenaCreate(&stream->arena,
					 (size_t) format->channels * (ChannelRoom() + ArenaRoom(plane))))
		return false;
	stream->setup.arena = &stream->arena;
	stream->setup.rate = format->rate;
	for (i = 0; i < format->channels; i++)
	{
		stream->planes[i] = ArenaTake(&stream->arena, plane);
		if (!ChannelInit(&stream->channels[i], i, SpeakerOf(stream, i, format->channels),
						 &stream->setup))
			return false;
	}
	return true;
}

/* StartAudio goes from the header to the audio. */
static bool
StartAudio(Stream *stream, const PcmFormat *format)
{
	PcmInit(&stream->pcm, format);
	stream->started = MakeChannels(stream, format);
	if (!stream->started)
	{
		Fail(stream, STREAM_STOPPED, EXIT_INTERNAL, NULL);
		return false;
	}
	EnterState(stream, STREAM_AUDIO);
	return true;
}

bool
StreamInit(Stream *stream, const Options *options, const ChannelSetup *setup)
{
	memset(stream, 0, sizeof(*stream));
	stream->options = options;
	stream->setup = *setup;
	WavInit(&stream->wav);
	return !options->raw || StartAudio(stream, &options->format);
}

/* NoteChannel turns what a channel says into the stream's state. */
static bool
NoteChannel(Stream *stream, ChannelResult result)
{
	if (result == CHANNEL_CLOSED)
		Fail(stream, STREAM_STOPPED, EXIT_STORED, NULL);
	else if (result == CHANNEL_FAILED)
		Fail(stream, STREAM_STOPPED, EXIT_ENGINE,
			 "could not be transcribed further: the engine failed or memory ran out");
	return result == CHANNEL_OK;
}

/* FeedAudio takes apart bytes of audio. */
static bool
FeedAudio(Stream *stream, const unsigned char *bytes, size_t size)
{
	size_t plane = BLOCK_FRAMES * sizeof(float);
	int channels = stream->pcm.format.channels;
	bool fed = true;
	int i;

	while (fed && size > 0)
	{
		size_t used;
		size_t frames = PcmRead(&stream->pcm, bytes, size, &used, stream->planes, BLOCK_FRAMES);

		bytes += used;
		size -= used;
		stream->frames += frames;
		for (i = 0; i < channels && fed; i++)
			fed = NoteChannel(stream, ChannelFeed(&stream->channels[i], stream->planes[i], frames));
		for (i = 0; i < channels; i++)
			ArenaWipe(stream->planes[i], plane);
	}
	return fed;
}

/* LooksLikeWav watches the first bytes of raw PCM for the mark of a WAV file. */
static bool
LooksLikeWav(Stream *stream, const unsigned char *bytes, size_t size)
{
	size_t i;

	for (i = 0; i < size && stream->magic == stream->bytes + i && stream->magic < 4; i++)
	{
		if (bytes[i] == wavMagic[stream->magic])
			stream->magic++;
	}
	return stream->magic == sizeof(wavMagic);
}

static bool
FeedRaw(Stream *stream, const unsigned char *bytes, size_t size)
{
	if (stream->bytes < sizeof(wavMagic) && LooksLikeWav(stream, bytes, size))
	{
		Fail(stream, STREAM_BAD, EXIT_BAD_AUDIO,
			 "is a WAV file, which says its format itself; leave out --rate, --channels, --format");
		return false;
	}
	return FeedAudio(stream, bytes, size);
}

/* StartWav is StartAudio for the format that a WAV header gave. */
static bool
StartWav(Stream *stream)
{
	if (stream->options->speaker_count > stream->wav.format.channels)
	{
		Fail(stream, STREAM_BAD, EXIT_USAGE, "has fewer channels than there are --speaker options");
		return false;
	}
	return StartAudio(stream, &stream->wav.format);
}

static bool
FeedWav(Stream *stream, const unsigned char *bytes, size_t size)
{
	size_t audio;
	size_t done = WavRead(&stream->wav, bytes, size, &audio);

	if (stream->wav.state == WAV_BAD)
	{
		Fail(stream, STREAM_BAD, EXIT_BAD_AUDIO, stream->wav.problem);
		return false;
	}
	if (stream->wav.state == WAV_DATA && !stream->started && !StartWav(stream))
		return false;
	if (audio > 0 && !FeedAudio(stream, bytes + done, audio))
		return false;
	if (audio > 0)
		WavTake(&stream->wav, audio);
	if (stream->wav.state == WAV_END)
		EnterState(stream, STREAM_TRAILER);
	return true;
}

bool
StreamFeed(Stream *stream, const unsigned char *bytes, size_t size)
{
	bool fed = true;

	if (stream->state == STREAM_BAD || stream->state == STREAM_STOPPED)
		return false;
	if (stream->options->raw)
		fed = FeedRaw(stream, bytes, size);
	else if (stream->state != STREAM_TRAILER)
		fed = FeedWav(stream, bytes, size);
	stream->bytes += size;
	return fed;
}

/* CheckEnd reports an end that is not at the end of a sample or of the promised audio. */
static void
CheckEnd(Stream *stream)
{
	size_t partial = PcmWipe(&stream->pcm);
	uint64_t missing = WavMissing(&stream->wav);

	if (stream->frames > 0 && missing > 0)
		Report("the stream ended %" PRIu64 " bytes before the end that its header gives; "
			   "what arrived is transcribed",
			   missing);
	else if (stream->frames > 0 && partial > 0)
		Report("the stream ended inside a sample; its %zu bytes are left out, the rest is "
			   "transcribed",
			   partial);
	if (stream->frames == 0 && stream->bytes == 0)
		Fail(stream, STREAM_BAD, EXIT_BAD_AUDIO, "is empty; check the program that records");
	else if (stream->frames == 0)
		Fail(stream, STREAM_BAD, EXIT_BAD_AUDIO,
			 "ended before any audio; check the program that records");
}

/* FinishChannels transcribes what each channel has heard. */
static void
FinishChannels(Stream *stream)
{
	bool finished = true;
	int i;

	for (i = 0; stream->started && finished && i < stream->pcm.format.channels; i++)
		finished = NoteChannel(stream, ChannelFinish(&stream->channels[i]));
	if (finished)
		CheckEnd(stream);
}

void
StreamFinish(Stream *stream)
{
	if (stream->state != STREAM_BAD && stream->state != STREAM_STOPPED)
		FinishChannels(stream);
	StreamWipe(stream);
}

long
StreamRecognised(const Stream *stream)
{
	long recognised = 0;
	int i;

	for (i = 0; i < PCM_CHANNELS_MAX; i++)
		recognised += stream->channels[i].recognised;
	return recognised;
}

double
StreamSeconds(const Stream *stream)
{
	if (!stream->started)
		return 0.0;
	return (double) stream->frames / stream->pcm.format.rate * stream->pcm.format.channels;
}

void
StreamWipe(Stream *stream)
{
	int i;

	for (i = 0; i < PCM_CHANNELS_MAX; i++)
		ChannelDestroy(&stream->channels[i]);
	PcmWipe(&stream->pcm);
	ArenaDestroy(&stream->arena);
}
