/*
 * stream.c
 *		Capabilities to append to one session.
 */
#include "postgres.h"

#include <time.h>

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "datakey.h"
#include "identity.h"
#include "jose.h"
#include "session.h"

PG_FUNCTION_INFO_V1(cauce_stream_token);

/* The longest life of a stream token, in seconds: a day. */
#define STREAM_MAX_SECONDS SECS_PER_DAY

/* SecondsOf is the length of an interval, months counted as 30 days. */
static int64
SecondsOf(const Interval *interval)
{
	return interval->time / USECS_PER_SEC + (int64) interval->day * SECS_PER_DAY +
		   (int64) interval->month * DAYS_PER_MONTH * SECS_PER_DAY;
}

/* cauce.stream_token(session_id, ttl): a token that can append to one live session and nothing else. */
Datum
cauce_stream_token(PG_FUNCTION_ARGS)
{
	pg_uuid_t *session = PG_GETARG_UUID_P(0);
	int64 ttl = SecondsOf(PG_GETARG_INTERVAL_P(1));
	const Identity *who = RequireOwner();
	int64 now = (int64) time(NULL);
	StringInfoData payload;

	if (ttl < 1 || ttl > STREAM_MAX_SECONDS)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("ttl must be between one second and one day"),
						errdetail("It is " INT64_FORMAT " seconds.", ttl),
						errhint("Ask for another token when the stream lasts longer.")));
	if (!SessionIsLive(&who->account, session))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("you have no such live session"),
				 errhint("A stream token is for one of your sessions with status live.")));
	DataKeyCheckKeyring();
	initStringInfo(&payload);
	JoseClaim(&payload, "iss", "cauce");
	JoseClaim(&payload, "aud", JoseTokenAudience());
	JoseClaim(&payload, "sub", who->subject);
	JoseClaim(&payload, "scope", "stream");
	JoseClaim(&payload, "session", UuidText(session));
	JoseClaim(&payload, "purpose", who->purpose);
	JoseClaimJson(&payload, "iat", psprintf(INT64_FORMAT, now));
	JoseClaimJson(&payload, "exp", psprintf(INT64_FORMAT, now + ttl));
	PG_RETURN_TEXT_P(cstring_to_text(JoseSign(&payload, TYPE_STREAM_TOKEN)));
}
