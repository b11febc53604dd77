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

/* It counts samples in 32 bits, enough for 37 hours: reset it, in silence, once in 10 minutes. */
#define FRAMES_MAX (10 * 60 * MODEL_RATE / (int) SEGMENTER_FRAME)

/* More frames than the detector holds. */
#define FORGET_FRAMES 8

bool
VadCreate(Vad *vad, const SherpaVadConfig *config)
{
	vad->frames = 0;
	vad->detector = SherpaOnnxCreateVoiceActivityDetector(config, BUFFER_SECONDS);
	if (vad->detector == NULL)
		Report("the engine does not take the voice detection model");
	return vad->detector != NULL;
}

bool
VadJudge(Vad *vad, const float *frame)
{
	bool voice;

	SherpaOnnxVoiceActivityDetectorAcceptWaveform(vad->detector, frame, (int32_t) SEGMENTER_FRAME);
	voice = SherpaOnnxVoiceActivityDetectorDetected(vad->detector) != 0;
	SherpaOnnxVoiceActivityDetectorFlush(vad->detector);
	SherpaOnnxVoiceActivityDetectorClear(vad->detector);
	vad->frames++;
	if (!voice && vad->frames >= FRAMES_MAX)
	{
		SherpaOnnxVoiceActivityDetectorReset(vad->detector);
		vad->frames = 0;
	}
	return voice;
}

void
VadForget(Vad *vad)
{
	static const float silence[SEGMENTER_FRAME] = {0.0f};
	int i;

	for (i = 0; i < FORGET_FRAMES; i++)
		VadJudge(vad, silence);
	SherpaOnnxVoiceActivityDetectorReset(vad->detector);
	vad->frames = 0;
}

void
VadDestroy(Vad *vad)
{
	if (vad->detector != NULL)
		SherpaOnnxDestroyVoiceActivityDetector(vad->detector);
	vad->detector = NULL;
}
