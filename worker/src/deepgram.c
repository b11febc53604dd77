/*
 * deepgram.c
 *	  Speaks the protocol of Deepgram's /v1/listen.
 */
#include "deepgram.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "answers.h"

#define ENDPOINTING_MAX_MS 10000
#define UTTERANCE_END_MIN_MS 500
#define UTTERANCE_END_MAX_MS 10000
#define MODEL_ARCH "cauce"
#define ANY_LANGUAGE "multi"

/* Long enough that the rules for long segments come first. */
#define NO_ENDPOINTING_MS ENDPOINTING_MAX_MS

static const char *
TakeEncoding(Request *request, const char *value)
{
	StreamSettings *settings = &request->settings;

	settings->kind = STREAM_RAW;
	if (strcmp(value, "linear16") == 0)
		settings->format.encoding = PCM_S16LE;
	else if (strcmp(value, "linear32") == 0)
		settings->format.encoding = PCM_F32LE;
	else if (strcmp(value, "mulaw") == 0)
		settings->format.encoding = PCM_MULAW;
	else if (strcmp(value, "opus") == 0 || strcmp(value, "ogg-opus") == 0)
		settings->kind = STREAM_CONTAINER;
	else
		return "encoding is linear16, linear32, mulaw or ogg-opus";
	return NULL;
}

static const char *
TakeEndpointing(Request *request, const char *value)
{
	if (strcmp(value, "false") == 0)
		request->pause_ms = NO_ENDPOINTING_MS;
	else if (strcmp(value, "true") != 0 &&
			 !RequestNumber(value, 0, ENDPOINTING_MAX_MS, &request->pause_ms))
		return "endpointing is false, true or a number of milliseconds up to 10000";
	return NULL;
}

static const char *
TakeLanguage(Request *request, const char *value)
{
	size_t length = strlen(value);

	if (strcmp(value, ANY_LANGUAGE) == 0)
		return NULL;
	if (length == 0 || length >= sizeof(request->language))
		return "language is a tag such as en or de-CH, or multi";
	memcpy(request->language, value, length + 1);
	return NULL;
}

static const char *
TakeFlag(const char *value, bool *flag, const char *problem)
{
	return RequestBoolean(value, flag) ? NULL : problem;
}

const char *
DeepgramQuery(Request *request, const char *name, const char *value)
{
	PcmFormat *format = &request->settings.format;
	bool ignored;

	if (strcmp(name, "encoding") == 0)
		return TakeEncoding(request, value);
	if (strcmp(name, "sample_rate") == 0)
		return RequestNumber(value, PCM_RATE_MIN, PCM_RATE_MAX, &format->rate)
				   ? NULL
				   : "sample_rate is 8000 to 48000";
	if (strcmp(name, "channels") == 0)
		return RequestNumber(value, 1, PCM_CHANNELS_MAX, &format->channels) ? NULL
																			: "channels is 1 to 8";
	if (strcmp(name, "speaker") == 0)
		return RequestAddSpeaker(request, value);
	if (strcmp(name, "endpointing") == 0)
		return TakeEndpointing(request, value);
	if (strcmp(name, "interim_results") == 0)
		return TakeFlag(value, &request->notes.interim, "interim_results is true or false");
	if (strcmp(name, "vad_events") == 0)
		return TakeFlag(value, &request->notes.begins, "vad_events is true or false");
	if (strcmp(name, "keep_session") == 0)
		return TakeFlag(value, &request->keep_session, "keep_session is true or false");
	if (strcmp(name, "offset_ms") == 0)
		return RequestNumber(value, 0, STREAM_OFFSET_MAX_MS, &request->settings.offset_ms)
				   ? NULL
				   : "offset_ms is 0 to 604800000";
	if (strcmp(name, "multichannel") == 0)
		return TakeFlag(value, &ignored, "multichannel is true or false");
	if (strcmp(name, "utterance_end_ms") == 0)
		return RequestNumber(value, UTTERANCE_END_MIN_MS, UTTERANCE_END_MAX_MS,
							 &request->notes.ends_ms)
				   ? NULL
				   : "utterance_end_ms is 500 to 10000";
	if (strcmp(name, "callback") == 0)
		return "callback is refused: what is said goes to the database and to this client only";
	if (strcmp(name, "language") == 0)
		return TakeLanguage(request, value);
	return NULL;
}

const char *
DeepgramCheck(Request *request)
{
	if (request->settings.kind == STREAM_RAW && request->settings.format.rate == 0)
		return "sample_rate is needed with this encoding";
	if (request->settings.kind == STREAM_RAW &&
		request->settings.speaker_count > request->settings.format.channels)
		return "there are more speakers than channels";
	return NULL;
}

void
DeepgramMessage(const char *text, size_t length, ClientMessage *message)
{
	json_t *object = json_loadb(text, length, 0, NULL);
	const char *type = json_string_value(json_object_get(object, "type"));
	const char *token = json_string_value(json_object_get(object, "token"));

	memset(message, 0, sizeof(*message));
	if (token != NULL && (message->token = strdup(token)) != NULL)
		message->kind = MESSAGE_TOKEN;
	else if (type != NULL && strcmp(type, "KeepAlive") == 0)
		message->kind = MESSAGE_KEEP_ALIVE;
	else if (type != NULL && strcmp(type, "Finalize") == 0)
		message->kind = MESSAGE_FLUSH;
	else if (type != NULL && strcmp(type, "CloseStream") == 0)
		message->kind = MESSAGE_END;
	json_decref(object);
}

/* AddWord is AnswerWords' way to a list of words. */
static void
AddWord(void *context, const AnswerWord *word)
{
	json_array_append_new(context, json_pack("{s:s, s:o, s:o, s:o*, s:s}", "word",
											 *word->bare == '\0' ? word->text : word->bare, "start",
											 AnswerSeconds(word->start_ms), "end",
											 AnswerSeconds(word->end_ms), "confidence",
											 AnswerConfidence(word->confidence), "punctuated_word",
											 word->text));
}

/* Results makes a message of type Results. */
static json_t *
Results(const Request *request, int channels, const Utterance *utterance)
{
	const char *text = utterance->said.text == NULL ? "" : utterance->said.text;
	bool final = utterance->kind != UTTERANCE_INTERIM;
	json_t *words = json_array();

	AnswerWords(utterance, AddWord, words);
	return json_pack(
		"{s:s, s:[i,i], s:o, s:o, s:b, s:b, s:b, s:{s:[{s:s, s:o*, s:o}]}, s:{s:s, s:{s:s, "
		"s:s, s:s}, s:s}}",
		"type", "Results", "channel_index", utterance->channel, channels, "duration",
		AnswerSeconds(utterance->end_ms - utterance->start_ms), "start",
		AnswerSeconds(utterance->start_ms), "is_final", final, "speech_final",
		final && (utterance->pause || utterance->flushed), "from_finalize", utterance->flushed,
		"channel", "alternatives", "transcript", text, "confidence",
		AnswerConfidence(utterance->said.confidence), "words", words, "metadata", "request_id",
		request->id, "model_info", "name", MODEL_ARCH, "version", "1.0", "arch", MODEL_ARCH,
		"model_uuid", "00000000-0000-0000-0000-000000000000");
}

static json_t *
Alert(const Utterance *utterance, const Rule *rule)
{
	return json_pack("{s:s, s:i, s:o, s:s, s:s, s:s}", "type", "Alert", "channel",
					 utterance->channel, "start", AnswerSeconds(utterance->start_ms), "kind",
					 rule->kind, "severity", rule->severity, "pattern", rule->pattern);
}

void
DeepgramPassed(const Request *request, int channels, const Utterance *utterance,
			   const DatabaseAlerts *alerts, Outbox *outbox)
{
	size_t i;

	if (utterance->kind == UTTERANCE_BEGINS)
		AnswerPut(outbox, json_pack("{s:s, s:[i,i], s:o}", "type", "SpeechStarted", "channel",
									utterance->channel, channels, "timestamp",
									AnswerSeconds(utterance->start_ms)));
	else if (utterance->kind == UTTERANCE_ENDS)
		AnswerPut(outbox, json_pack("{s:s, s:[i,i], s:o}", "type", "UtteranceEnd", "channel",
									utterance->channel, channels, "last_word_end",
									AnswerSeconds(utterance->end_ms)));
	else if (utterance->kind != UTTERANCE_HEARD)
		AnswerPut(outbox, Results(request, channels, utterance));
	for (i = 0; i < alerts->count; i++)
		AnswerPut(outbox, Alert(utterance, alerts->rules[i]));
}

void
DeepgramEnd(const Request *request, int channels, int64_t duration_ms, Outbox *outbox)
{
	char created[sizeof("2026-01-01T00:00:00Z") + 16];
	time_t now = time(NULL);
	struct tm utc;

	gmtime_r(&now, &utc);
	strftime(created, sizeof(created), "%Y-%m-%dT%H:%M:%SZ", &utc);
	AnswerPut(outbox, json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:i}", "type", "Metadata",
								"transaction_key", "deprecated", "request_id", request->id,
								"sha256", "", "created", created, "duration",
								AnswerSeconds(duration_ms), "channels", channels));
}
