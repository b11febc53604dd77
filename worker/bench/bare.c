/*
 * bare.c
 *	  The engine alone: voice detection, segments and recognition over WAV files, without a database, locked
 *	  or wiped memory, sandbox or threads. What the worker costs more is the worker's.
 *
 *	bare MODELS segments|whole|voice FILE…	prints for each file, separated by tabs: its name, seconds of
 *											audio, text, seconds of processor time
 *
 *	MODELS may be "-", the worker's default. In the place of text "voice" has a digit for each frame: at how many
 *	thresholds the detector finds a voice.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "models.h"
#include "recognizer.h"
#include "resampler.h"
#include "segmenter.h"
#include "vad.h"
#include "wav.h"

#define SECONDS_MAX 3600

/* Thresholds that "voice" tries: 0.1, 0.3, … */
#define LEVELS 5
#define LEVEL(number) (0.1f + 0.2f * (float) (number))

typedef struct Bench
{
	Models models;
	Recognizer recognizer;
	Vad vad;
	Vad levels[LEVELS];
	float *samples;
	size_t length;
} Bench;

/* ReadWav reads a file of one channel and brings it to the models' rate. */
static bool
ReadWav(Bench *bench, const char *path)
{
	static unsigned char bytes[1 << 24];
	static float plane[1 << 23];
	FILE *file = fopen(path, "rb");
	size_t size = file == NULL ? 0 : fread(bytes, 1, sizeof(bytes), file);
	float *planes[] = {plane};
	WavReader wav;
	PcmReader pcm;
	size_t audio;
	size_t used;
	size_t done;
	size_t frames;
	size_t made;

	if (file != NULL)
		fclose(file);
	WavInit(&wav);
	done = WavRead(&wav, bytes, size, &audio);
	if (wav.state != WAV_DATA || wav.format.channels != 1)
		return false;
	PcmInit(&pcm, &wav.format);
	frames = PcmRead(&pcm, bytes + done, audio, &used, planes, sizeof(plane) / sizeof(plane[0]));
	if (wav.format.rate == MODEL_RATE)
	{
		memcpy(bench->samples, plane, frames * sizeof(float));
		bench->length = frames;
		return true;
	}
	{
		Resampler *resampler = ResamplerCreate(wav.format.rate);
		size_t room = (size_t) SECONDS_MAX * MODEL_RATE;

		if (resampler == NULL ||
			!ResamplerRun(resampler, plane, frames, &used, bench->samples, room, &bench->length))
			return false;
		while (ResamplerRun(resampler, NULL, 0, &used, bench->samples + bench->length,
							room - bench->length, &made) &&
			   made > 0)
			bench->length += made;
		ResamplerDestroy(resampler);
	}
	return true;
}

static void
Print(const char *text)
{
	if (text != NULL)
		printf(" %s", text);
}

static void
Whole(Bench *bench)
{
	Hearing hearing = {.stream = NULL};
	Recognition said = {.text = NULL};

	if (RecognizerDecode(&bench->recognizer, &hearing, bench->samples, bench->length, true, &said))
		Print(said.text);
	RecognitionFree(&said);
}

static void
Recognise(Bench *bench, Segmenter *segmenter, const Segment *segment)
{
	Hearing hearing = {.stream = NULL};
	Recognition said = {.text = NULL};

	if (RecognizerDecode(&bench->recognizer, &hearing, segment->samples, segment->length, true,
						 &said))
		Print(said.text);
	RecognitionFree(&said);
	SegmenterRelease(segmenter);
}

static void
Segments(Bench *bench, float *buffer)
{
	Segmenter segmenter;
	Segment segment;
	size_t at = 0;

	SegmenterInit(&segmenter, buffer, 0);
	while (at < bench->length)
	{
		size_t room;
		float *tail = SegmenterTail(&segmenter, &room);
		size_t piece = bench->length - at < SEGMENTER_FRAME ? bench->length - at : SEGMENTER_FRAME;
		const float *frame;

		memcpy(tail, bench->samples + at, piece * sizeof(float));
		SegmenterExtend(&segmenter, piece);
		at += piece;
		while ((frame = SegmenterFrame(&segmenter)) != NULL)
		{
			bool voice = VadJudge(&bench->vad, frame, SegmenterPast(&segmenter));

			if (SegmenterJudge(&segmenter, voice, &segment))
				Recognise(bench, &segmenter, &segment);
		}
	}
	if (SegmenterFlush(&segmenter, &segment))
		Recognise(bench, &segmenter, &segment);
	VadForget(&bench->vad);
}

static bool
VoiceCreate(Bench *bench)
{
	int level;

	for (level = 0; level < LEVELS; level++)
	{
		SherpaVadConfig config = bench->models.vad;

		config.silero.threshold = LEVEL(level);
		if (!VadCreate(&bench->levels[level], &config))
			return false;
	}
	return true;
}

static void
Voice(Bench *bench)
{
	size_t past;
	int level;

	for (past = 0; (past + 1) * SEGMENTER_FRAME <= bench->length; past++)
	{
		int voices = 0;

		for (level = 0; level < LEVELS; level++)
			voices +=
				VadJudge(&bench->levels[level], bench->samples + past * SEGMENTER_FRAME, past);
		putchar('0' + voices);
	}
	for (level = 0; level < LEVELS; level++)
		VadForget(&bench->levels[level]);
}

static bool
RecognitionCreate(Bench *bench)
{
	return RecognizerCreate(&bench->recognizer, &bench->models) &&
		   VadCreate(&bench->vad, &bench->models.vad);
}

int
main(int argc, char **argv)
{
	static Bench bench;
	float *buffer = malloc(SegmenterCapacity() * sizeof(float));
	int i;

	bench.samples = malloc((size_t) SECONDS_MAX * MODEL_RATE * sizeof(float));
	if (argc < 4 || buffer == NULL || bench.samples == NULL ||
		!ModelsRead(&bench.models, strcmp(argv[1], "-") == 0 ? NULL : argv[1]) ||
		!(strcmp(argv[2], "voice") == 0 ? VoiceCreate(&bench) : RecognitionCreate(&bench)))
		return EXIT_FAILURE;
	for (i = 3; i < argc; i++)
	{
		int64_t start;

		if (!ReadWav(&bench, argv[i]))
			continue;
		start = ClockThreadUs();
		printf("%s\t%.3f\t", argv[i], (double) bench.length / MODEL_RATE);
		if (strcmp(argv[2], "whole") == 0)
			Whole(&bench);
		else if (strcmp(argv[2], "voice") == 0)
			Voice(&bench);
		else
			Segments(&bench, buffer);
		printf("\t%.3f\n", (double) (ClockThreadUs() - start) / 1e6);
	}
	return EXIT_SUCCESS;
}
