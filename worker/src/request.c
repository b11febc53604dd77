/*
 * request.c
 *	  Defaults and values of requests.
 */
#include "request.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "text.h"

#define UUID_BYTES 16

/* MakeId makes a random uuid, RFC 9562 version 4. */
static bool
MakeId(char id[REQUEST_ID])
{
	unsigned char b[UUID_BYTES];

	if (getrandom(b, sizeof(b), 0) != sizeof(b))
		return false;
	b[6] = (unsigned char) ((b[6] & 0x0F) | 0x40);
	b[8] = (unsigned char) ((b[8] & 0x3F) | 0x80);
	snprintf(id, REQUEST_ID, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
			 b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
			 b[14], b[15]);
	return true;
}

bool
RequestInit(Request *request, Protocol protocol)
{
	memset(request, 0, sizeof(*request));
	request->protocol = protocol;
	request->settings.format.channels = 1;
	if (protocol == PROTOCOL_DEEPGRAM)
		request->settings.kind = STREAM_CONTAINER;
	else
	{
		request->settings.kind = STREAM_ANY;
		request->settings.format.rate = PCM_RATE_MIN;
		request->notes.interim = true;
		request->show_words = true;
	}
	return MakeId(request->id);
}

const char *
RequestAddSpeaker(Request *request, const char *name)
{
	StreamSettings *settings = &request->settings;
	char *clean;
	bool fits;

	if (settings->speaker_count == PCM_CHANNELS_MAX)
		return "there are more speakers than channels";
	clean = TextCopy(name);
	if (clean == NULL)
		return "no memory";
	fits = strlen(clean) < SPEAKER_NAME_MAX && *clean != '\0';
	if (fits)
	{
		char *place = request->names[settings->speaker_count];

		memcpy(place, clean, strlen(clean) + 1);
		settings->speakers[settings->speaker_count++] = place;
	}
	TextFree(clean);
	return fits ? NULL : "speaker is empty or too long";
}

bool
RequestNumber(const char *text, int least, int most, int *number)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || value < least || value > most)
		return false;
	*number = (int) value;
	return true;
}

bool
RequestBoolean(const char *text, bool *value)
{
	*value = strcmp(text, "true") == 0;
	return *value || strcmp(text, "false") == 0;
}
