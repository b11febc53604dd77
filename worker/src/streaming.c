/*
 * streaming.c
 *	  Recognizers that are given a segment as it is spoken.
 *
 * A model takes in a window of audio at a time, and goes on by a part of that: what it looks at beyond that
 * part it only looks at. So behind the last of a segment it needs a window of silence to write down all, and
 * some more, as a model may write a word a little after it has heard it. How long the window is, the
 * engine's interface does not tell: it is found out when the model is loaded.
 */
#include <stdlib.h>
#include <string.h>

#include "recognizer.h"
#include "resampler.h"

#define STEP ((size_t) MODEL_RATE / 100) /* a frame of most models' features */
#define WINDOW_MAX ((size_t) 10 * MODEL_RATE)
#define LATE ((size_t) MODEL_RATE * 3 / 10)

/* What stands before the logarithms of probabilities in a result's JSON. In a text its quotes are escaped. */
#define LOG_PROBS "\"ys_probs\": ["

static const float silence[STEP] = {0.0f};

static void
Give(const SherpaOnnxOnlineStream *stream, const float *samples, size_t length)
{
	SherpaOnnxOnlineStreamAcceptWaveform(stream, MODEL_RATE, samples, (int32_t) length);
}

/* Run lets the model go on as far as it can; returns whether it went on at all. */
static bool
Run(const Recognizer *recognizer, const SherpaOnnxOnlineStream *stream)
{
	bool ran = false;

	while (SherpaOnnxIsOnlineStreamReady(recognizer->engine, stream) != 0)
	{
		SherpaOnnxDecodeOnlineStream(recognizer->engine, stream);
		ran = true;
	}
	return ran;
}

/* FindTail finds out how much silence the model needs; returns false if it never goes on. */
static bool
FindTail(Recognizer *recognizer)
{
	const SherpaOnnxOnlineStream *stream = SherpaOnnxCreateOnlineStream(recognizer->engine);
	size_t window = 0;

	if (stream == NULL)
		return false;
	while (window < WINDOW_MAX && SherpaOnnxIsOnlineStreamReady(recognizer->engine, stream) == 0)
	{
		Give(stream, silence, STEP);
		window += STEP;
	}
	SherpaOnnxDestroyOnlineStream(stream);
	recognizer->tail = window + LATE;
	return window < WINDOW_MAX;
}

static bool
Load(Recognizer *recognizer, const Models *models)
{
	recognizer->engine = SherpaOnnxCreateOnlineRecognizer(&models->online);
	return recognizer->engine != NULL && FindTail(recognizer);
}

static void
Forget(Hearing *hearing)
{
	if (hearing->stream != NULL)
		SherpaOnnxDestroyOnlineStream(hearing->stream);
	*hearing = (Hearing){.stream = NULL};
}

static bool
Hear(const Recognizer *recognizer, Hearing *hearing, const float *samples, size_t length,
	 bool *news)
{
	/* A segment that was cut for its length ends before what has been heard: it is heard again. */
	if (hearing->heard > length)
		Forget(hearing);
	if (hearing->stream == NULL)
		hearing->stream = SherpaOnnxCreateOnlineStream(recognizer->engine);
	if (hearing->stream == NULL)
		return false;
	if (length > hearing->heard)
		Give(hearing->stream, samples + hearing->heard, length - hearing->heard);
	hearing->heard = length;
	*news = Run(recognizer, hearing->stream);
	return true;
}

/* ReadLogProbs reads a number for each token from a result's JSON; returns false if there are others. */
static bool
ReadLogProbs(const char *json, float *log_probs, size_t count)
{
	const char *place = json == NULL ? NULL : strstr(json, LOG_PROBS);
	char *end;
	size_t i;

	if (place == NULL)
		return false;
	place += strlen(LOG_PROBS);
	for (i = 0; i < count; i++)
	{
		log_probs[i] = strtof(place, &end);
		if (end == place || *end != (i + 1 < count ? ',' : ']'))
			return false;
		place = end + 1;
	}
	return count > 0;
}

/* CopyResult takes over what has been recognised up to now. */
static bool
CopyResult(const Recognizer *recognizer, const SherpaOnnxOnlineStream *stream, Recognition *said)
{
	const SherpaStreamingResult *result =
		SherpaOnnxGetOnlineStreamResult(recognizer->engine, stream);
	size_t count = result == NULL ? 0 : (size_t) result->count;
	float *log_probs = calloc(count + 1, sizeof(float));
	bool copied = false;

	if (result != NULL && log_probs != NULL)
		copied = RecognitionMake(
			said, result->text == NULL ? "" : result->text,
			&(Tokens){.texts = result->tokens_arr,
					  .starts = result->timestamps,
					  .log_probs = ReadLogProbs(result->json, log_probs, count) ? log_probs : NULL,
					  .count = count});
	free(log_probs);
	SherpaOnnxDestroyOnlineRecognizerResult(result);
	return copied;
}

/* Finish lets the model write down the last of a segment. */
static void
Finish(const Recognizer *recognizer, const SherpaOnnxOnlineStream *stream)
{
	size_t given;

	for (given = 0; given < recognizer->tail; given += STEP)
		Give(stream, silence, STEP);
	SherpaOnnxOnlineStreamInputFinished(stream);
	Run(recognizer, stream);
}

static bool
Decode(const Recognizer *recognizer, Hearing *hearing, const float *samples, size_t length,
	   bool complete, Recognition *said)
{
	bool news;
	bool decoded;

	if (!Hear(recognizer, hearing, samples, length, &news))
		return false;
	if (complete)
		Finish(recognizer, hearing->stream);
	decoded = CopyResult(recognizer, hearing->stream, said);
	if (complete)
		Forget(hearing);
	return decoded;
}

static void
Unload(Recognizer *recognizer)
{
	SherpaOnnxDestroyOnlineRecognizer(recognizer->engine);
}

const RecognizerKind recognizerStreaming = {Load, Hear, Decode, Forget, Unload};
