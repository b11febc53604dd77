/*
 * encrypted_text.c
 *		The type cauce.encrypted_text: text outside, a sealed value inside.
 *
 * The plaintext is the text as UTF-8, whatever the database's encoding.
 */
#include "postgres.h"

#include "libpq/pqformat.h"
#include "utils/builtins.h"

#include "sealed_type.h"
#include "secret.h"

PG_FUNCTION_INFO_V1(cauce_encrypted_text_in);
PG_FUNCTION_INFO_V1(cauce_encrypted_text_out);
PG_FUNCTION_INFO_V1(cauce_encrypted_text_recv);
PG_FUNCTION_INFO_V1(cauce_encrypted_text_send);
PG_FUNCTION_INFO_V1(cauce_encrypted_text_from_text);
PG_FUNCTION_INFO_V1(cauce_encrypted_text_to_text);

/* FromText seals text; or takes, from those who may, the sealed form of it. */
static Sealed *
FromText(const char *text, Size size)
{
	Sealed *sealed = TakeSealedForm(SEALED_TEXT, text, size);

	return sealed != NULL ? sealed : SealText(SEALED_TEXT, text, size);
}

/* ToText gives the text to whoever may have it, and the sealed form to anybody else. */
static char *
ToText(const Sealed *sealed, Size *size)
{
	char *bytes;

	if (OpenToShow(sealed, SEALED_TEXT, &bytes, size))
		bytes = TextFromUtf8(bytes, *size, size);
	return bytes;
}

/* TextFrom makes opened UTF-8 a text: in place, where no conversion is needed. */
static text *
TextFrom(char *utf8, Size utf8_size)
{
	Size size;
	char *bytes = TextFromUtf8(utf8, utf8_size, &size);
	text *plain;

	if (bytes == utf8)
	{
		memmove(bytes + VARHDRSZ, bytes, size); /* SEALED_SPARE_BYTES are there for it */
		plain = (text *) bytes;
		SET_VARSIZE(plain, VARHDRSZ + size);
		return plain;
	}
	plain = cstring_to_text_with_len(bytes, (int) size);
	SecretWipe(bytes, size);
	pfree(bytes);
	return plain;
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
	Size size;

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
	Size size;
	char *text = ToText(sealed, &size);

	pq_begintypsend(&buffer);
	pq_sendtext(&buffer, text, (int) size);
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
	Size size = 0;

	OpenOrRaise(sealed, SEALED_TEXT, &bytes, &size);
	PG_RETURN_TEXT_P(TextFrom(bytes, size));
}
