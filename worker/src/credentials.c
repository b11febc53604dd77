/*
 * credentials.c
 *	  Finds tokens in headers (RFC 9110 section 11.4, RFC 6455 section 11.3.4).
 */
#include "credentials.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

static bool
IsScheme(const char *name)
{
	return strcasecmp(name, "token") == 0 || strcasecmp(name, "bearer") == 0;
}

const char *
TokenOfAuthorization(char *header)
{
	char *space = strchr(header, ' ');

	if (space == NULL)
		return NULL;
	*space = '\0';
	return IsScheme(header) ? space + 1 + strspn(space + 1, " ") : NULL;
}

const char *
TokenOfProtocols(char *header)
{
	char *rest = NULL;
	char *name = strtok_r(header, ", ", &rest);

	while (name != NULL && !IsScheme(name))
		name = strtok_r(NULL, ", ", &rest);
	return name == NULL ? NULL : strtok_r(NULL, ", ", &rest);
}
