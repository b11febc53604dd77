/*
 * credentials.h
 *	  Where a token stands in the headers of a request.
 */
#ifndef CAUCE_CREDENTIALS_H
#define CAUCE_CREDENTIALS_H

/* TokenOfAuthorization finds the token in "Token …" or "Bearer …"; it changes the header. Else NULL. */
extern const char *TokenOfAuthorization(char *header);

/* TokenOfProtocols finds what follows "token" or "bearer" in a list of subprotocols, likewise. */
extern const char *TokenOfProtocols(char *header);

#endif
