/*
 * vosk.c
 *	  Speaks the vosk server's protocol.
 */
#include "vosk.h"

#include <stdlib.h>
#include <string.h>

#include "answers.h"

bool
VoskInit(Vosk *vosk)
{
	vosk->texts = json_array();
	vosk->words = json_array();
	vosk->alerts = json_array();
	return vosk->texts != NULL && vosk->words != NULL && vosk->alerts != NULL;
}

static const char *
TakeSpeakers(Request *request, const json_t *names)
{
	const char *problem = NULL;
	size_t i;

	for (i = 0; problem == NULL && i < json_array_size(names); i++)
	{
		const char *name = json_string_value(json_array_get(names, i));

		problem =
			name == NULL ? "config.speakers is a list of names" : RequestAddSpeaker(request, name);
	}
	return problem;
}

static const char *
TakeEncoding(Request *request, const char *name)
{
	if (strcmp(name, "s16le") == 0)
		request->settings.format.encoding = PCM_S16LE;
	else if (strcmp(name, "f32le") == 0)
		request->settings.format.encoding = PCM_F32LE;
	else if (strcmp(name, "mulaw") == 0)
		request->settings.format.encoding = PCM_MULAW;
	else
		return "config.encoding is s16le, f32le or mulaw";
	return NULL;
}

static const char *
TakeOffset(Request *request, const json_t *offset)
{
	json_int_t value = json_integer_value(offset);

	if (offset != NULL && (!json_is_integer(offset) || value < 0 || value > STREAM_OFFSET_MAX_MS))
		return "config.offset_ms is 0 to 604800000";
	if (offset != NULL)
		request->settings.offset_ms = (int) value;
	return NULL;
}

/* TakeConfig takes over what a configuration says; returns NULL or what is wrong with it. */
static const char *
TakeConfig(Request *request, const json_t *config)
{
	const json_t *rate = json_object_get(config, "sample_rate");
	const json_t *channels = json_object_get(config, "channels");
	const json_t *words = json_object_get(config, "words");
	const json_t *keep = json_object_get(config, "keep_session");
	const char *encoding = json_string_value(json_object_get(config, "encoding"));
	PcmFormat *format = &request->settings.format;
	const char *problem;

	if (json_object_get(config, "model") != NULL)
		return "config.model is refused: this server's model is its operator's choice";
	if (rate != NULL)
	{
		/* A string does, as float() has it there. */
		double value =
			json_is_string(rate) ? atof(json_string_value(rate)) : json_number_value(rate);

		if (!(value >= PCM_RATE_MIN && value <= PCM_RATE_MAX))
			return "config.sample_rate is 8000 to 48000";
		format->rate = (int) value;
	}
	if (channels != NULL)
	{
		if (json_integer_value(channels) < 1 || json_integer_value(channels) > PCM_CHANNELS_MAX)
			return "config.channels is 1 to 8";
		format->channels = (int) json_integer_value(channels);
	}
	if (words != NULL)
		request->show_words = json_is_true(words) || json_integer_value(words) != 0;
	if (keep != NULL)
		request->keep_session = json_is_true(keep);
	if (encoding != NULL && TakeEncoding(request, encoding) != NULL)
		return TakeEncoding(request, encoding);
	problem = TakeOffset(request, json_object_get(config, "offset_ms"));
	return problem == NULL ? TakeSpeakers(request, json_object_get(config, "speakers")) : problem;
}

void
VoskMessage(Request *request, const char *text, size_t length, ClientMessage *message)
{
	json_t *object = json_loadb(text, length, 0, NULL);
	json_t *config = json_object_get(object, "config");
	json_t *within = json_object_get(config, "token");
	const char *token =
		json_string_value(within == NULL ? json_object_get(object, "token") : within);

	memset(message, 0, sizeof(*message));
	if (token != NULL)
		message->token = strdup(token);
	if (json_is_object(config))
	{
		message->problem = TakeConfig(request, config);
		message->kind = message->problem == NULL ? MESSAGE_CONFIG : MESSAGE_REFUSED;
	}
	else if (message->token != NULL)
		message->kind = MESSAGE_TOKEN;
	else if (json_object_get(object, "eof") != NULL)
		message->kind = MESSAGE_END;
	else if (json_object_get(object, "reset") != NULL)
		message->kind = MESSAGE_FLUSH;
	json_decref(object);
}

/* AddWord is AnswerWords' way to a list of words. */
static void
AddWord(void *context, const AnswerWord *word)
{
	json_array_append_new(context, json_pack("{s:o*, s:o, s:o, s:s}", "conf",
											 AnswerConfidence(word->confidence), "end",
											 AnswerSeconds(word->end_ms), "start",
											 AnswerSeconds(word->start_ms), "word",
											 *word->bare == '\0' ? word->text : word->bare));
}

/* Join makes one text of all that have been stored. */
static char *
Join(const json_t *texts)
{
	size_t size = 1;
	size_t used = 0;
	char *joined;
	size_t i;

	for (i = 0; i < json_array_size(texts); i++)
		size += json_string_length(json_array_get(texts, i)) + 1;
	joined = malloc(size);
	for (i = 0; joined != NULL && i < json_array_size(texts); i++)
	{
		const json_t *text = json_array_get(texts, i);

		if (used > 0)
			joined[used++] = ' ';
		memcpy(joined + used, json_string_value(text), json_string_length(text));
		used += json_string_length(text);
	}
	if (joined != NULL)
		joined[used] = '\0';
	return joined;
}

/* PutResult answers with all that has been stored since the last answer. */
static void
PutResult(Vosk *vosk, const Request *request, Outbox *outbox)
{
	char *text = Join(vosk->texts);
	json_t *answer = json_pack("{s:s}", "text", text == NULL ? "" : text);

	if (request->show_words && json_array_size(vosk->words) > 0)
		json_object_set(answer, "result", vosk->words);
	if (json_array_size(vosk->alerts) > 0)
		json_object_set(answer, "alerts", vosk->alerts);
	AnswerPut(outbox, answer);
	free(text);
	json_array_clear(vosk->texts);
	json_decref(vosk->words);
	vosk->words = json_array();
	json_decref(vosk->alerts);
	vosk->alerts = json_array();
}

/* Keep remembers a segment for the next answer. */
static void
Keep(Vosk *vosk, const Utterance *utterance, const DatabaseAlerts *alerts)
{
	size_t i;

	json_array_append_new(vosk->texts, json_string(utterance->said.text));
	AnswerWords(utterance, AddWord, vosk->words);
	for (i = 0; i < alerts->count; i++)
		json_array_append_new(vosk->alerts,
							  json_pack("{s:s, s:s, s:s}", "kind", alerts->rules[i]->kind,
										"severity", alerts->rules[i]->severity, "pattern",
										alerts->rules[i]->pattern));
}

void
VoskPassed(Vosk *vosk, const Request *request, const Utterance *utterance,
		   const DatabaseAlerts *alerts, Outbox *outbox)
{
	if (utterance->kind == UTTERANCE_SEGMENT)
		Keep(vosk, utterance, alerts);
	else if (utterance->kind == UTTERANCE_FLUSHED ||
			 (utterance->kind == UTTERANCE_HEARD && json_array_size(vosk->texts) > 0))
		PutResult(vosk, request, outbox);
	else if (utterance->kind == UTTERANCE_HEARD)
		AnswerPut(outbox, json_pack("{s:s}", "partial",
									utterance->said.text == NULL ? "" : utterance->said.text));
}

void
VoskEnd(Vosk *vosk, const Request *request, Outbox *outbox)
{
	PutResult(vosk, request, outbox);
}

void
VoskDestroy(Vosk *vosk)
{
	json_decref(vosk->texts);
	json_decref(vosk->words);
	json_decref(vosk->alerts);
}
