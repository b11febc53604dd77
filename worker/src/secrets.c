/*
 * secrets.c
 *	  Takes over the connection string.
 */
#include "secrets.h"

#include <string.h>

#include "database.h"
#include "report.h"

#define CONNINFO_MAX ((size_t) 8192)

size_t
SecretsConninfoRoom(void)
{
	return ArenaRoom(CONNINFO_MAX);
}

const char *
SecretsHideConninfo(char **dsn, Arena *arena)
{
	size_t length = strlen(*dsn);
	char *conninfo = length >= CONNINFO_MAX ? NULL : ArenaTake(arena, CONNINFO_MAX);

	if (conninfo == NULL)
	{
		Report("the --dsn is too long");
		return NULL;
	}
	memcpy(conninfo, *dsn, length + 1);
	explicit_bzero(*dsn, length);
	*dsn = NULL;
	if (DatabaseCheckConninfo(conninfo))
		return conninfo;
	Report("the --dsn is not a connection string or URI that libpq understands");
	return NULL;
}
