/*
 * channel.c
 *		The setting cauce.min_tls and what it is compared with.
 */
#include "postgres.h"

#include <limits.h>
#include <openssl/prov_ssl.h>
#include <openssl/tls1.h>

#include "libpq/libpq-be.h"
#include "libpq/libpq.h"
#include "miscadmin.h"
#include "utils/guc.h"

#include "channel.h"

/* Between them lie the versions of TLS, as OpenSSL numbers them. */
#define CHANNEL_UNENCRYPTED 1
#define CHANNEL_LOCAL INT_MAX

static const struct config_enum_entry tls_options[] = {
	{"TLSv1.2", TLS1_2_VERSION, false}, {"TLSv1.3", TLS1_3_VERSION, false}, {NULL, 0, false}};

static int min_tls = TLS1_3_VERSION;

/* ChannelInit defines the setting. */
void
ChannelInit(void)
{
	DefineCustomEnumVariable("cauce.min_tls", "Lowest TLS version over which keys open.",
							 "Unix sockets are exempt.", &min_tls, TLS1_3_VERSION, tls_options,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
}

/* ChannelOfClient looks at the socket. */
int
ChannelOfClient(void)
{
	if (MyProcPort == NULL || MyProcPort->raddr.addr.ss_family == AF_UNIX)
		return CHANNEL_LOCAL;
#ifdef USE_SSL
	if (MyProcPort->ssl_in_use)
	{
		const char *version = be_tls_get_version(MyProcPort);

		for (const struct config_enum_entry *option = tls_options; option->name != NULL; option++)
		{
			if (version != NULL && strcmp(version, option->name) == 0)
				return option->val;
		}
	}
#endif
	return CHANNEL_UNENCRYPTED;
}

/* ChannelIsSafe compares. */
bool
ChannelIsSafe(int channel)
{
	return channel >= min_tls;
}
