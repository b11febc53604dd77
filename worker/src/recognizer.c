/*
 * recognizer.c
 *	  Chooses the kind of recognizer that the models are for.
 */
#include "recognizer.h"

#include "engine.h"
#include "report.h"
#include "resampler.h"

#define TRIAL ((size_t) MODEL_RATE / 2) /* samples of silence that a model is tried on */

/* Try lets a model decode silence, so that one that cannot is found before there is speech. */
static bool
Try(const Recognizer *recognizer)
{
	static const float silence[TRIAL] = {0.0f};
	Hearing hearing = {.stream = NULL};
	Recognition said;

	if (!RecognizerDecode(recognizer, &hearing, silence, TRIAL, true, &said))
		return false;
	RecognitionFree(&said);
	return true;
}

bool
RecognizerCreate(Recognizer *recognizer, const Models *models)
{
	bool made;

	recognizer->kind = models->streaming ? &recognizerStreaming : &recognizerOffline;
	EngineName(models->kind);
	made = recognizer->kind->load(recognizer, models) && Try(recognizer);
	if (!made)
		EngineReport();
	EngineName(NULL);
	return made;
}

bool
RecognizerStreams(const Recognizer *recognizer)
{
	return recognizer->kind == &recognizerStreaming;
}

bool
RecognizerHear(const Recognizer *recognizer, Hearing *hearing, const float *samples, size_t length,
			   bool *news)
{
	return recognizer->kind->hear(recognizer, hearing, samples, length, news);
}

bool
RecognizerDecode(const Recognizer *recognizer, Hearing *hearing, const float *samples,
				 size_t length, bool complete, Recognition *said)
{
	return recognizer->kind->decode(recognizer, hearing, samples, length, complete, said);
}

void
RecognizerForget(const Recognizer *recognizer, Hearing *hearing)
{
	recognizer->kind->forget(hearing);
}

void
RecognizerDestroy(Recognizer *recognizer)
{
	if (recognizer->engine != NULL)
		recognizer->kind->unload(recognizer);
	recognizer->engine = NULL;
}
