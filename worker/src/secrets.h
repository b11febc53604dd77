/*
 * secrets.h
 *	  The connection string, out of sight.
 */
#ifndef CAUCE_SECRETS_H
#define CAUCE_SECRETS_H

#include <stdbool.h>

#include "arena.h"

/* SecretsConninfoRoom tells how many bytes of an arena SecretsHideConninfo takes. */
extern size_t SecretsConninfoRoom(void);

/*
 * SecretsHideConninfo moves a connection string into locked memory, wipes it where it was (the list of
 * processes, the environment) and checks that libpq understands it. Returns NULL, with a report, if not.
 */
extern const char *SecretsHideConninfo(char **dsn, Arena *arena);

#endif
