/*
 * accepted.h
 *	  What holds of every request that a protocol has accepted.
 */
#ifndef CAUCE_ACCEPTED_H
#define CAUCE_ACCEPTED_H

#include <unistr.h>

#include "fuzz.h"
#include "request.h"

#define PAUSE_MAX_MS 10000

/* CheckSpeaker: names go into the database and into answers; they are clean text. */
static inline void
CheckSpeaker(const char *name)
{
	const char *byte;

	Require(*name != '\0' && strlen(name) < SPEAKER_NAME_MAX);
	Require(u8_check((const uint8_t *) name, strlen(name)) == NULL);
	for (byte = name; *byte != '\0'; byte++)
		Require((unsigned char) *byte >= ' ' && *byte != 0x7F);
}

static inline void
CheckAccepted(const Request *request)
{
	const StreamSettings *settings = &request->settings;
	int i;

	Require(settings->format.channels >= 1 && settings->format.channels <= PCM_CHANNELS_MAX);
	Require(settings->kind <= STREAM_ANY);
	if (settings->kind != STREAM_CONTAINER)
		Require(settings->format.rate >= PCM_RATE_MIN && settings->format.rate <= PCM_RATE_MAX);
	Require(request->pause_ms >= 0 && request->pause_ms <= PAUSE_MAX_MS);
	Require(settings->speaker_count >= 0 && settings->speaker_count <= PCM_CHANNELS_MAX);
	for (i = 0; i < settings->speaker_count; i++)
		CheckSpeaker(request->names[i]);
}

/* CheckMessage checks a message's answer and frees it. */
static inline void
CheckMessage(ClientMessage *message)
{
	Require((message->kind == MESSAGE_REFUSED) == (message->problem != NULL));
	Require(message->kind != MESSAGE_TOKEN || message->token != NULL);
	free(message->token);
}

#endif
