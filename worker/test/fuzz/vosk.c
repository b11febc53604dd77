/*
 * vosk.c
 *	  Whatever configurations a vosk client sends, one after the other, what is accepted is within bounds.
 *
 * Parts: vosk.c request.c text.c answers.c recognition.c outbox.c
 * Most bytes: 16384
 *
 * Input: messages, each up to a zero byte.
 */
#include "accepted.h"
#include "vosk.h"

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	Request request;
	size_t start = 0;

	Require(RequestInit(&request, PROTOCOL_VOSK));
	while (start < size)
	{
		const uint8_t *end = memchr(bytes + start, '\0', size - start);
		size_t length = end == NULL ? size - start : (size_t) (end - bytes) - start;
		char *text = FuzzCopy(bytes + start, length);
		Request changed = request;
		ClientMessage message;

		VoskMessage(&changed, text, length, &message);
		if (message.kind == MESSAGE_CONFIG)
			request = changed;
		CheckMessage(&message);
		CheckAccepted(&request);
		free(text);
		start += length + 1;
	}
	return 0;
}
