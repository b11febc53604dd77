/*
 * vad.c
 *	  Asks the engine's voice activity detector about one frame after the other.
 */
#include "vad.h"

#include "report.h"
#include "resampler.h"
#include "segmenter.h"

/*
 * The detector gathers the audio of what it takes for one segment, which is of no use here, and
 * complains when that outgrows its buffer. In speech without the shortest gap it is reset before,
 * and the frames that it then needs to hear voice again are taken for voice.
 */
#define BUFFER_SECONDS 30.0f
#define VOICED_FRAMES_MAX (28 * MODEL_RATE / (int) SEGMENTER_FRAME)
#define HELD_FRAMES 10

/* It counts samples in 32 bits, enough for 37 hours: reset it, in silence, once in 10 minutes. */
#define FRAMES_MAX (10 * 60 * MODEL_RATE / (int) SEGMENTER_FRAME)

bool
VadCreate(Vad *vad, const SherpaVadConfig *config)
{
	vad->frames = 0;
	vad->voiced = 0;
	vad->held = 0;
	vad->detector = SherpaOnnxCreateVoiceActivityDetector(config, BUFFER_SECONDS);
	if (vad->detector == NULL)
		Report("the engine does not take the voice detection model");
	return vad->detector != NULL;
}

static void
Reset(Vad *vad)
{
	SherpaOnnxVoiceActivityDetectorReset(vad->detector);
	vad->frames = 0;
	vad->voiced = 0;
}

bool
VadJudge(Vad *vad, const float *frame)
{
	bool voice;

	SherpaOnnxVoiceActivityDetectorAcceptWaveform(vad->detector, frame, (int32_t) SEGMENTER_FRAME);
	voice = SherpaOnnxVoiceActivityDetectorDetected(vad->detector) != 0;
	SherpaOnnxVoiceActivityDetectorClear(vad->detector);
	vad->frames++;
	vad->voiced = voice ? vad->voiced + 1 : 0;
	if (vad->voiced >= VOICED_FRAMES_MAX)
	{
		Reset(vad);
		vad->held = HELD_FRAMES;
		return true;
	}
	if (!voice && vad->frames >= FRAMES_MAX)
		Reset(vad);
	if (vad->held == 0)
		return voice;
	vad->held--;
	return true;
}

void
VadDestroy(Vad *vad)
{
	if (vad->detector != NULL)
		SherpaOnnxDestroyVoiceActivityDetector(vad->detector);
	vad->detector = NULL;
}
