/*
 * encrypted_bytea.c
 *		The type cauce.encrypted_bytea: bytea outside, a sealed value inside.
 *
 * The plaintext is the bytes.
 */
#include "postgres.h"

#include "libpq/pqformat.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/memutils.h"

#include "sealed_type.h"
#include "secret.h"

PG_FUNCTION_INFO_V1(cauce_encrypted_bytea_in);
PG_FUNCTION_INFO_V1(cauce_encrypted_bytea_out);
PG_FUNCTION_INFO_V1(cauce_encrypted_bytea_recv);
PG_FUNCTION_INFO_V1(cauce_encrypted_bytea_send);
PG_FUNCTION_INFO_V1(cauce_encrypted_bytea_from_bytea);
PG_FUNCTION_INFO_V1(cauce_encrypted_bytea_to_bytea);
PG_FUNCTION_INFO_V1(cauce_encrypted_bytea_to_text);

/* FromBytes seals bytes; or takes, from those who may, the sealed form of them. */
static Sealed *
FromBytes(const char *bytes, Size size)
{
	Sealed *sealed = TakeSealedForm(SEALED_BYTEA, bytes, size);

	return sealed != NULL ? sealed : SealAtInput(SEALED_BYTEA, bytes, size);
}

/* TextBytes counts the text form of bytes: "\x" and hex, or escaped. */
static uint64
TextBytes(const char *bytes, Size size)
{
	uint64 count = 0;

	if (bytea_output == BYTEA_OUTPUT_HEX)
		return 2 + 2 * (uint64) size;
	for (Size i = 0; i < size; i++)
	{
		if (bytes[i] == '\\')
			count += 2;
		else
			count += bytes[i] < 0x20 || bytes[i] > 0x7e ? 4 : 1;
	}
	return count;
}

/* ToText gives the text form of bytes, as bytea's, and wipes them. */
static char *
ToText(char *bytes, Size size)
{
	bytea *plain;
	char *text;

	if (TextBytes(bytes, size) > MaxAllocSize - VARHDRSZ - 1)
		ereport(
			ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("%zu bytes are too long for their text form", size),
			 errdetail("The limit is one gigabyte."),
			 errhint("Read them in binary format, or in parts with substr(column::bytea, …).")));
	plain = palloc(VARHDRSZ + size);
	SET_VARSIZE(plain, VARHDRSZ + size);
	memcpy(VARDATA(plain), bytes, size);
	SecretWipe(bytes, size);
	pfree(bytes);
	text = DatumGetCString(DirectFunctionCall1(byteaout, PointerGetDatum(plain)));
	SecretWipe(VARDATA(plain), size);
	pfree(plain);
	return text;
}

/* encrypted_bytea_in(cstring): hex or escaped, as bytea's */
Datum
cauce_encrypted_bytea_in(PG_FUNCTION_ARGS)
{
	char *text = PG_GETARG_CSTRING(0);
	Sealed *sealed = TakeSealedForm(SEALED_BYTEA, text, strlen(text));
	ErrorContextCallback withhold = {.previous = error_context_stack, .callback = WithholdInput};
	bytea *plain;

	if (sealed != NULL)
		PG_RETURN_POINTER(sealed);
	error_context_stack = &withhold;
	plain = DatumGetByteaP(DirectFunctionCall1(byteain, CStringGetDatum(text)));
	error_context_stack = withhold.previous;
	sealed = SealAtInput(SEALED_BYTEA, VARDATA(plain), VARSIZE(plain) - VARHDRSZ);
	SecretWipe(VARDATA(plain), VARSIZE(plain) - VARHDRSZ);
	pfree(plain);
	PG_RETURN_POINTER(sealed);
}

/* encrypted_bytea_out(encrypted_bytea) */
Datum
cauce_encrypted_bytea_out(PG_FUNCTION_ARGS)
{
	Sealed *sealed = (Sealed *) PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	char *bytes;
	Size size;

	if (OpenToShow(sealed, SEALED_BYTEA, &bytes, &size))
		bytes = ToText(bytes, size);
	PG_RETURN_CSTRING(bytes);
}

/* encrypted_bytea_recv(internal): the binary form is the bytes */
Datum
cauce_encrypted_bytea_recv(PG_FUNCTION_ARGS)
{
	StringInfo buffer = (StringInfo) PG_GETARG_POINTER(0);
	int size = buffer->len - buffer->cursor;

	PG_RETURN_POINTER(FromBytes(pq_getmsgbytes(buffer, size), size));
}

/* encrypted_bytea_send(encrypted_bytea) */
Datum
cauce_encrypted_bytea_send(PG_FUNCTION_ARGS)
{
	Sealed *sealed = (Sealed *) PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	StringInfoData buffer;
	char *bytes;
	Size size;

	(void) OpenToShow(sealed, SEALED_BYTEA, &bytes, &size);
	pq_begintypsend(&buffer);
	pq_sendbytes(&buffer, bytes, (int) size);
	SecretWipe(bytes, size);
	pfree(bytes);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buffer));
}

/* bytea -> encrypted_bytea, the assignment cast */
Datum
cauce_encrypted_bytea_from_bytea(PG_FUNCTION_ARGS)
{
	bytea *plain = PG_GETARG_BYTEA_PP(0);

	PG_RETURN_POINTER(FromBytes(VARDATA_ANY(plain), VARSIZE_ANY_EXHDR(plain)));
}

/* encrypted_bytea -> bytea, the implicit cast: an error, never ciphertext, for those without authority */
Datum
cauce_encrypted_bytea_to_bytea(PG_FUNCTION_ARGS)
{
	Sealed *sealed = (Sealed *) PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	char *bytes = NULL;
	Size size = 0;
	bytea *plain;

	OpenOrRaise(sealed, SEALED_BYTEA, &bytes, &size);
	plain = (bytea *) cstring_to_text_with_len(bytes, (int) size);
	SecretWipe(bytes, size);
	pfree(bytes);
	PG_RETURN_BYTEA_P(plain);
}

/* encrypted_bytea -> text: what bytea shows */
Datum
cauce_encrypted_bytea_to_text(PG_FUNCTION_ARGS)
{
	Sealed *sealed = (Sealed *) PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	char *bytes = NULL;
	Size size = 0;
	char *shown;
	text *result;

	OpenOrRaise(sealed, SEALED_BYTEA, &bytes, &size);
	shown = ToText(bytes, size);
	result = cstring_to_text(shown);
	SecretWipe(shown, strlen(shown));
	pfree(shown);
	PG_RETURN_TEXT_P(result);
}
