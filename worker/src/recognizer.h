/*
 * recognizer.h
 *	  Speech to text, one segment at a time.
 */
#ifndef CAUCE_RECOGNIZER_H
#define CAUCE_RECOGNIZER_H

#include <stdbool.h>
#include <stddef.h>

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
 * RecognizerDecode takes a segment at MODEL_RATE. *text becomes its text in valid UTF-8 without
 * control characters or white space at its ends, for TextFree, or NULL if nothing was said.
 * Returns false if there is no memory or the engine fails.
 */
extern bool RecognizerDecode(Recognizer *recognizer, const float *samples, size_t length,
							 char **text);

extern void RecognizerDestroy(Recognizer *recognizer);

#endif
