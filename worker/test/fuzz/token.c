/*
 * token.c
 *	  A token is found in a header, or not; it is for one session, or for none.
 *
 * Parts: token.c credentials.c arena.c report.c
 * Most bytes: 8192
 *
 * Input: where the token stands (alone, in Authorization, in Sec-WebSocket-Protocol), then the header.
 */
#include "credentials.h"
#include "fuzz.h"
#include "token.h"

/* CheckUuid tells by another way than the parser. */
static void
CheckUuid(const char *id)
{
	size_t i;

	Require(strlen(id) == SESSION_ID_LENGTH);
	for (i = 0; i < SESSION_ID_LENGTH; i++)
		Require(strchr("0123456789abcdefABCDEF-", id[i]) != NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	char session_id[SESSION_ID_LENGTH + 1] = "";
	const char *token;
	char *header;

	if (size == 0)
		return 0;
	header = FuzzText(bytes + 1, size - 1);
	if (bytes[0] % 3 == 0)
		token = header;
	else
		token = bytes[0] % 3 == 1 ? TokenOfAuthorization(header) : TokenOfProtocols(header);
	Require(token == NULL || (token >= header && token < header + size));
	if (token != NULL && TokenParse(token, session_id) == NULL)
		CheckUuid(session_id);
	else
		Require(*session_id == '\0');
	free(header);
	return 0;
}
