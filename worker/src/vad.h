/*
 * vad.h
 *	  Voice activity detection (Silero), one detector a channel.
 */
#ifndef CAUCE_VAD_H
#define CAUCE_VAD_H

#include <stdbool.h>
#include <stddef.h>

#include "sherpa.h"

typedef struct Vad
{
	const SherpaOnnxVoiceActivityDetector *detector;
	int silent; /* frames without voice since the last one with it, or the last reset */
} Vad;

/* VadCreate loads the model. Returns false, with a report, if the engine does not take it. */
extern bool VadCreate(Vad *vad, const SherpaVadConfig *config);

/*
 * VadJudge takes the next SEGMENTER_FRAME samples and tells whether there is voice. The verdict
 * for a frame is late by one frame. Before these samples lie those of past frames.
 */
extern bool VadJudge(Vad *vad, const float *frame, size_t past);

/*
 * VadForget makes the detector ready for another stream: what it still held of the last one is
 * overwritten by silence.
 */
extern void VadForget(Vad *vad);

extern void VadDestroy(Vad *vad);

#endif
