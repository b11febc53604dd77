/*
 * recognizer.h
 *	  Speech to text, one segment at a time.
 *
 * There are two kinds of models, with a file each, behind the same few functions: an offline one
 * (offline.c) is given a segment as a whole, and all of it anew for its text so far; a streaming one
 * (streaming.c) is given what is added, and keeps what it made of the rest.
 */
#ifndef CAUCE_RECOGNIZER_H
#define CAUCE_RECOGNIZER_H

#include <stdbool.h>
#include <stddef.h>

#include "models.h"
#include "recognition.h"

typedef struct RecognizerKind RecognizerKind;

typedef struct Recognizer
{
	const RecognizerKind *kind;
	const void *engine; /* the kind's; NULL: not created */
	size_t
		tail; /* samples of silence that a streaming model needs to write down the last of a segment */
} Recognizer;

/* Hearing is what a streaming model keeps of a segment that goes on; all zero at its start. */
typedef struct Hearing
{
	const void *stream; /* NULL: it has heard nothing */
	size_t heard; /* samples */
} Hearing;

/* Samples are those of a segment, at MODEL_RATE, from its start on. */
struct RecognizerKind
{
	/* load gives the engine the models; returns false if it does not take them. */
	bool (*load)(Recognizer *recognizer, const Models *models);
	/* hear takes in what is new of a segment; *news is whether its text may be another. */
	bool (*hear)(const Recognizer *recognizer, Hearing *hearing, const float *samples,
				 size_t length, bool *news);
	/* decode says what is in a segment; complete: it goes on no more. */
	bool (*decode)(const Recognizer *recognizer, Hearing *hearing, const float *samples,
				   size_t length, bool complete, Recognition *said);
	void (*forget)(Hearing *hearing);
	void (*unload)(Recognizer *recognizer);
};

extern const RecognizerKind recognizerOffline;
extern const RecognizerKind recognizerStreaming;

/*
 * RecognizerCreate loads the models, and tries them on a moment of silence. Returns false, with a
 * report, if the engine does not take them.
 */
extern bool RecognizerCreate(Recognizer *recognizer, const Models *models);

/* RecognizerStreams tells whether text of a segment that goes on costs only what is new of it. */
extern bool RecognizerStreams(const Recognizer *recognizer);

/*
 * RecognizerHear takes in what is new of a segment that goes on, of which *news tells whether that may have
 * changed its text. Returns false if the engine fails. An offline model hears nothing before the end.
 */
extern bool RecognizerHear(const Recognizer *recognizer, Hearing *hearing, const float *samples,
						   size_t length, bool *news);

/*
 * RecognizerDecode says what is in a segment, or in what there is of it; for RecognitionFree. If it is
 * complete, hearing is ready for the next one. Returns false if there is no memory or the engine fails;
 * there is nothing to free then.
 */
extern bool RecognizerDecode(const Recognizer *recognizer, Hearing *hearing, const float *samples,
							 size_t length, bool complete, Recognition *said);

/* RecognizerForget gives a segment up. */
extern void RecognizerForget(const Recognizer *recognizer, Hearing *hearing);

extern void RecognizerDestroy(Recognizer *recognizer);

#endif
