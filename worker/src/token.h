/*
 * token.h
 *	  The stream token: a capability to append to one session.
 */
#ifndef CAUCE_TOKEN_H
#define CAUCE_TOKEN_H

#include <stdbool.h>

#include "arena.h"

#define SESSION_ID_LENGTH 36 /* a uuid as text, RFC 9562 section 4 */

typedef struct Token
{
	const char *text; /* the JWT itself, in the arena it was read into */
	char session_id[SESSION_ID_LENGTH + 1];
} Token;

/*
 * TokenParse takes a JWT as text and reads the session id from its payload (claim "session").
 * The signature is not checked: the database does that, and is the judge of all the rest.
 * Returns NULL, or a sentence that says what is wrong without a word of the token.
 */
extern const char *TokenParse(const char *text, char session_id[SESSION_ID_LENGTH + 1]);

/* TokenRoom tells how many bytes of an arena TokenRead takes. */
extern size_t TokenRoom(void);

/*
 * TokenRead reads the token file at path into the arena and parses it. White space around the
 * token is left out. Returns false, with a report that names the file, if it cannot be read, is
 * too large or is no stream token.
 */
extern bool TokenRead(Token *token, const char *path, Arena *arena);

#endif
