/*
 * segmenter.c
 *	  Endpointing: where a segment of speech begins and ends.
 */
#include "segmenter.h"

#include <string.h>

#include "arena.h"
#include "resampler.h"

#define SAMPLES(milliseconds) ((int64_t) (milliseconds) *MODEL_RATE / 1000)

/* The detector says "voice" in the second frame that sounds like it: the first counts, too. */
#define DETECTION_LAG ((int64_t) SEGMENTER_FRAME)

#define LEAD SAMPLES(300) /* audio kept before the voice */
#define TRAIL SAMPLES(200) /* and after it, but no more than half of the pause */

/*
 * How long a pause has to be to end a segment. A short segment waits for a pause as between
 * sentences; the longer it gets, the shorter a pause will do: recognition is best on a sentence
 * or two, and few segments shall meet the longest length.
 */
typedef struct PauseRule
{
	int64_t length; /* of a segment up to which the rule holds */
	int64_t pause;
} PauseRule;

static const PauseRule pauseRules[] = {
	{SAMPLES(6000), SAMPLES(400)}, {SAMPLES(15000), SAMPLES(320)}, {INT64_MAX, SAMPLES(160)}};

/*
 * The recognizer is trained on up to 30 s. A segment that gets this long is cut at the quietest
 * place of its last part.
 */
#define LENGTH_MAX SAMPLES(24000)
#define CUT_SEARCH SAMPLES(6000)
#define CUT_WINDOW SAMPLES(60)

/* Less voice than this is a click or a cough: of such the recognizer makes words up. */
#define VOICED_MIN 3

/* Wiping silence moves memory: it is done when this much has come together. */
#define SILENCE_KEPT (LEAD + DETECTION_LAG)
#define SILENCE_MAX (SILENCE_KEPT + SAMPLES(500))

/* Room for the longest segment, the lead before it and what arrives while it is judged. */
#define CAPACITY (LENGTH_MAX + SILENCE_MAX + SAMPLES(1000))

/* EnterState is the one place where the state changes. */
static void
EnterState(Segmenter *segmenter, SegmenterState state)
{
	segmenter->state = state;
}

static int64_t
Min(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t
Max(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* Forget wipes everything before a position by moving the rest over it. */
static void
Forget(Segmenter *segmenter, int64_t position)
{
	size_t gone = (size_t) (position - segmenter->base);
	size_t kept = segmenter->length - gone;

	if (gone == 0)
		return;
	memmove(segmenter->audio, segmenter->audio + gone, kept * sizeof(float));
	ArenaWipe(segmenter->audio + kept, gone * sizeof(float));
	segmenter->base = position;
	segmenter->length = kept;
	segmenter->judged -= gone;
}

size_t
SegmenterCapacity(void)
{
	return (size_t) CAPACITY;
}

void
SegmenterInit(Segmenter *segmenter, float *audio, int pause_ms)
{
	memset(segmenter, 0, sizeof(*segmenter));
	if (pause_ms > 0)
		segmenter->pause = Max(SAMPLES(pause_ms), SAMPLES(SEGMENTER_PAUSE_MIN_MS));
	segmenter->audio = audio;
	segmenter->capacity = SegmenterCapacity();
}

float *
SegmenterTail(Segmenter *segmenter, size_t *room)
{
	*room = segmenter->capacity - segmenter->length;
	return segmenter->audio + segmenter->length;
}

void
SegmenterExtend(Segmenter *segmenter, size_t length)
{
	segmenter->length += length;
}

const float *
SegmenterFrame(const Segmenter *segmenter)
{
	if (segmenter->length - segmenter->judged < SEGMENTER_FRAME)
		return NULL;
	return segmenter->audio + segmenter->judged;
}

size_t
SegmenterPast(const Segmenter *segmenter)
{
	return segmenter->judged / SEGMENTER_FRAME;
}

static void
BeginVoice(Segmenter *segmenter, int64_t frame_start, int64_t frame_end)
{
	segmenter->voice_start = Max(frame_start - DETECTION_LAG, segmenter->base);
	segmenter->start = Max(segmenter->voice_start - LEAD, segmenter->base);
	segmenter->voice_end = frame_end;
	segmenter->voiced = 1;
	segmenter->continued = false;
	EnterState(segmenter, SEGMENTER_SPEECH);
}

static void
ContinueVoice(Segmenter *segmenter, int64_t frame_end)
{
	segmenter->voice_end = frame_end;
	segmenter->voiced++;
	EnterState(segmenter, SEGMENTER_SPEECH);
}

/* GiveOut describes the segment from its start to end, which becomes the next one's start. */
static void
GiveOut(Segmenter *segmenter, int64_t end, int64_t voice_end, Segment *segment)
{
	segment->samples = segmenter->audio + (segmenter->start - segmenter->base);
	segment->length = segment->certain = (size_t) (end - segmenter->start);
	segment->audio_ms = segmenter->start * 1000 / MODEL_RATE;
	segment->start_ms = segmenter->voice_start * 1000 / MODEL_RATE;
	segment->end_ms = voice_end * 1000 / MODEL_RATE;
	segment->pause = segmenter->state == SEGMENTER_SILENCE;
	segmenter->start = end;
}

/* Energy sums the squares of CUT_WINDOW samples. */
static float
Energy(const float *samples)
{
	float sum = 0.0f;
	int64_t i;

	for (i = 0; i < CUT_WINDOW; i++)
		sum += samples[i] * samples[i];
	return sum;
}

/* QuietestPlace finds where between two positions a cut hurts least. */
static int64_t
QuietestPlace(const Segmenter *segmenter, int64_t from, int64_t until)
{
	int64_t best = from;
	float least = -1.0f;
	int64_t place;

	for (place = from; place + CUT_WINDOW <= until; place += CUT_WINDOW / 2)
	{
		float energy = Energy(segmenter->audio + (place - segmenter->base));

		if (least < 0.0f || energy < least)
		{
			least = energy;
			best = place;
		}
	}
	return best + CUT_WINDOW / 2;
}

/* CutForLength ends a segment in the middle of speech; the rest begins the next one. */
static void
CutForLength(Segmenter *segmenter, int64_t frame_end, Segment *segment)
{
	int64_t end = QuietestPlace(segmenter, frame_end - CUT_SEARCH, frame_end);

	GiveOut(segmenter, end, Min(end, segmenter->voice_end), segment);
	segmenter->voice_start = end;
	segmenter->voice_end = Max(end, segmenter->voice_end);
	segmenter->continued = true;
	segmenter->voiced = 0;
}

static bool
IsSpeech(const Segmenter *segmenter)
{
	return segmenter->voiced >= VOICED_MIN || segmenter->continued;
}

/* TrailEnd gives the end of a segment whose pause is that up to a position. */
static int64_t
TrailEnd(const Segmenter *segmenter, int64_t position)
{
	return segmenter->voice_end + Min(TRAIL, (position - segmenter->voice_end) / 2);
}

/* CutAtPause ends a segment after its voice; returns false if it was too short to be speech. */
static bool
CutAtPause(Segmenter *segmenter, int64_t frame_end, Segment *segment)
{
	int64_t end = TrailEnd(segmenter, frame_end);

	EnterState(segmenter, SEGMENTER_SILENCE);
	if (!IsSpeech(segmenter))
		return false;
	GiveOut(segmenter, end, segmenter->voice_end, segment);
	return true;
}

/* PauseNeeded tells which pause ends a segment of a length. */
static int64_t
PauseNeeded(const Segmenter *segmenter, int64_t length)
{
	const PauseRule *rule = pauseRules;

	while (length > rule->length)
		rule++;
	if (segmenter->pause == 0)
		return rule->pause;
	return rule == pauseRules ? segmenter->pause : Min(segmenter->pause, rule->pause);
}

/* KeepLead wipes the silence that can no longer come before a segment. */
static void
KeepLead(Segmenter *segmenter)
{
	if ((int64_t) segmenter->judged > SILENCE_MAX)
		Forget(segmenter, segmenter->base + (int64_t) segmenter->judged - SILENCE_KEPT);
}

bool
SegmenterJudge(Segmenter *segmenter, bool voice, Segment *segment)
{
	int64_t frame_start = segmenter->base + (int64_t) segmenter->judged;
	int64_t frame_end = frame_start + (int64_t) SEGMENTER_FRAME;
	int64_t length;

	segmenter->judged += SEGMENTER_FRAME;
	if (segmenter->state == SEGMENTER_SILENCE)
	{
		if (voice)
			BeginVoice(segmenter, frame_start, frame_end);
		else
			KeepLead(segmenter);
		return false;
	}
	if (voice)
		ContinueVoice(segmenter, frame_end);
	else
		EnterState(segmenter, SEGMENTER_PAUSE);
	length = frame_end - segmenter->start;
	if (frame_end - segmenter->voice_end >= PauseNeeded(segmenter, length))
		return CutAtPause(segmenter, frame_end, segment);
	if (length < LENGTH_MAX)
		return false;
	CutForLength(segmenter, frame_end, segment);
	return true;
}

bool
SegmenterFlush(Segmenter *segmenter, Segment *segment)
{
	int64_t stream_end = segmenter->base + (int64_t) segmenter->length;

	if (segmenter->state == SEGMENTER_SILENCE ||
		(segmenter->state == SEGMENTER_PAUSE && !IsSpeech(segmenter)))
		return false;
	if (segmenter->state == SEGMENTER_SPEECH)
		segmenter->voice_end = stream_end;
	/* What has arrived, but not been judged, is part of the segment. */
	segmenter->judged = segmenter->length;
	EnterState(segmenter, SEGMENTER_SILENCE);
	GiveOut(segmenter, Min(stream_end, segmenter->voice_end + TRAIL), segmenter->voice_end,
			segment);
	return segment->length > 0;
}

bool
SegmenterOpen(const Segmenter *segmenter, Segment *segment)
{
	int64_t end = segmenter->base + (int64_t) segmenter->judged;

	if (segmenter->state == SEGMENTER_SILENCE || !IsSpeech(segmenter))
		return false;
	segment->samples = segmenter->audio + (segmenter->start - segmenter->base);
	segment->length = (size_t) (end - segmenter->start);
	segment->certain = (size_t) (TrailEnd(segmenter, end) - segmenter->start);
	segment->audio_ms = segmenter->start * 1000 / MODEL_RATE;
	segment->start_ms = segmenter->voice_start * 1000 / MODEL_RATE;
	segment->end_ms = segmenter->voice_end * 1000 / MODEL_RATE;
	segment->pause = false;
	return true;
}

int64_t
SegmenterNow(const Segmenter *segmenter)
{
	return (segmenter->base + (int64_t) segmenter->judged) * 1000 / MODEL_RATE;
}

void
SegmenterRelease(Segmenter *segmenter)
{
	Forget(segmenter, segmenter->start);
}
