/*
 * recognizer.c
 *	  Runs the engine's recognizer over a segment.
 */
#include "recognizer.h"

#include "report.h"
#include "resampler.h"

bool
RecognizerCreate(Recognizer *recognizer, const SherpaOfflineRecognizerConfig *config)
{
	recognizer->engine = SherpaOnnxCreateOfflineRecognizer(config);
	if (recognizer->engine == NULL)
		Report("the engine does not take the recognition model");
	return recognizer->engine != NULL;
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

bool
RecognizerDecode(Recognizer *recognizer, const float *samples, size_t length, Recognition *said)
{
	const SherpaOnnxOfflineStream *stream = SherpaOnnxCreateOfflineStream(recognizer->engine);
	bool decoded;

	if (stream == NULL)
		return false;
	SherpaOnnxAcceptWaveformOffline(stream, MODEL_RATE, samples, (int32_t) length);
	SherpaOnnxDecodeOfflineStream(recognizer->engine, stream);
	decoded = CopyResult(stream, said);
	SherpaOnnxDestroyOfflineStream(stream);
	return decoded;
}

void
RecognizerDestroy(Recognizer *recognizer)
{
	if (recognizer->engine != NULL)
		SherpaOnnxDestroyOfflineRecognizer(recognizer->engine);
	recognizer->engine = NULL;
}
