/*
 * models.h
 *	  Which models the engine loads: a small JSON file.
 */
#ifndef CAUCE_MODELS_H
#define CAUCE_MODELS_H

#include <jansson.h>
#include <stdbool.h>

#include "sherpa.h"

#define MODELS_STRINGS_MAX 16

typedef struct Models
{
	const char *kind; /* of recognition model, as the file calls it */
	bool streaming; /* which of the next two holds */
	SherpaOfflineRecognizerConfig offline;
	SherpaStreamingRecognizerConfig online;
	SherpaVadConfig vad;
	char *strings[MODELS_STRINGS_MAX]; /* what the pointers above point to */
	int string_count;
	json_t *languages; /* that the recognition model knows; NULL: nobody has said */
} Models;

/*
 * ModelsRead reads the model configuration at path; NULL means engine/models-vnni.json beside the
 * program if the processor has VNNI, else engine/models.json. Relative file names in it start from its own directory, and every model file it names
 * has to be readable. It names one recognition model with all files that its kind needs. README.md
 * lists the keys. Returns false, with a report, if it is wrong.
 */
extern bool ModelsRead(Models *models, const char *path);

/*
 * ModelsKnow tells whether a language, a tag of BCP 47, is one that the recognition model knows, as far as the
 * configuration says. The tag's first part decides; an empty one is any.
 */
extern bool ModelsKnow(const Models *models, const char *language);

extern void ModelsFree(Models *models);

#endif
