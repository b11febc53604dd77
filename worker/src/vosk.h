/*
 * vosk.h
 *	  The protocol of the vosk server (https://github.com/alphacep/vosk-server, websocket/): each
 *	  message of audio has one answer, "partial" while an utterance goes on and "result" when it ended.
 */
#ifndef CAUCE_VOSK_H
#define CAUCE_VOSK_H

#include <jansson.h>

#include "database.h"
#include "outbox.h"
#include "queue.h"
#include "request.h"

/* What has been stored and not been answered with. */
typedef struct Vosk
{
	json_t *texts;
	json_t *words;
	json_t *alerts;
} Vosk;

extern bool VoskInit(Vosk *vosk);

/* VoskMessage reads a text message; a configuration goes into the request. */
extern void VoskMessage(Request *request, const char *text, size_t length, ClientMessage *message);

/* VoskPassed answers with a segment that is stored and its alerts, or with a note. */
extern void VoskPassed(Vosk *vosk, const Request *request, const Utterance *utterance,
					   const DatabaseAlerts *alerts, Outbox *outbox);

/* VoskEnd answers the end of the stream. */
extern void VoskEnd(Vosk *vosk, const Request *request, Outbox *outbox);

extern void VoskDestroy(Vosk *vosk);

#endif
