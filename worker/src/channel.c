/*
 * channel.c
 *	  The way of one channel's samples to rows.
 */
#include "channel.h"

#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "signals.h"
#include "text.h"

#define PUT_TIMEOUT_MS 200 /* how soon a second signal is noticed while the queue is full */

/* An open segment is decoded anew when this much has been added, and half of what it had. */
#define INTERIM_MIN_MS 700

/*
 * A segment ends after a pause. It is decoded early in the pause already, so that its text is there when
 * the pause turns out to be its end: what follows in the pause is silence.
 */
#define EARLY_MS 128

/* Notes stay out of a queue that is this full: segments come first. */
#define QUEUE_CROWDED (QUEUE_MAX / 2)

#define NOT_ENDED (-1)

/* libsoxr keeps what it was given in one piece: what it has been given in small ones it overwrites. */
#define RESAMPLE_MS 20

bool
ChannelInit(Channel *channel, int number, const char *speaker, Voice *voice,
			const ChannelSetup *setup)
{
	memset(channel, 0, sizeof(*channel));
	channel->number = number;
	snprintf(channel->own_speaker, sizeof(channel->own_speaker), "channel %d", number);
	channel->speaker = speaker == NULL ? channel->own_speaker : speaker;
	channel->next_seq = setup->first_seq;
	channel->setup = setup;
	channel->voice = voice;
	channel->ended_ms = NOT_ENDED;
	SegmenterInit(&channel->segmenter, voice->audio, setup->pause_ms);
	return setup->rate == MODEL_RATE || (channel->resampler = ResamplerCreate(setup->rate)) != NULL;
}

/* Put hands an utterance to the sink, and waits while that is full; it takes over what was said. */
static ChannelResult
Put(Channel *channel, const Utterance *utterance)
{
	Sink *sink = channel->setup->sink;

	while (!QueuePut(&sink->queue, utterance, PUT_TIMEOUT_MS))
	{
		if (SignalsCount() >= 2)
			SinkAbandon(sink);
		if (QueueBroken(&sink->queue))
		{
			UtteranceFree(utterance);
			return CHANNEL_CLOSED;
		}
	}
	return CHANNEL_OK;
}

/* PutNote is Put for a note, which is left out where there is a crowd. */
static ChannelResult
PutNote(Channel *channel, const Utterance *note)
{
	if (QueueCount(&channel->setup->sink->queue) < QUEUE_CROWDED)
		return Put(channel, note);
	UtteranceFree(note);
	return CHANNEL_OK;
}

static void
ForgetEarly(Channel *channel)
{
	RecognitionFree(&channel->early);
	channel->early_decoded = false;
}

/* Recognise says what is in a segment, or in what there is of it, by the clock of the stream. */
static bool
Recognise(Channel *channel, const Segment *segment, bool complete, Recognition *said)
{
	if (!RecognizerDecode(channel->setup->recognizer, &channel->hearing, segment->samples,
						  segment->length, complete, said))
		return false;
	RecognitionPlace(said, segment->audio_ms, segment->start_ms, segment->end_ms);
	return true;
}

/* Decode recognises a complete segment, unless that has been done in its pause. */
static bool
Decode(Channel *channel, const Segment *segment, Recognition *said)
{
	if (channel->early_decoded && segment->pause && channel->early_start_ms == segment->start_ms &&
		channel->early_end_ms == segment->end_ms)
	{
		*said = channel->early;
		channel->early = (Recognition){.text = NULL};
		return true;
	}
	return Recognise(channel, segment, true, said);
}

/* Transcribe recognises a segment, wipes its audio and hands on its text. */
static ChannelResult
Transcribe(Channel *channel, const Segment *segment, bool flushed)
{
	Utterance utterance = {.kind = UTTERANCE_SEGMENT,
						   .flushed = flushed,
						   .pause = segment->pause,
						   .channel = channel->number,
						   .speaker = channel->speaker,
						   .start_ms = segment->start_ms,
						   .end_ms = segment->end_ms,
						   .spoken_ms =
							   ClockMs() - SegmenterNow(&channel->segmenter) + segment->end_ms};
	bool decoded = Decode(channel, segment, &utterance.said);

	SegmenterRelease(&channel->segmenter);
	InterimReset(&channel->interim);
	ForgetEarly(channel);
	if (!decoded)
		return CHANNEL_FAILED;
	if (utterance.said.text == NULL)
		return CHANNEL_OK;
	utterance.seq = channel->next_seq++;
	channel->recognised++;
	channel->ended_ms = channel->setup->notes.ends_ms > 0 ? segment->end_ms : NOT_ENDED;
	return Put(channel, &utterance);
}

/* NoteBegin tells that somebody began to speak. */
static ChannelResult
NoteBegin(Channel *channel)
{
	Utterance note = {.kind = UTTERANCE_BEGINS,
					  .channel = channel->number,
					  .start_ms = channel->segmenter.voice_start * 1000 / MODEL_RATE};

	channel->ended_ms = NOT_ENDED;
	channel->interim_ms = note.start_ms;
	return channel->setup->notes.begins ? PutNote(channel, &note) : CHANNEL_OK;
}

/* NoteEnd tells, once, that it has been silent for long. */
static ChannelResult
NoteEnd(Channel *channel)
{
	Utterance note = {
		.kind = UTTERANCE_ENDS, .channel = channel->number, .end_ms = channel->ended_ms};

	if (channel->ended_ms == NOT_ENDED || channel->segmenter.state != SEGMENTER_SILENCE ||
		SegmenterNow(&channel->segmenter) - channel->ended_ms < channel->setup->notes.ends_ms)
		return CHANNEL_OK;
	channel->ended_ms = NOT_ENDED;
	return PutNote(channel, &note);
}

/* Judge takes the next frame and transcribes what it completes. */
static ChannelResult
Judge(Channel *channel, const float *frame)
{
	SegmenterState before = channel->segmenter.state;
	bool voice = VadJudge(&channel->voice->vad, frame, SegmenterPast(&channel->segmenter));
	ChannelResult result = CHANNEL_OK;
	Segment segment;

	if (SegmenterJudge(&channel->segmenter, voice, &segment))
		result = Transcribe(channel, &segment, false);
	if (result == CHANNEL_OK && before == SEGMENTER_SILENCE &&
		channel->segmenter.state == SEGMENTER_SPEECH)
		result = NoteBegin(channel);
	return result == CHANNEL_OK ? NoteEnd(channel) : result;
}

/* Listen judges the frames that are there. */
static ChannelResult
Listen(Channel *channel)
{
	ChannelResult result = CHANNEL_OK;
	const float *frame;

	while (result == CHANNEL_OK && (frame = SegmenterFrame(&channel->segmenter)) != NULL)
		result = Judge(channel, frame);
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
		size_t piece = (size_t) channel->setup->rate * RESAMPLE_MS / 1000;

		if (!ResamplerRun(channel->resampler, samples, length < piece ? length : piece, used, tail,
						  room, made))
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

/* EarlyIsDue tells whether the open segment is in a pause in which it has not been decoded. */
static bool
EarlyIsDue(const Channel *channel, const Segment *open)
{
	return channel->segmenter.state == SEGMENTER_PAUSE &&
		   SegmenterNow(&channel->segmenter) - open->end_ms >= EARLY_MS &&
		   !(channel->early_decoded && channel->early_end_ms == open->end_ms &&
			 channel->early_start_ms == open->start_ms);
}

/* InterimIsDue tells whether there is enough new of the open segment to show. */
static bool
InterimIsDue(const Channel *channel, const Segment *open)
{
	int64_t added = open->end_ms - channel->interim_ms;
	int64_t had = channel->interim_ms - open->start_ms;

	/* In a pause the text that is decoded early does. */
	return channel->setup->notes.interim && channel->segmenter.state == SEGMENTER_SPEECH &&
		   added >= INTERIM_MIN_MS && added * 2 >= had;
}

/* KeepEarly takes over what was recognised of a segment that may be complete. */
static void
KeepEarly(Channel *channel, const Segment *open, const Recognition *said)
{
	ForgetEarly(channel);
	channel->early = *said;
	channel->early_decoded = true;
	channel->early_start_ms = open->start_ms;
	channel->early_end_ms = open->end_ms;
}

/*
 * MakeInterim makes interim text of what was recognised of the open segment. It has the times of words
 * unless words of an earlier text stay in it. Returns false if there is nothing new, or no memory.
 */
static bool
MakeInterim(Channel *channel, const Recognition *said, Recognition *interim)
{
	Recognition copy;
	char *text;
	bool new;

	if (said->text == NULL || !RecognitionCopy(&copy, said))
		return false;
	if (RecognizerStreams(channel->setup->recognizer))
		new = InterimGrow(&channel->interim, said->text, &text);
	else
		new = InterimTake(&channel->interim, strdup(said->text), &text);
	if (!new || strcmp(text, said->text) != 0)
		RecognitionFree(&copy);
	if (!new)
		return false;
	TextFree(copy.text);
	copy.text = text;
	*interim = copy;
	return true;
}

/* ShowInterim shows what was recognised of the open segment, if that is asked for. */
static ChannelResult
ShowInterim(Channel *channel, const Segment *open, const Recognition *said)
{
	Utterance note = {.kind = UTTERANCE_INTERIM,
					  .channel = channel->number,
					  .start_ms = open->start_ms,
					  .end_ms = open->end_ms};

	if (!channel->setup->notes.interim)
		return CHANNEL_OK;
	channel->interim_ms = open->end_ms;
	return MakeInterim(channel, said, &note.said) ? PutNote(channel, &note) : CHANNEL_OK;
}

/* AheadDue is ChannelAheadDue; unless that is nothing, it gives the open segment. */
static ChannelAhead
AheadDue(const Channel *channel, Segment *open)
{
	if (RecognizerStreams(channel->setup->recognizer) || !SegmenterOpen(&channel->segmenter, open))
		return CHANNEL_NOTHING;
	if (EarlyIsDue(channel, open))
		return CHANNEL_EARLY;
	return InterimIsDue(channel, open) ? CHANNEL_INTERIM : CHANNEL_NOTHING;
}

ChannelAhead
ChannelAheadDue(const Channel *channel)
{
	Segment open;

	return AheadDue(channel, &open);
}

ChannelResult
ChannelDecodeAhead(Channel *channel)
{
	Segment open;
	ChannelAhead due = AheadDue(channel, &open);
	ChannelResult result;
	Recognition said;

	if (due == CHANNEL_NOTHING)
		return CHANNEL_OK;
	if (!Recognise(channel, &open, false, &said))
		return CHANNEL_FAILED;
	result = ShowInterim(channel, &open, &said);
	if (due == CHANNEL_EARLY)
		KeepEarly(channel, &open, &said);
	else
		RecognitionFree(&said);
	return result;
}

/*
 * Follow lets a streaming model hear what has come of the open segment, and shows what it makes of that. What
 * may turn out to lie behind the segment's end it is not given.
 */
static ChannelResult
Follow(Channel *channel)
{
	const Recognizer *recognizer = channel->setup->recognizer;
	ChannelResult result;
	Recognition said;
	Segment open;
	bool news;

	if (!RecognizerStreams(recognizer) || !SegmenterOpen(&channel->segmenter, &open))
		return CHANNEL_OK;
	open.length = open.certain;
	if (!RecognizerHear(recognizer, &channel->hearing, open.samples, open.length, &news))
		return CHANNEL_FAILED;
	if (!news || !channel->setup->notes.interim)
		return CHANNEL_OK;
	if (!Recognise(channel, &open, false, &said))
		return CHANNEL_FAILED;
	result = ShowInterim(channel, &open, &said);
	RecognitionFree(&said);
	return result;
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
	return result == CHANNEL_OK ? Follow(channel) : result;
}

ChannelResult
ChannelFlush(Channel *channel)
{
	Segment segment;

	if (SegmenterFlush(&channel->segmenter, &segment))
		return Transcribe(channel, &segment, true);
	return CHANNEL_OK;
}

ChannelResult
ChannelFinish(Channel *channel)
{
	ChannelResult result = CHANNEL_OK;
	size_t used;
	size_t made;

	do
		result = Resample(channel, NULL, 0, &used, &made);
	while (result == CHANNEL_OK && made > 0);
	return result == CHANNEL_OK ? ChannelFlush(channel) : result;
}

char *
ChannelPartial(const Channel *channel)
{
	return channel->interim.shown == NULL ? NULL : strdup(channel->interim.shown);
}

void
ChannelDestroy(Channel *channel)
{
	if (channel->resampler != NULL)
		ResamplerDestroy(channel->resampler);
	channel->resampler = NULL;
	InterimReset(&channel->interim);
	ForgetEarly(channel);
	if (channel->setup != NULL)
		RecognizerForget(channel->setup->recognizer, &channel->hearing);
}
