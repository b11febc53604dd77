/*
 * stream.c
 *	  Takes a stream apart into channels.
 */
#include "stream.h"

#include <inttypes.h>
#include <string.h>

#include "report.h"

#define MONO_SPEAKER "speaker"

/* Bytes of audio that are fed at a time: of them comes one segment a channel at most. */
#define PIECE_MS 100

/* Of Ogg Opus: at 6 kbit/s, as little as speech is ever coded with, these are 340 ms. */
#define OGG_PIECE ((size_t) 256)

static const unsigned char wavMagic[STREAM_MAGIC] = {'R', 'I', 'F', 'F'};
static const unsigned char oggMagic[STREAM_MAGIC] = {'O', 'g', 'g', 'S'};

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
	if (channel < stream->settings->speaker_count)
		return stream->settings->speakers[channel];
	return channels == 1 ? MONO_SPEAKER : NULL;
}

/* MakeChannels makes the channels, now that their number is known. */
static bool
MakeChannels(Stream *stream)
{
	int i;

	for (i = 0; i < stream->channel_count; i++)
	{
		stream->planes[i] = stream->lent[i]->block;
		if (!ChannelInit(&stream->channels[i], i, SpeakerOf(stream, i, stream->channel_count),
						 stream->lent[i], &stream->setup))
			return false;
	}
	return true;
}

/* StartAudio goes from the header to the audio. */
static bool
StartAudio(Stream *stream, int channels, int rate)
{
	stream->channel_count = channels;
	stream->setup.rate = stream->rate = rate;
	if (stream->settings->speaker_count > channels)
	{
		Fail(stream, STREAM_BAD, EXIT_USAGE, "has fewer channels than there are --speaker options");
		return false;
	}
	if (!VoicesTake(stream->voices, channels, stream->lent))
	{
		Fail(stream, STREAM_STOPPED, EXIT_INTERNAL, "has more channels than can be heard now");
		return false;
	}
	if (!MakeChannels(stream))
	{
		Fail(stream, STREAM_STOPPED, EXIT_INTERNAL, "could not be started: no memory");
		return false;
	}
	stream->started = true;
	EnterState(stream, STREAM_AUDIO);
	return true;
}

static bool
StartPcm(Stream *stream, const PcmFormat *format)
{
	PcmInit(&stream->pcm, format);
	return StartAudio(stream, format->channels, format->rate);
}

bool
StreamInit(Stream *stream, const StreamSettings *settings, const ChannelSetup *setup,
		   Voices *voices)
{
	memset(stream, 0, sizeof(*stream));
	stream->settings = settings;
	stream->setup = *setup;
	stream->voices = voices;
	stream->kind = settings->kind;
	return stream->kind != STREAM_RAW || StartPcm(stream, &settings->format);
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

/* FeedChannels hands the samples in the planes on, and wipes them. */
static bool
FeedChannels(Stream *stream, size_t frames)
{
	bool fed = true;
	int i;

	stream->frames += frames;
	for (i = 0; i < stream->channel_count && fed; i++)
		fed = NoteChannel(stream, ChannelFeed(&stream->channels[i], stream->planes[i], frames));
	for (i = 0; i < stream->channel_count; i++)
		ArenaWipe(stream->planes[i], frames * sizeof(float));
	return fed;
}

/* FeedAudio takes apart bytes of PCM. */
static bool
FeedAudio(Stream *stream, const unsigned char *bytes, size_t size)
{
	bool fed = true;

	while (fed && size > 0)
	{
		size_t used;
		size_t frames = PcmRead(&stream->pcm, bytes, size, &used, stream->planes, VOICE_BLOCK);

		bytes += used;
		size -= used;
		fed = FeedChannels(stream, frames);
	}
	return fed;
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
	if (stream->wav.state == WAV_DATA && !stream->started && !StartPcm(stream, &stream->wav.format))
		return false;
	if (audio > 0 && !FeedAudio(stream, bytes + done, audio))
		return false;
	if (audio > 0)
		WavTake(&stream->wav, audio);
	if (stream->wav.state == WAV_END)
		EnterState(stream, STREAM_TRAILER);
	return true;
}

static bool
FeedOgg(Stream *stream, const unsigned char *bytes, size_t size)
{
	OggReader *ogg = &stream->ogg;
	bool fed = true;
	size_t frames;

	if (!OggFeed(ogg, bytes, size))
	{
		Fail(stream, STREAM_STOPPED, EXIT_INTERNAL, "could not be read further: no memory");
		return false;
	}
	if (!stream->started && OggStart(ogg))
		fed = StartAudio(stream, ogg->channels, MODEL_RATE);
	while (fed && stream->started && (frames = OggNext(ogg, stream->planes, VOICE_BLOCK)) > 0)
		fed = FeedChannels(stream, frames);
	if (fed && ogg->state == OGG_BAD)
	{
		Fail(stream, STREAM_BAD, EXIT_BAD_AUDIO, ogg->problem);
		fed = false;
	}
	return fed;
}

/* FeedKind feeds what is known to be of a kind. */
static bool
FeedKind(Stream *stream, const unsigned char *bytes, size_t size)
{
	if (stream->state == STREAM_TRAILER || size == 0)
		return true;
	if (stream->kind == STREAM_OGG)
		return FeedOgg(stream, bytes, size);
	if (stream->kind == STREAM_WAV)
		return FeedWav(stream, bytes, size);
	return FeedAudio(stream, bytes, size);
}

/* StartKind starts what the first bytes turned out to be. */
static bool
StartKind(Stream *stream, StreamKind kind)
{
	stream->kind = kind;
	if (kind == STREAM_RAW)
		return StartPcm(stream, &stream->settings->format);
	EnterState(stream, STREAM_HEADER);
	WavInit(&stream->wav);
	if (kind == STREAM_WAV || OggInit(&stream->ogg))
		return true;
	Fail(stream, STREAM_STOPPED, EXIT_INTERNAL, "could not be read: no memory");
	return false;
}

/* Recognise tells what a stream is by its first bytes. */
static bool
Recognise(Stream *stream)
{
	bool wav = memcmp(stream->magic, wavMagic, STREAM_MAGIC) == 0;
	bool ogg = memcmp(stream->magic, oggMagic, STREAM_MAGIC) == 0;

	if (stream->settings->kind == STREAM_RAW)
	{
		if (!wav && !ogg)
			return true;
		Fail(stream, STREAM_BAD, EXIT_BAD_AUDIO,
			 wav ? "is a WAV file, which says its format itself; leave out --rate, --channels, "
				   "--format"
				 : "is an Ogg file, which says its format itself; leave out --rate, --channels, "
				   "--format");
		return false;
	}
	if (ogg)
		return StartKind(stream, STREAM_OGG);
	return StartKind(stream,
					 wav || stream->settings->kind == STREAM_CONTAINER ? STREAM_WAV : STREAM_RAW);
}

/* TakeMagic keeps the first bytes of a stream and returns how many of bytes those are. */
static size_t
TakeMagic(Stream *stream, const unsigned char *bytes, size_t size)
{
	size_t missing = STREAM_MAGIC - stream->magic_length;
	size_t taken = size < missing ? size : missing;

	memcpy(stream->magic + stream->magic_length, bytes, taken);
	stream->magic_length += taken;
	return taken;
}

bool
StreamFeed(Stream *stream, const unsigned char *bytes, size_t size)
{
	size_t taken = 0;
	bool fed = true;

	if (stream->state == STREAM_BAD || stream->state == STREAM_STOPPED)
		return false;
	stream->bytes += size;
	if (stream->magic_length < STREAM_MAGIC)
	{
		taken = TakeMagic(stream, bytes, size);
		if (stream->magic_length < STREAM_MAGIC)
			return true;
		fed = Recognise(stream) && FeedKind(stream, stream->magic, STREAM_MAGIC);
		ArenaWipe(stream->magic, STREAM_MAGIC);
	}
	return fed && FeedKind(stream, bytes + taken, size - taken);
}

size_t
StreamPutMax(const Stream *stream)
{
	int channels = stream->started ? stream->channel_count : PCM_CHANNELS_MAX;

	return (size_t) channels * CHANNEL_PUT_MAX;
}

size_t
StreamPiece(const Stream *stream)
{
	size_t piece;

	if (stream->kind == STREAM_OGG || !stream->started)
		return OGG_PIECE;
	piece = (size_t) stream->rate * PIECE_MS / 1000;
	return (piece < VOICE_BLOCK ? piece : VOICE_BLOCK) * PcmFrameSize(&stream->pcm.format);
}

/* MostDue finds the channel of which most is due; NULL if nothing is of any. */
static Channel *
MostDue(const Stream *stream, ChannelAhead *most)
{
	const Channel *found = NULL;
	int i;

	*most = CHANNEL_NOTHING;
	for (i = 0; stream->started && stream->state != STREAM_STOPPED && i < stream->channel_count;
		 i++)
	{
		ChannelAhead due = ChannelAheadDue(&stream->channels[i]);

		if (due == CHANNEL_NOTHING || (*most != CHANNEL_NOTHING && due >= *most))
			continue;
		*most = due;
		found = &stream->channels[i];
	}
	return (Channel *) found;
}

ChannelAhead
StreamAheadDue(const Stream *stream)
{
	ChannelAhead due;

	MostDue(stream, &due);
	return due;
}

bool
StreamDecodeAhead(Stream *stream)
{
	ChannelAhead due;
	Channel *channel = MostDue(stream, &due);

	return channel == NULL || NoteChannel(stream, ChannelDecodeAhead(channel));
}

bool
StreamFlush(Stream *stream)
{
	bool fed = stream->state != STREAM_BAD && stream->state != STREAM_STOPPED;
	int i;

	for (i = 0; stream->started && fed && i < stream->channel_count; i++)
		fed = NoteChannel(stream, ChannelFlush(&stream->channels[i]));
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

	for (i = 0; stream->started && finished && i < stream->channel_count; i++)
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
	return stream->started ? (double) stream->frames / stream->rate : 0.0;
}

void
StreamWipe(Stream *stream)
{
	int i;

	for (i = 0; i < PCM_CHANNELS_MAX; i++)
	{
		ChannelDestroy(&stream->channels[i]);
		if (stream->lent[i] != NULL)
			VoicesReturn(stream->voices, stream->lent[i]);
		stream->lent[i] = NULL;
		stream->planes[i] = NULL;
	}
	PcmWipe(&stream->pcm);
	ArenaWipe(stream->magic, STREAM_MAGIC);
	OggDestroy(&stream->ogg);
}
