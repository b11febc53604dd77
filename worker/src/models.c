/*
 * models.c
 *	  Reads the model configuration.
 */
#include "models.h"

#include <cpuid.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "report.h"
#include "resampler.h"
#include "segmenter.h"

#define ANY_FILE "engine/models.json"
#define VNNI_FILE "engine/models-vnni.json"
#define LANGUAGES "languages"
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
	MODEL_FILE, /* the name of a file, or a directory, that the kind needs */
	MODEL_OPTION, /* of one that it may do without */
	MODEL_WORD, /* any other text */
	MODEL_NUMBER /* an int32_t; true is 1 */
} ModelValue;

typedef struct ModelKey
{
	const char *group; /* NULL: at the top */
	const char *name;
	ModelValue value;
	size_t offset; /* of a char pointer, or number, in Models */
} ModelKey;

#define OFFLINE(field) offsetof(Models, offline.model.field)
#define ONLINE(field) offsetof(Models, online.model.field)
#define STREAMING "streaming_" /* begins the names of kinds that are */

/* What the two configurations have in common is read into the offline one. */
static const ModelKey modelKeys[] = {
	{NULL, "vad", MODEL_FILE, offsetof(Models, vad.silero.model)},
	{NULL, "tokens", MODEL_FILE, OFFLINE(tokens)},
	{NULL, "model_type", MODEL_WORD, OFFLINE(model_type)},
	{NULL, "feature_dim", MODEL_NUMBER, offsetof(Models, offline.feature.feature_dim)},
	{"moonshine", "preprocessor", MODEL_OPTION, OFFLINE(moonshine.preprocessor)},
	{"moonshine", "encoder", MODEL_FILE, OFFLINE(moonshine.encoder)},
	{"moonshine", "uncached_decoder", MODEL_OPTION, OFFLINE(moonshine.uncached_decoder)},
	{"moonshine", "cached_decoder", MODEL_OPTION, OFFLINE(moonshine.cached_decoder)},
	{"moonshine", "merged_decoder", MODEL_OPTION, OFFLINE(moonshine.merged_decoder)},
	{"whisper", "encoder", MODEL_FILE, OFFLINE(whisper.encoder)},
	{"whisper", "decoder", MODEL_FILE, OFFLINE(whisper.decoder)},
	{"whisper", "language", MODEL_WORD, OFFLINE(whisper.language)},
	{"whisper", "task", MODEL_WORD, OFFLINE(whisper.task)},
	{"whisper", "tail_paddings", MODEL_NUMBER, OFFLINE(whisper.tail_paddings)},
	{"transducer", "encoder", MODEL_FILE, OFFLINE(transducer.encoder)},
	{"transducer", "decoder", MODEL_FILE, OFFLINE(transducer.decoder)},
	{"transducer", "joiner", MODEL_FILE, OFFLINE(transducer.joiner)},
	{"paraformer", "model", MODEL_FILE, OFFLINE(paraformer)},
	{"nemo_ctc", "model", MODEL_FILE, OFFLINE(nemo_ctc)},
	{"zipformer_ctc", "model", MODEL_FILE, OFFLINE(zipformer_ctc)},
	{"wenet_ctc", "model", MODEL_FILE, OFFLINE(wenet_ctc)},
	{"telespeech_ctc", "model", MODEL_FILE, OFFLINE(telespeech_ctc)},
	{"tdnn", "model", MODEL_FILE, OFFLINE(tdnn)},
	{"dolphin", "model", MODEL_FILE, OFFLINE(dolphin)},
	{"omnilingual", "model", MODEL_FILE, OFFLINE(omnilingual)},
	{"medasr", "model", MODEL_FILE, OFFLINE(medasr)},
	{"fire_red_asr", "encoder", MODEL_FILE, OFFLINE(fire_red_asr.encoder)},
	{"fire_red_asr", "decoder", MODEL_FILE, OFFLINE(fire_red_asr.decoder)},
	{"fire_red_asr_ctc", "model", MODEL_FILE, OFFLINE(fire_red_asr_ctc)},
	{"sense_voice", "model", MODEL_FILE, OFFLINE(sense_voice.model)},
	{"sense_voice", "language", MODEL_WORD, OFFLINE(sense_voice.language)},
	{"sense_voice", "use_itn", MODEL_NUMBER, OFFLINE(sense_voice.use_itn)},
	{"canary", "encoder", MODEL_FILE, OFFLINE(canary.encoder)},
	{"canary", "decoder", MODEL_FILE, OFFLINE(canary.decoder)},
	{"canary", "src_lang", MODEL_WORD, OFFLINE(canary.src_lang)},
	{"canary", "tgt_lang", MODEL_WORD, OFFLINE(canary.tgt_lang)},
	{"canary", "use_pnc", MODEL_NUMBER, OFFLINE(canary.use_pnc)},
	{"cohere_transcribe", "encoder", MODEL_FILE, OFFLINE(cohere_transcribe.encoder)},
	{"cohere_transcribe", "decoder", MODEL_FILE, OFFLINE(cohere_transcribe.decoder)},
	{"cohere_transcribe", "language", MODEL_WORD, OFFLINE(cohere_transcribe.language)},
	{"cohere_transcribe", "use_punct", MODEL_NUMBER, OFFLINE(cohere_transcribe.use_punct)},
	{"cohere_transcribe", "use_itn", MODEL_NUMBER, OFFLINE(cohere_transcribe.use_itn)},
	{"funasr_nano", "encoder_adaptor", MODEL_FILE, OFFLINE(funasr_nano.encoder_adaptor)},
	{"funasr_nano", "llm", MODEL_FILE, OFFLINE(funasr_nano.llm)},
	{"funasr_nano", "embedding", MODEL_FILE, OFFLINE(funasr_nano.embedding)},
	{"funasr_nano", "tokenizer", MODEL_FILE, OFFLINE(funasr_nano.tokenizer)},
	{"funasr_nano", "language", MODEL_WORD, OFFLINE(funasr_nano.language)},
	{"funasr_nano", "itn", MODEL_NUMBER, OFFLINE(funasr_nano.itn)},
	{"qwen3_asr", "conv_frontend", MODEL_FILE, OFFLINE(qwen3_asr.conv_frontend)},
	{"qwen3_asr", "encoder", MODEL_FILE, OFFLINE(qwen3_asr.encoder)},
	{"qwen3_asr", "decoder", MODEL_FILE, OFFLINE(qwen3_asr.decoder)},
	{"qwen3_asr", "tokenizer", MODEL_FILE, OFFLINE(qwen3_asr.tokenizer)},
	{STREAMING "transducer", "encoder", MODEL_FILE, ONLINE(transducer.encoder)},
	{STREAMING "transducer", "decoder", MODEL_FILE, ONLINE(transducer.decoder)},
	{STREAMING "transducer", "joiner", MODEL_FILE, ONLINE(transducer.joiner)},
	{STREAMING "paraformer", "encoder", MODEL_FILE, ONLINE(paraformer.encoder)},
	{STREAMING "paraformer", "decoder", MODEL_FILE, ONLINE(paraformer.decoder)},
	{STREAMING "zipformer2_ctc", "model", MODEL_FILE, ONLINE(zipformer2_ctc)},
	{STREAMING "nemo_ctc", "model", MODEL_FILE, ONLINE(nemo_ctc)},
	{STREAMING "t_one_ctc", "model", MODEL_FILE, ONLINE(t_one_ctc)},
};

#define MODEL_KEYS (sizeof(modelKeys) / sizeof(modelKeys[0]))

static bool
IsGroup(const ModelKey *key, const char *group)
{
	return key->group == NULL || group == NULL ? key->group == group
											   : strcmp(key->group, group) == 0;
}

/* FindKey finds a key of a group, any if name is NULL; NULL if there is none. */
static const ModelKey *
FindKey(const char *group, const char *name)
{
	size_t i;

	for (i = 0; i < MODEL_KEYS; i++)
	{
		const ModelKey *key = &modelKeys[i];

		if (IsGroup(key, group) && (name == NULL || strcmp(key->name, name) == 0))
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
SetText(Models *models, const char *path, const ModelKey *key, const char *value)
{
	bool file = key->value != MODEL_WORD;
	bool relative = file && value[0] != '/';
	char *string = NULL;

	if (asprintf(&string, "%.*s%s", relative ? DirectoryLength(path) : 0, path, value) < 0)
	{
		Report("no memory for the model configuration");
		return false;
	}
	if (file && access(string, R_OK) != 0)
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

static void
SetNumber(Models *models, const ModelKey *key, const json_t *value)
{
	int32_t number =
		json_is_integer(value) ? (int32_t) json_integer_value(value) : json_is_true(value);

	memcpy((char *) models + key->offset, &number, sizeof(number));
}

/* SetValue reads the value of a key; returns false, with a report, if it is wrong. */
static bool
SetValue(Models *models, const char *path, const char *name, const ModelKey *key,
		 const json_t *value)
{
	bool number = key != NULL && key->value == MODEL_NUMBER;

	if (key != NULL && !number && json_is_string(value))
		return SetText(models, path, key, json_string_value(value));
	if (number && (json_is_integer(value) || json_is_boolean(value)))
	{
		SetNumber(models, key, value);
		return true;
	}
	Report("the model configuration %s has an unknown or ill-typed key \"%s\"", path, name);
	return false;
}

/* ReadKind reads the files and words of a kind of recognition model. */
static bool
ReadKind(Models *models, const char *path, const char *kind, json_t *object)
{
	const ModelKey *first = FindKey(kind, NULL);
	const char *name;
	json_t *value;

	if (first == NULL || models->kind != NULL)
	{
		Report(first == NULL ? "the model configuration %s has an unknown kind of model, \"%s\""
							 : "the model configuration %s has more than one recognition model; "
							   "leave out \"%s\" or the other",
			   path, kind);
		return false;
	}
	models->kind = first->group;
	models->streaming = strncmp(kind, STREAMING, strlen(STREAMING)) == 0;
	json_object_foreach(object, name, value)
	{
		if (!SetValue(models, path, name, FindKey(kind, name), value))
			return false;
	}
	return true;
}

/* ReadLanguages reads the list of languages that the model knows. */
static bool
ReadLanguages(Models *models, const char *path, json_t *list)
{
	size_t i;
	json_t *language;

	models->languages = json_incref(list);
	json_array_foreach(list, i, language)
	{
		if (!json_is_string(language) || *json_string_value(language) == '\0')
			break;
	}
	if (json_array_size(list) > 0 && i == json_array_size(list))
		return true;
	Report("the model configuration %s has \"" LANGUAGES
		   "\" that is not a list of language tags such as \"en\"",
		   path);
	return false;
}

/* ReadEntry reads one of the configuration's entries. */
static bool
ReadEntry(Models *models, const char *path, const char *name, json_t *value)
{
	if (strcmp(name, LANGUAGES) == 0)
		return ReadLanguages(models, path, value);
	if (json_is_object(value))
		return ReadKind(models, path, name, value);
	return SetValue(models, path, name, FindKey(NULL, name), value);
}

static bool
ReadTop(Models *models, const char *path, json_t *object)
{
	const char *name;
	json_t *value;

	json_object_foreach(object, name, value)
	{
		if (!ReadEntry(models, path, name, value))
			return false;
	}
	return true;
}

/* HasFiles tells whether all files that a group needs are there. */
static bool
HasFiles(const Models *models, const char *path, const char *group)
{
	/* What brings its own tokens needs no table of them. */
	bool tokens = FindKey(models->kind, "tokenizer") == NULL;
	size_t i;

	for (i = 0; i < MODEL_KEYS; i++)
	{
		const ModelKey *key = &modelKeys[i];
		const char *file;

		memcpy(&file, (const char *) models + key->offset, sizeof(file));
		if (!IsGroup(key, group) || key->value != MODEL_FILE || file != NULL ||
			(key->offset == OFFLINE(tokens) && !tokens))
			continue;
		Report("the model configuration %s has no \"%s\"%s%s", path, key->name,
			   group == NULL ? "" : " in ", group == NULL ? "" : group);
		return false;
	}
	return true;
}

/* Check tells whether there is all that is needed. */
static bool
Check(const Models *models, const char *path)
{
	if (models->kind != NULL)
		return HasFiles(models, path, NULL) && HasFiles(models, path, models->kind);
	Report("the model configuration %s has no recognition model", path);
	return false;
}

static void
SetDefaults(Models *models)
{
	models->offline.feature.sample_rate = MODEL_RATE;
	models->offline.feature.feature_dim = FEATURE_DIMENSION;
	models->offline.model.num_threads = 1;
	models->offline.model.provider = "cpu";
	models->offline.decoding_method = "greedy_search";
	models->online.model.num_threads = 1;
	models->online.model.provider = "cpu";
	models->online.decoding_method = "greedy_search";
	models->vad.silero.threshold = VOICE_THRESHOLD;
	models->vad.silero.min_silence_duration = VOICE_DURATION_MIN;
	models->vad.silero.min_speech_duration = VOICE_DURATION_MIN;
	models->vad.silero.max_speech_duration = VOICE_DURATION_MAX;
	models->vad.silero.window_size = (int32_t) SEGMENTER_FRAME;
	models->vad.sample_rate = MODEL_RATE;
	models->vad.num_threads = 1;
	models->vad.provider = "cpu";
}

/* Share copies what the two configurations have in common. */
static void
Share(Models *models)
{
	models->online.feature = models->offline.feature;
	models->online.model.tokens = models->offline.model.tokens;
	models->online.model.model_type = models->offline.model.model_type;
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
	read = json_is_object(object) && ReadTop(models, path, object) && Check(models, path);
	if (!json_is_object(object))
		Report("the model configuration %s is not a JSON object", path);
	Share(models);
	json_decref(object);
	return read;
}

/*
 * HasVnni tells whether the engine multiplies unsigned by signed bytes on this processor without cutting
 * sums off at 16 bits: with VNNI of AVX-512 or AVX, if the rest that the engine's code for it needs is there.
 */
static bool
HasVnni(void)
{
	unsigned int feature[4] = {0};

	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vl") &&
		__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
		return true;
	return __builtin_cpu_supports("avx2") &&
		   __get_cpuid_count(7, 1, &feature[0], &feature[1], &feature[2], &feature[3]) &&
		   (feature[0] & bit_AVXVNNI) != 0;
}

/* FindDefaultFile writes the path of the configuration beside the program that suits the processor. */
static bool
FindDefaultFile(char *path, size_t size)
{
	const char *file = HasVnni() ? VNNI_FILE : ANY_FILE;
	ssize_t length = readlink("/proc/self/exe", path, size);

	if (length < 0 || (size_t) length >= size)
	{
		Report("cannot find out where the program is; give --models");
		return false;
	}
	path[length] = '\0';
	length = DirectoryLength(path);
	if ((size_t) length + strlen(file) >= size)
	{
		Report("the program's path is too long; give --models");
		return false;
	}
	memcpy(path + length, file, strlen(file) + 1);
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

/* IsSameLanguage compares the first parts of two tags. */
static bool
IsSameLanguage(const char *one, const char *other)
{
	size_t length = strcspn(one, "-_");

	return length == strcspn(other, "-_") && strncasecmp(one, other, length) == 0;
}

bool
ModelsKnow(const Models *models, const char *language)
{
	size_t i;
	json_t *known;

	if (*language == '\0' || models->languages == NULL)
		return true;
	json_array_foreach(models->languages, i, known)
	{
		if (IsSameLanguage(json_string_value(known), language))
			return true;
	}
	return false;
}

void
ModelsFree(Models *models)
{
	int i;

	json_decref(models->languages);

	for (i = 0; i < models->string_count; i++)
		free(models->strings[i]);
	memset(models, 0, sizeof(*models));
}
