/*
 * recognizer.c
 *	  Runs the engine's recognizer over a segment.
 */
#include "recognizer.h"

#include "report.h"
#include "resampler.h"
#include "text.h"

bool
RecognizerCreate(Recognizer *recognizer, const SherpaOfflineRecognizerConfig *config)
{
	recognizer->engine = SherpaOnnxCreateOfflineRecognizer(config);
	if (recognizer->engine == NULL)
		Report("the engine does not take the recognition model");
	return recognizer->engine != NULL;
}

/* CopyText takes the text out of a decoded stream. */
static bool
CopyText(const SherpaOnnxOfflineStream *stream, char **text)
{
	const SherpaOfflineResult *result = SherpaOnnxGetOfflineStreamResult(stream);

	if (result == NULL)
		return false;
	*text = TextCopy(result->text == NULL ? "" : result->text);
	SherpaOnnxDestroyOfflineRecognizerResult(result);
	if (*text == NULL)
		return false;
	if (**text == '\0')
	{
		TextFree(*text);
		*text = NULL;
	}
	return true;
}

bool
RecognizerDecode(Recognizer *recognizer, const float *samples, size_t length, char **text)
{
	const SherpaOnnxOfflineStream *stream = SherpaOnnxCreateOfflineStream(recognizer->engine);
	bool decoded;

	*text = NULL;
	if (stream == NULL)
		return false;
	SherpaOnnxAcceptWaveformOffline(stream, MODEL_RATE, samples, (int32_t) length);
	SherpaOnnxDecodeOfflineStream(recognizer->engine, stream);
	decoded = CopyText(stream, text);
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
