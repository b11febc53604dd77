/*
 * recognizer.h
 *	  Speech to text, one segment at a time.
 */
#ifndef CAUCE_RECOGNIZER_H
#define CAUCE_RECOGNIZER_H

#include <stdbool.h>
#include <stddef.h>

#include "recognition.h"
#include "sherpa.h"

typedef struct Recognizer
{
	const SherpaOnnxOfflineRecognizer *engine;
} Recognizer;

/*
 * RecognizerCreate loads the models. Returns false, with a report, if the engine does not take
 * them.
 */
extern bool RecognizerCreate(Recognizer *recognizer, const SherpaOfflineRecognizerConfig *config);

/*
 * RecognizerDecode takes a segment at MODEL_RATE and says what is in it, for RecognitionFree. Returns
 * false if there is no memory or the engine fails; there is nothing to free then.
 */
extern bool RecognizerDecode(Recognizer *recognizer, const float *samples, size_t length,
							 Recognition *said);

extern void RecognizerDestroy(Recognizer *recognizer);

#endif
