/*
 * token.c
 *	  Reads a stream token and the session that it is for.
 *
 * JWT: RFC 7519; its compact form, three base64url parts between dots: RFC 7515 section 7.1.
 */
#include "token.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <jose/b64.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "report.h"

#define TOKEN_MAX ((size_t) 16384) /* bytes of a token file */
#define PAYLOAD_MAX ((size_t) 4096) /* bytes of a decoded payload */

/* IsSessionId tells whether text is a uuid: 8-4-4-4-12 hexadecimal digits. */
static bool
IsSessionId(const char *text)
{
	size_t i;

	if (strlen(text) != SESSION_ID_LENGTH)
		return false;
	for (i = 0; i < SESSION_ID_LENGTH; i++)
	{
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? text[i] != '-' : !isxdigit((unsigned char) text[i]))
			return false;
	}
	return true;
}

/* FindPayload gives the second of exactly three parts, or NULL. */
static const char *
FindPayload(const char *text, size_t *length)
{
	const char *first = strchr(text, '.');
	const char *second = first == NULL ? NULL : strchr(first + 1, '.');

	if (second == NULL || strchr(second + 1, '.') != NULL || first == text || second[1] == '\0')
		return NULL;
	*length = (size_t) (second - first - 1);
	return first + 1;
}

const char *
TokenParse(const char *text, char session_id[SESSION_ID_LENGTH + 1])
{
	unsigned char payload[PAYLOAD_MAX];
	size_t encoded_length;
	size_t length;
	const char *encoded = FindPayload(text, &encoded_length);
	const char *session;
	json_t *claims;

	if (encoded == NULL)
		return "is not a JWT";
	length = jose_b64_dec_buf(encoded, encoded_length, NULL, 0);
	if (length == SIZE_MAX || length > sizeof(payload))
		return "has a payload that is not base64url or is too large";
	if (jose_b64_dec_buf(encoded, encoded_length, payload, sizeof(payload)) != length)
		return "has a payload that is not base64url";
	claims = json_loadb((const char *) payload, length, 0, NULL);
	explicit_bzero(payload, sizeof(payload));
	if (claims == NULL)
		return "has a payload that is not JSON";
	session = json_string_value(json_object_get(claims, "session"));
	if (session == NULL || !IsSessionId(session))
	{
		json_decref(claims);
		return "is not for one session; make a stream token with cauce.stream_token()";
	}
	memcpy(session_id, session, SESSION_ID_LENGTH + 1);
	json_decref(claims);
	return NULL;
}

/* ReadAll reads until the end of the file and returns the number of bytes, or -1. */
static ssize_t
ReadAll(int descriptor, char *buffer, size_t size)
{
	size_t used = 0;

	while (used < size)
	{
		ssize_t got = read(descriptor, buffer + used, size - used);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		used += (size_t) got;
	}
	return (ssize_t) used;
}

size_t
TokenRoom(void)
{
	return ArenaRoom(TOKEN_MAX + 1);
}

bool
TokenRead(Token *token, const char *path, Arena *arena)
{
	int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	char *text = ArenaTake(arena, TOKEN_MAX + 1);
	const char *problem;
	ssize_t length;

	if (text == NULL)
	{
		Report("no room for the token");
		if (descriptor >= 0)
			close(descriptor);
		return false;
	}
	if (descriptor < 0)
	{
		Report("cannot open the token file %s: %s", path, strerror(errno));
		return false;
	}
	length = ReadAll(descriptor, text, TOKEN_MAX + 1);
	if (length < 0)
		Report("cannot read the token file %s: %s", path, strerror(errno));
	close(descriptor);
	if (length < 0)
		return false;
	if ((size_t) length > TOKEN_MAX)
	{
		Report("the token file %s is larger than %zu bytes", path, TOKEN_MAX);
		return false;
	}
	while (length > 0 && isspace((unsigned char) text[length - 1]))
		text[--length] = '\0';
	text[length] = '\0';
	while (isspace((unsigned char) *text))
		text++;
	problem = TokenParse(text, token->session_id);
	if (problem != NULL)
	{
		Report("the token in %s %s", path, problem);
		return false;
	}
	token->text = text;
	return true;
}
