/*
 * request.h
 *	  What a client asks for, whatever protocol it speaks.
 */
#ifndef CAUCE_REQUEST_H
#define CAUCE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "channel.h"
#include "outbox.h"
#include "stream.h"

#define SPEAKER_NAME_MAX 128 /* bytes of a speaker's name from a client */
#define REQUEST_ID 37 /* a uuid as text */
#define LANGUAGE_MAX 36 /* bytes of a language tag */

typedef enum Protocol
{
	PROTOCOL_DEEPGRAM,
	PROTOCOL_VOSK
} Protocol;

typedef struct Request
{
	Protocol protocol;
	char id[REQUEST_ID];
	StreamSettings settings;
	char names[PCM_CHANNELS_MAX][SPEAKER_NAME_MAX]; /* that settings.speakers points to */
	ChannelNotes notes;
	int pause_ms;
	char language[LANGUAGE_MAX]; /* a tag of BCP 47; empty: whatever the models know */
	bool keep_session; /* a clean end of the stream does not end the session */
	bool show_words; /* vosk: with times */
} Request;

/* What a text message from a client says. */
typedef enum MessageKind
{
	MESSAGE_UNKNOWN,
	MESSAGE_TOKEN,
	MESSAGE_CONFIG, /* taken over into the request */
	MESSAGE_KEEP_ALIVE,
	MESSAGE_FLUSH,
	MESSAGE_END,
	MESSAGE_REFUSED /* problem says why */
} MessageKind;

typedef struct ClientMessage
{
	MessageKind kind;
	const char *problem;
	char *token; /* of MESSAGE_TOKEN, and of MESSAGE_CONFIG if there is one: to be freed */
} ClientMessage;

/* RequestInit fills in the defaults of a protocol and a new id. Returns false if there is no randomness. */
extern bool RequestInit(Request *request, Protocol protocol);

/* RequestAddSpeaker names the next channel; returns NULL or what is wrong. */
extern const char *RequestAddSpeaker(Request *request, const char *name);

/* RequestNumber reads a whole number between two bounds; returns whether it is one. */
extern bool RequestNumber(const char *text, int least, int most, int *number);

/* RequestBoolean reads true or false. */
extern bool RequestBoolean(const char *text, bool *value);

#endif
