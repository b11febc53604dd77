/*
 * models.c
 *	  Reads the model configuration.
 */
#include "models.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report.h"
#include "resampler.h"
#include "segmenter.h"

#define DEFAULT_FILE "engine/models.json"
#define FEATURE_DIMENSION 80 /* of the models that take filter-bank features */

/*
 * The detector is asked about one frame at a time and its verdict is used as it comes: how long
 * a pause ends a segment is the segmenter's to say. Both durations, in seconds, are therefore
 * the least that is not the engine's word for "default".
 */
#define VOICE_THRESHOLD 0.5f
#define VOICE_DURATION_MIN 0.001f
#define VOICE_DURATION_MAX 3600.0f

typedef enum ModelValue
{
	MODEL_FILE, /* a file name */
	MODEL_WORD /* any other text */
} ModelValue;

typedef struct ModelKey
{
	const char *group; /* NULL: at the top */
	const char *name;
	ModelValue value;
	size_t offset; /* of a char pointer in Models */
} ModelKey;

#define RECOGNIZER(field) offsetof(Models, recognizer.model.field)

static const ModelKey modelKeys[] = {
	{NULL, "vad", MODEL_FILE, offsetof(Models, vad.silero.model)},
	{NULL, "tokens", MODEL_FILE, RECOGNIZER(tokens)},
	{NULL, "model_type", MODEL_WORD, RECOGNIZER(model_type)},
	{"moonshine", "preprocessor", MODEL_FILE, RECOGNIZER(moonshine.preprocessor)},
	{"moonshine", "encoder", MODEL_FILE, RECOGNIZER(moonshine.encoder)},
	{"moonshine", "uncached_decoder", MODEL_FILE, RECOGNIZER(moonshine.uncached_decoder)},
	{"moonshine", "cached_decoder", MODEL_FILE, RECOGNIZER(moonshine.cached_decoder)},
	{"moonshine", "merged_decoder", MODEL_FILE, RECOGNIZER(moonshine.merged_decoder)},
	{"whisper", "encoder", MODEL_FILE, RECOGNIZER(whisper.encoder)},
	{"whisper", "decoder", MODEL_FILE, RECOGNIZER(whisper.decoder)},
	{"whisper", "language", MODEL_WORD, RECOGNIZER(whisper.language)},
	{"transducer", "encoder", MODEL_FILE, RECOGNIZER(transducer.encoder)},
	{"transducer", "decoder", MODEL_FILE, RECOGNIZER(transducer.decoder)},
	{"transducer", "joiner", MODEL_FILE, RECOGNIZER(transducer.joiner)},
	{"zipformer_ctc", "model", MODEL_FILE, RECOGNIZER(zipformer_ctc)},
	{"sense_voice", "model", MODEL_FILE, RECOGNIZER(sense_voice.model)},
	{"sense_voice", "language", MODEL_WORD, RECOGNIZER(sense_voice.language)},
};

#define MODEL_KEYS (sizeof(modelKeys) / sizeof(modelKeys[0]))

static const ModelKey *
FindKey(const char *group, const char *name)
{
	size_t i;

	for (i = 0; i < MODEL_KEYS; i++)
	{
		const ModelKey *key = &modelKeys[i];
		bool same_group = key->group == NULL || group == NULL ? key->group == group
															  : strcmp(key->group, group) == 0;

		if (same_group && strcmp(key->name, name) == 0)
			return key;
	}
	return NULL;
}

/* DirectoryLength tells how long the directory part of a path is, its slash included. */
static int
DirectoryLength(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash == NULL ? 0 : (int) (slash - path) + 1;
}

/* Keep takes over a string; returns false if there is no room for it. */
static bool
Keep(Models *models, const ModelKey *key, char *string)
{
	if (models->string_count == MODELS_STRINGS_MAX)
	{
		free(string);
		return false;
	}
	models->strings[models->string_count++] = string;
	memcpy((char *) models + key->offset, &string, sizeof(string));
	return true;
}

static bool
SetValue(Models *models, const char *path, const ModelKey *key, const char *value)
{
	bool relative = key->value == MODEL_FILE && value[0] != '/';
	char *string = NULL;

	if (asprintf(&string, "%.*s%s", relative ? DirectoryLength(path) : 0, path, value) < 0)
	{
		Report("no memory for the model configuration");
		return false;
	}
	if (key->value == MODEL_FILE && access(string, R_OK) != 0)
	{
		Report("cannot read the model file %s: %s", string, strerror(errno));
		free(string);
		return false;
	}
	if (!Keep(models, key, string))
	{
		Report("the model configuration %s names too many files", path);
		return false;
	}
	return true;
}

/* ReadGroup reads an object's members; those of the top object may be objects themselves. */
static bool
ReadGroup(Models *models, const char *path, const char *group, json_t *object)
{
	const char *name;
	json_t *value;

	json_object_foreach(object, name, value)
	{
		const ModelKey *key = FindKey(group, name);

		if (key != NULL && json_is_string(value))
		{
			if (!SetValue(models, path, key, json_string_value(value)))
				return false;
		}
		else if (group == NULL && json_is_object(value))
		{
			if (!ReadGroup(models, path, name, value))
				return false;
		}
		else
		{
			Report("the model configuration %s has an unknown or ill-typed key \"%s\"", path, name);
			return false;
		}
	}
	return true;
}

static void
SetDefaults(Models *models)
{
	models->recognizer.feature.sample_rate = MODEL_RATE;
	models->recognizer.feature.feature_dim = FEATURE_DIMENSION;
	models->recognizer.model.num_threads = 1;
	models->recognizer.model.provider = "cpu";
	models->recognizer.decoding_method = "greedy_search";
	models->vad.silero.threshold = VOICE_THRESHOLD;
	models->vad.silero.min_silence_duration = VOICE_DURATION_MIN;
	models->vad.silero.min_speech_duration = VOICE_DURATION_MIN;
	models->vad.silero.max_speech_duration = VOICE_DURATION_MAX;
	models->vad.silero.window_size = (int32_t) SEGMENTER_FRAME;
	models->vad.sample_rate = MODEL_RATE;
	models->vad.num_threads = 1;
	models->vad.provider = "cpu";
}

static bool
ReadFile(Models *models, const char *path)
{
	json_error_t problem;
	json_t *object = json_load_file(path, JSON_REJECT_DUPLICATES, &problem);
	bool read;

	if (object == NULL)
	{
		Report("cannot read the model configuration %s: %s (line %d)", path, problem.text,
			   problem.line);
		return false;
	}
	read = json_is_object(object) && ReadGroup(models, path, NULL, object);
	if (!json_is_object(object))
		Report("the model configuration %s is not a JSON object", path);
	else if (read && (models->vad.silero.model == NULL || models->recognizer.model.tokens == NULL))
	{
		Report("the model configuration %s has no \"vad\" or no \"tokens\"", path);
		read = false;
	}
	json_decref(object);
	return read;
}

/* FindDefaultFile writes the path of the configuration beside the program. */
static bool
FindDefaultFile(char *path, size_t size)
{
	ssize_t length = readlink("/proc/self/exe", path, size);

	if (length < 0 || (size_t) length >= size)
	{
		Report("cannot find out where the program is; give --models");
		return false;
	}
	path[length] = '\0';
	length = DirectoryLength(path);
	if ((size_t) length + sizeof(DEFAULT_FILE) > size)
	{
		Report("the program's path is too long; give --models");
		return false;
	}
	memcpy(path + length, DEFAULT_FILE, sizeof(DEFAULT_FILE));
	return true;
}

bool
ModelsRead(Models *models, const char *path)
{
	char default_path[PATH_MAX];

	memset(models, 0, sizeof(*models));
	SetDefaults(models);
	if (path == NULL)
	{
		if (!FindDefaultFile(default_path, sizeof(default_path)))
			return false;
		path = default_path;
	}
	if (ReadFile(models, path))
		return true;
	ModelsFree(models);
	return false;
}

void
ModelsFree(Models *models)
{
	int i;

	for (i = 0; i < models->string_count; i++)
		free(models->strings[i]);
	memset(models, 0, sizeof(*models));
}
