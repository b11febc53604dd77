/*
 * evidence.c
 *		Signed statements about the past.
 */
#include "postgres.h"

#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "evidence.h"

PG_FUNCTION_INFO_V1(cauce_open_certificate);
PG_FUNCTION_INFO_V1(cauce_open_audit_entry);

#define ISO_TIME_BYTES 40

/* EvidenceTime prints a moment. */
char *
EvidenceTime(TimestampTz moment)
{
	struct pg_tm tm;
	fsec_t fraction;
	char *text = palloc(ISO_TIME_BYTES);

	if (timestamp2tm(moment, NULL, &tm, &fraction, NULL, NULL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("timestamp out of range")));
	snprintf(text, ISO_TIME_BYTES, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", tm.tm_year, tm.tm_mon,
			 tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, fraction);
	return text;
}

/* EvidenceDate prints a date. */
char *
EvidenceDate(DateADT date)
{
	int year;
	int month;
	int day;

	j2date(date + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	return psprintf("%04d-%02d-%02d", year, month, day);
}

/* EvidenceDigest is SHA-256 of the compact JWS. */
void
EvidenceDigest(const char *jws, uint8 *digest)
{
	CipherDigest(jws, strlen(jws), digest);
}

/* EvidenceHex prints a digest. */
char *
EvidenceHex(const uint8 *digest)
{
	char *text = palloc(2 * CIPHER_DIGEST_BYTES + 1);

	hex_encode((const char *) digest, CIPHER_DIGEST_BYTES, text);
	text[2 * CIPHER_DIGEST_BYTES] = '\0';
	return text;
}

/* EvidenceBytea makes a bytea of a digest. */
Datum
EvidenceBytea(const uint8 *digest)
{
	bytea *bytes = palloc(VARHDRSZ + CIPHER_DIGEST_BYTES);

	SET_VARSIZE(bytes, VARHDRSZ + CIPHER_DIGEST_BYTES);
	memcpy(VARDATA(bytes), digest, CIPHER_DIGEST_BYTES);
	return PointerGetDatum(bytes);
}

/* OpenEvidence is the payload of a statement of that type that this keyring signed; NULL for any other. */
static Datum
OpenEvidence(FunctionCallInfo fcinfo, const char *type)
{
	char *payload = JoseVerifyOwn(text_to_cstring(PG_GETARG_TEXT_PP(0)), type);

	if (payload == NULL)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(payload)));
}

/* cauce.open_certificate(jws) */
Datum
cauce_open_certificate(PG_FUNCTION_ARGS)
{
	return OpenEvidence(fcinfo, TYPE_CERTIFICATE);
}

/* cauce.open_audit_entry(jws) */
Datum
cauce_open_audit_entry(PG_FUNCTION_ARGS)
{
	return OpenEvidence(fcinfo, TYPE_AUDIT_ENTRY);
}
