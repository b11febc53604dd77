/*
 * deepgram.c
 *	  A text message of a client of /v1/listen is one that the protocol has, or is none.
 *
 * Parts: deepgram.c request.c text.c answers.c recognition.c outbox.c
 * Most bytes: 16384
 */
#include "accepted.h"
#include "deepgram.h"

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	char *text = FuzzCopy(bytes, size);
	ClientMessage message;

	DeepgramMessage(text, size, &message);
	Require(message.kind != MESSAGE_CONFIG && message.kind != MESSAGE_REFUSED);
	CheckMessage(&message);
	free(text);
	return 0;
}
