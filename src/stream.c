/*
 * stream.c
 *		Capabilities to append to one session.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "identity.h"
#include "jose.h"
#include "spi.h"

PG_FUNCTION_INFO_V1(cauce_stream_token);

/* The longest life of a stream token, in seconds: a day. */
#define STREAM_MAX_SECONDS SECS_PER_DAY

/* IsLive tells whether the session is the account's and live. */
static bool
IsLive(const pg_uuid_t *account, const pg_uuid_t *session)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {UUIDOID, UUIDOID};
	Datum values[] = {UUIDPGetDatum(account), UUIDPGetDatum(session)};
	SpiScope scope;
	bool live;

	SpiEnter(&scope, true);
	live = SpiRun(&plan,
				  "SELECT 1 FROM cauce.session"
				  " WHERE account_id = $1 AND id = $2 AND status = 'live'",
				  2, types, values, NULL, true) == 1;
	SpiLeave(&scope);
	return live;
}

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
	const Identity *who = CurrentIdentity();
	int64 now = (int64) time(NULL);
	json_t *payload;
	char *token = NULL;

	if (who == NULL || who->scope != SCOPE_APP)
		ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
						errmsg("only a session's owner may let others append to it"),
						errhint("SET LOCAL cauce.token to the owner's token.")));
	if (ttl < 1 || ttl > STREAM_MAX_SECONDS)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("ttl must be between one second and one day")));
	if (!IsLive(&who->account, session))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("you have no such live session"),
				 errhint("A stream token is for one of your sessions with status live.")));
	payload =
		json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:I,s:I}", "iss", "cauce", "aud", JoseTokenAudience(),
				  "sub", who->subject, "scope", "stream", "session", UuidText(session), "purpose",
				  "care", "iat", (json_int_t) now, "exp", (json_int_t) (now + ttl));
	if (payload == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	PG_TRY();
	{
		token = JoseSign(payload, TYPE_STREAM_TOKEN);
	}
	PG_FINALLY();
	{
		json_decref(payload);
	}
	PG_END_TRY();
	PG_RETURN_TEXT_P(cstring_to_text(token));
}
