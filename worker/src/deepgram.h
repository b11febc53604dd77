/*
 * deepgram.h
 *	  The protocol of Deepgram's /v1/listen.
 *
 * What it says of messages and parameters: https://developers.deepgram.com/reference/
 * speech-to-text/listen-streaming. What differs here is listed in README.md.
 */
#ifndef CAUCE_DEEPGRAM_H
#define CAUCE_DEEPGRAM_H

#include <stdint.h>

#include "database.h"
#include "outbox.h"
#include "queue.h"
#include "request.h"

/* DeepgramQuery takes a parameter of the address; returns NULL or what is wrong with it. */
extern const char *DeepgramQuery(Request *request, const char *name, const char *value);

/* DeepgramCheck tells what is wrong with the parameters together, or NULL. */
extern const char *DeepgramCheck(Request *request);

/* DeepgramMessage reads a text message. */
extern void DeepgramMessage(const char *text, size_t length, ClientMessage *message);

/* DeepgramPassed answers with a segment that is stored and its alerts, or with a note. */
extern void DeepgramPassed(const Request *request, int channels, const Utterance *utterance,
						   const DatabaseAlerts *alerts, Outbox *outbox);

/* DeepgramEnd says the last word of a stream. */
extern void DeepgramEnd(const Request *request, int channels, int64_t duration_ms, Outbox *outbox);

#endif
