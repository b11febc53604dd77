/*
 * encrypted_text.c
 *		The type cauce.encrypted_text: text outside, a sealed value inside.
 *
 * Input seals at once, so that plaintext never reaches a plan, a tuple or the
 * WAL. Output opens for an authorised identity and gives "cauce1:" and base64 to
 * anybody else, which is what dumps and replicas hold.
 */
#include "postgres.h"

#include "common/base64.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "authority.h"
#include "sealed.h"
#include "secret.h"

PG_FUNCTION_INFO_V1(cauce_encrypted_text_in);
PG_FUNCTION_INFO_V1(cauce_encrypted_text_out);
PG_FUNCTION_INFO_V1(cauce_encrypted_text_recv);
PG_FUNCTION_INFO_V1(cauce_encrypted_text_send);
PG_FUNCTION_INFO_V1(cauce_encrypted_text_from_text);
PG_FUNCTION_INFO_V1(cauce_encrypted_text_to_text);
PG_FUNCTION_INFO_V1(cauce_no_statistics);

static const char SealedPrefix[] = "cauce1:";
#define PREFIX_BYTES ((int) sizeof(SealedPrefix) - 1)

/*
 * TakesSealedForm tells whether the caller may hand in sealed values. It asks
 * for the role behind any SECURITY DEFINER function: an application must not be
 * able to pass a stolen value through one of ours.
 */
static bool
TakesSealedForm(void)
{
	Oid role = GetOuterUserId();
	Oid cauce_operator;

	if (InCustody())
		return false;
	if (IsLogicalWorker() || superuser_arg(role))
		return true;
	cauce_operator = get_role_oid("cauce_operator", true);
	return OidIsValid(cauce_operator) && has_privs_of_role(role, cauce_operator);
}

/* FromSealedForm decodes the sealed text form. */
static Sealed *
FromSealedForm(const char *text, int size)
{
	int room = pg_b64_dec_len(size - PREFIX_BYTES);
	Sealed *sealed = palloc(VARHDRSZ + room);
	int got;

	got = pg_b64_decode(text + PREFIX_BYTES, size - PREFIX_BYTES, VARDATA(sealed), room);
	if (got < 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("a sealed value is damaged"),
						errdetail("What follows \"%s\" is not base64.", SealedPrefix),
						errhint("Only values that a dump or a replica holds begin so.")));
	SET_VARSIZE(sealed, VARHDRSZ + got);
	SealedCheckForm(sealed, SEALED_TEXT);
	return sealed;
}

/*
 * FromText seals text, as UTF-8 whatever the database's encoding; or takes, from those
 * who may, the sealed form of it.
 */
static Sealed *
FromText(const char *text, int size)
{
	char *utf8;
	Sealed *sealed;

	if (size >= PREFIX_BYTES && memcmp(text, SealedPrefix, PREFIX_BYTES) == 0 && TakesSealedForm())
		return FromSealedForm(text, size);
	utf8 = pg_server_to_any(text, size, PG_UTF8);
	sealed = SealAtInput(SEALED_TEXT, utf8, utf8 != text ? (int) strlen(utf8) : size);
	if (utf8 != text)
	{
		SecretWipe(utf8, strlen(utf8));
		pfree(utf8);
	}
	return sealed;
}

/* DestroyedKey is what everyone gets who could otherwise open the value. */
static void
DestroyedKey(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED), errmsg("the key of a sealed value is not there"),
			 errdetail("It was destroyed with its session, its time has passed, or the value "
					   "is damaged."),
			 errhint("Nothing can open it in the first two cases; in the third, restore the "
					 "row from a backup.")));
}

/* ToSealedForm encodes the sealed bytes. */
static char *
ToSealedForm(const Sealed *sealed, int *size)
{
	int bytes = VARSIZE_ANY_EXHDR(sealed);
	int room;
	char *text;
	int wrote;

	if (bytes > (int) (MaxAllocSize / 4 * 3) - PREFIX_BYTES - 4)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("a sealed value is too long for its text form")));
	room = pg_b64_enc_len(bytes);
	text = palloc(PREFIX_BYTES + room + 1);
	memcpy(text, SealedPrefix, PREFIX_BYTES);
	wrote = pg_b64_encode(VARDATA_ANY(sealed), bytes, text + PREFIX_BYTES, room);
	if (wrote < 0)
		elog(ERROR, "could not encode a sealed value");
	*size = PREFIX_BYTES + wrote;
	text[*size] = '\0';
	return text;
}

/* ToServer converts opened text to the database's encoding; the UTF-8 is wiped. */
static char *
ToServer(char *utf8, Size utf8_size, int *size)
{
	char *text = pg_any_to_server(utf8, (int) utf8_size, PG_UTF8);

	*size = text != utf8 ? (int) strlen(text) : (int) utf8_size;
	if (text != utf8)
	{
		SecretWipe(utf8, utf8_size);
		pfree(utf8);
	}
	return text;
}

/* ToText gives the plaintext to whoever may have it, and the sealed form to anybody else. */
static char *
ToText(const Sealed *sealed, int *size)
{
	char *bytes;
	Size bytes_size;

	switch (SealedOpen(sealed, SEALED_TEXT, &bytes, &bytes_size))
	{
		case OPEN_OK:
			return ToServer(bytes, bytes_size, size);
		case OPEN_DESTROYED:
			DestroyedKey();
			break;
		case OPEN_NO_IDENTITY:
		case OPEN_NOT_YOURS:
			if (InCustody())
				DestroyedKey(); /* an archive must hold text, never what looks like it */
			break;
	}
	return ToSealedForm(sealed, size);
}

/* encrypted_text_in(cstring) */
Datum
cauce_encrypted_text_in(PG_FUNCTION_ARGS)
{
	char *text = PG_GETARG_CSTRING(0);

	PG_RETURN_POINTER(FromText(text, strlen(text)));
}

/* encrypted_text_out(encrypted_text) */
Datum
cauce_encrypted_text_out(PG_FUNCTION_ARGS)
{
	Sealed *sealed = (Sealed *) PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	int size;

	PG_RETURN_CSTRING(ToText(sealed, &size));
}

/* encrypted_text_recv(internal): the binary form is the text in the client's encoding */
Datum
cauce_encrypted_text_recv(PG_FUNCTION_ARGS)
{
	StringInfo buffer = (StringInfo) PG_GETARG_POINTER(0);
	int size;
	char *text = pq_getmsgtext(buffer, buffer->len - buffer->cursor, &size);
	Sealed *sealed = FromText(text, size);

	SecretWipe(text, size);
	pfree(text);
	PG_RETURN_POINTER(sealed);
}

/* encrypted_text_send(encrypted_text) */
Datum
cauce_encrypted_text_send(PG_FUNCTION_ARGS)
{
	Sealed *sealed = (Sealed *) PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	StringInfoData buffer;
	int size;
	char *text = ToText(sealed, &size);

	pq_begintypsend(&buffer);
	pq_sendtext(&buffer, text, size);
	SecretWipe(text, size);
	pfree(text);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buffer));
}

/* text -> encrypted_text, the assignment cast */
Datum
cauce_encrypted_text_from_text(PG_FUNCTION_ARGS)
{
	text *plain = PG_GETARG_TEXT_PP(0);

	PG_RETURN_POINTER(FromText(VARDATA_ANY(plain), VARSIZE_ANY_EXHDR(plain)));
}

/* encrypted_text -> text, the implicit cast: an error, never ciphertext, for those without authority */
Datum
cauce_encrypted_text_to_text(PG_FUNCTION_ARGS)
{
	Sealed *sealed = (Sealed *) PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	char *bytes = NULL;
	Size bytes_size = 0;
	int size;
	text *plain;

	switch (SealedOpen(sealed, SEALED_TEXT, &bytes, &bytes_size))
	{
		case OPEN_OK:
			break;
		case OPEN_NO_IDENTITY:
			ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
							errmsg("a sealed value cannot be opened without identity"),
							errdetail("cauce.token is not set."),
							errhint("SELECT set_config('cauce.token', $1, true), or select the "
									"column without a cast to "
									"get its sealed form.")));
			break;
		case OPEN_NOT_YOURS:
			ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
							errmsg("permission denied to open a sealed value"),
							errdetail("It belongs to another account."),
							errhint("Select the column without a cast to get its sealed form.")));
			break;
		case OPEN_DESTROYED:
			DestroyedKey();
			break;
	}
	bytes = ToServer(bytes, bytes_size, &size);
	plain = cstring_to_text_with_len(bytes, size);
	SecretWipe(bytes, size);
	pfree(bytes);
	PG_RETURN_TEXT_P(plain);
}

/* no_statistics(internal): ANALYZE collects nothing about sealed columns */
Datum
cauce_no_statistics(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(false);
}
