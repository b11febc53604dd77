/*
 * offline.c
 *	  Recognizers that are given a segment as a whole.
 */
#include "recognizer.h"
#include "resampler.h"

static bool
Load(Recognizer *recognizer, const Models *models)
{
	recognizer->engine = SherpaOnnxCreateOfflineRecognizer(&models->offline);
	return recognizer->engine != NULL;
}

static bool
Hear(const Recognizer *recognizer, Hearing *hearing, const float *samples, size_t length,
	 bool *news)
{
	(void) recognizer;
	(void) hearing;
	(void) samples;
	(void) length;
	*news = false;
	return true;
}

/* CopyResult takes what was recognised out of a decoded stream. */
static bool
CopyResult(const SherpaOnnxOfflineStream *stream, Recognition *said)
{
	const SherpaOfflineResult *result = SherpaOnnxGetOfflineStreamResult(stream);
	bool copied;

	if (result == NULL)
		return false;
	copied = RecognitionMake(said, result->text == NULL ? "" : result->text,
							 &(Tokens){.texts = result->tokens_arr,
									   .starts = result->timestamps,
									   .durations = result->durations,
									   .log_probs = result->ys_log_probs,
									   .count = (size_t) result->count});
	SherpaOnnxDestroyOfflineRecognizerResult(result);
	return copied;
}

static bool
Decode(const Recognizer *recognizer, Hearing *hearing, const float *samples, size_t length,
	   bool complete, Recognition *said)
{
	const SherpaOnnxOfflineStream *stream = SherpaOnnxCreateOfflineStream(recognizer->engine);
	bool decoded;

	(void) hearing;
	(void) complete;
	if (stream == NULL)
		return false;
	SherpaOnnxAcceptWaveformOffline(stream, MODEL_RATE, samples, (int32_t) length);
	SherpaOnnxDecodeOfflineStream(recognizer->engine, stream);
	decoded = CopyResult(stream, said);
	SherpaOnnxDestroyOfflineStream(stream);
	return decoded;
}

static void
Forget(Hearing *hearing)
{
	(void) hearing;
}

static void
Unload(Recognizer *recognizer)
{
	SherpaOnnxDestroyOfflineRecognizer(recognizer->engine);
}

const RecognizerKind recognizerOffline = {Load, Hear, Decode, Forget, Unload};
