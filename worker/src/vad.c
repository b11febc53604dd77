/*
 * vad.c
 *	  Asks the engine's voice activity detector about one frame after the other.
 */
#include "vad.h"

#include "report.h"
#include "resampler.h"
#include "segmenter.h"

/*
 * The detector gathers the audio of what it takes for one segment, which is of no use here: it is
 * made to give that up after every frame. What it still holds then are the last frames of silence,
 * three at most and each soon overwritten by another, and the frame in which it last heard voice;
 * with three before it, if that frame stood alone.
 */
#define BUFFER_SECONDS (4.0f * (float) SEGMENTER_FRAME / MODEL_RATE)

/*
 * What the detector has heard for long it takes for the background: after music, be it over, it is deaf to a voice
 * for seconds. So it is reset when it has heard none for 4 s, and hears the last frames again, among which a voice
 * may have begun. (It also counts samples, in 32 bits.)
 */
#define SILENT_MAX (4 * MODEL_RATE / (int) SEGMENTER_FRAME)
#define AGAIN_FRAMES ((size_t) 8)

/* More frames than the detector holds. */
#define FORGET_FRAMES 8

/*
 * A detector that has heard nothing yet is up to 0.4 s late to find a voice, which then is in its first
 * frames: the word is cut. One frame of silence is enough to wake it up.
 */
#define SETTLE_FRAMES 4

/* Hear gives the detector a frame and returns whether that has voice. */
static bool
Hear(Vad *vad, const float *frame)
{
	bool voice;

	SherpaOnnxVoiceActivityDetectorAcceptWaveform(vad->detector, frame, (int32_t) SEGMENTER_FRAME);
	voice = SherpaOnnxVoiceActivityDetectorDetected(vad->detector) != 0;
	SherpaOnnxVoiceActivityDetectorFlush(vad->detector);
	SherpaOnnxVoiceActivityDetectorClear(vad->detector);
	return voice;
}

static void
HearSilence(Vad *vad, int frames)
{
	static const float silence[SEGMENTER_FRAME] = {0.0f};

	while (frames-- > 0)
		Hear(vad, silence);
}

/* Settle readies a detector that is new or has been reset. */
static void
Settle(Vad *vad)
{
	vad->silent = 0;
	HearSilence(vad, SETTLE_FRAMES);
}

bool
VadCreate(Vad *vad, const SherpaVadConfig *config)
{
	vad->detector = SherpaOnnxCreateVoiceActivityDetector(config, BUFFER_SECONDS);
	if (vad->detector == NULL)
	{
		Report("the engine does not take the voice detection model");
		return false;
	}
	Settle(vad);
	return true;
}

/* StartAfresh resets the detector and returns whether it hears a voice in a frame then. */
static bool
StartAfresh(Vad *vad, const float *frame, size_t past)
{
	size_t again = past < AGAIN_FRAMES ? past : AGAIN_FRAMES;

	SherpaOnnxVoiceActivityDetectorReset(vad->detector);
	Settle(vad);
	for (frame -= again * SEGMENTER_FRAME; again > 0; again--)
	{
		Hear(vad, frame);
		frame += SEGMENTER_FRAME;
	}
	return Hear(vad, frame);
}

bool
VadJudge(Vad *vad, const float *frame, size_t past)
{
	bool voice = Hear(vad, frame);

	vad->silent = voice ? 0 : vad->silent + 1;
	return vad->silent < SILENT_MAX ? voice : StartAfresh(vad, frame, past);
}

void
VadForget(Vad *vad)
{
	HearSilence(vad, FORGET_FRAMES);
	SherpaOnnxVoiceActivityDetectorReset(vad->detector);
	Settle(vad);
}

void
VadDestroy(Vad *vad)
{
	if (vad->detector != NULL)
		SherpaOnnxDestroyVoiceActivityDetector(vad->detector);
	vad->detector = NULL;
}
