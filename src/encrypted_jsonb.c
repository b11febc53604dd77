/*
 * encrypted_jsonb.c
 *		The type cauce.encrypted_jsonb: jsonb outside, a sealed value inside.
 *
 * The plaintext is the text that jsonb_out gives, as UTF-8: it does not change with
 * jsonb's own bytes, and everything that jsonb refuses has been refused by then.
 */
#include "postgres.h"

#include "libpq/pqformat.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"

#include "authority.h"
#include "sealed_type.h"
#include "secret.h"

PG_FUNCTION_INFO_V1(cauce_encrypted_jsonb_in);
PG_FUNCTION_INFO_V1(cauce_encrypted_jsonb_out);
PG_FUNCTION_INFO_V1(cauce_encrypted_jsonb_recv);
PG_FUNCTION_INFO_V1(cauce_encrypted_jsonb_send);
PG_FUNCTION_INFO_V1(cauce_encrypted_jsonb_from_jsonb);
PG_FUNCTION_INFO_V1(cauce_encrypted_jsonb_from_json);
PG_FUNCTION_INFO_V1(cauce_encrypted_jsonb_to_jsonb);
PG_FUNCTION_INFO_V1(cauce_encrypted_jsonb_to_json);
PG_FUNCTION_INFO_V1(cauce_encrypted_jsonb_to_text);

/* The first byte of the binary form, as jsonb's. */
#define BINARY_VERSION 1

/* Parsed makes jsonb of JSON text; what is wrong with it is the client's to know, not the log's. */
static Jsonb *
Parsed(char *json)
{
	ErrorContextCallback withhold = {.previous = error_context_stack, .callback = WithholdInput};
	Datum parsed;

	error_context_stack = &withhold;
	parsed = DirectFunctionCall1(jsonb_in, CStringGetDatum(json));
	error_context_stack = withhold.previous;
	return DatumGetJsonbP(parsed);
}

/* FromJsonb seals the text of jsonb. */
static Sealed *
FromJsonb(Jsonb *jsonb)
{
	char *json = JsonbToCString(NULL, &jsonb->root, VARSIZE(jsonb));
	Size size = strlen(json);
	Sealed *sealed = SealText(SEALED_JSONB, json, size);

	SecretWipe(json, size);
	pfree(json);
	return sealed;
}

/* FromJson seals JSON text; or takes, from those who may, the sealed form of it. */
static Sealed *
FromJson(char *json)
{
	Sealed *sealed = TakeSealedForm(SEALED_JSONB, json, strlen(json));
	Jsonb *jsonb;

	if (sealed != NULL)
		return sealed;
	jsonb = Parsed(json);
	sealed = FromJsonb(jsonb);
	SecretWipe(jsonb, VARSIZE(jsonb));
	pfree(jsonb);
	return sealed;
}

/* ToJson gives the JSON text to whoever may have it, and the sealed form to anybody else. */
static char *
ToJson(const Sealed *sealed, Size *size)
{
	char *bytes;

	if (OpenToShow(sealed, SEALED_JSONB, &bytes, size))
		bytes = TextFromUtf8(bytes, *size, size);
	return bytes;
}

/* OpenJson opens for a cast. */
static char *
OpenJson(const Sealed *sealed, Size *size)
{
	char *bytes = NULL;

	OpenOrRaise(sealed, SEALED_JSONB, &bytes, size);
	return TextFromUtf8(bytes, *size, size);
}

/* encrypted_jsonb_in(cstring) */
Datum
cauce_encrypted_jsonb_in(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(FromJson(PG_GETARG_CSTRING(0)));
}

/* encrypted_jsonb_out(encrypted_jsonb) */
Datum
cauce_encrypted_jsonb_out(PG_FUNCTION_ARGS)
{
	Sealed *sealed = (Sealed *) PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	Size size;

	PG_RETURN_CSTRING(ToJson(sealed, &size));
}

/* encrypted_jsonb_recv(internal): the binary form is a version byte and the text, as jsonb's */
Datum
cauce_encrypted_jsonb_recv(PG_FUNCTION_ARGS)
{
	StringInfo buffer = (StringInfo) PG_GETARG_POINTER(0);
	int version = pq_getmsgint(buffer, 1);
	int size;
	char *json;
	Sealed *sealed;

	if (version != BINARY_VERSION)
		ereport(ERROR, (errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
						errmsg("unsupported version number %d of encrypted_jsonb", version),
						errdetail("Its binary form is that of jsonb, version %d.", BINARY_VERSION),
						errhint("Send a byte %d, then the JSON text.", BINARY_VERSION)));
	json = pq_getmsgtext(buffer, buffer->len - buffer->cursor, &size);
	sealed = FromJson(json);
	SecretWipe(json, size);
	pfree(json);
	PG_RETURN_POINTER(sealed);
}

/* encrypted_jsonb_send(encrypted_jsonb): the sealed form stands where the JSON text would */
Datum
cauce_encrypted_jsonb_send(PG_FUNCTION_ARGS)
{
	Sealed *sealed = (Sealed *) PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	StringInfoData buffer;
	Size size;
	char *json = ToJson(sealed, &size);

	pq_begintypsend(&buffer);
	pq_sendint8(&buffer, BINARY_VERSION);
	pq_sendtext(&buffer, json, (int) size);
	SecretWipe(json, size);
	pfree(json);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buffer));
}

/* jsonb -> encrypted_jsonb, the assignment cast */
Datum
cauce_encrypted_jsonb_from_jsonb(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(FromJsonb(PG_GETARG_JSONB_P(0)));
}

/* json -> encrypted_jsonb, the assignment cast */
Datum
cauce_encrypted_jsonb_from_json(PG_FUNCTION_ARGS)
{
	char *json = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Sealed *sealed = FromJson(json);

	SecretWipe(json, strlen(json));
	pfree(json);
	PG_RETURN_POINTER(sealed);
}

/* encrypted_jsonb -> jsonb, the implicit cast: an error, never ciphertext, for those without authority */
Datum
cauce_encrypted_jsonb_to_jsonb(PG_FUNCTION_ARGS)
{
	Sealed *sealed = (Sealed *) PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	Size size;
	char *json = OpenJson(sealed, &size);
	Jsonb *jsonb = Parsed(json);

	SecretWipe(json, size);
	pfree(json);
	PG_RETURN_JSONB_P(jsonb);
}

/*
 * encrypted_jsonb -> json. An archive takes its rows through this cast and hands them
 * back to encrypted_jsonb_in: in custody the document is a JSON string, since a bare
 * null would come back as NULL, and a bare string without its quotes.
 */
Datum
cauce_encrypted_jsonb_to_json(PG_FUNCTION_ARGS)
{
	Sealed *sealed = (Sealed *) PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	Size size;
	char *json = OpenJson(sealed, &size);
	StringInfoData quoted;
	text *result;

	if (InCustody())
	{
		initStringInfo(&quoted);
		escape_json(&quoted, json);
		result = cstring_to_text_with_len(quoted.data, quoted.len);
		SecretWipe(quoted.data, quoted.len);
		pfree(quoted.data);
	}
	else
		result = cstring_to_text_with_len(json, (int) size);
	SecretWipe(json, size);
	pfree(json);
	PG_RETURN_TEXT_P(result);
}

/* encrypted_jsonb -> text */
Datum
cauce_encrypted_jsonb_to_text(PG_FUNCTION_ARGS)
{
	Sealed *sealed = (Sealed *) PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	Size size;
	char *json = OpenJson(sealed, &size);
	text *result = cstring_to_text_with_len(json, (int) size);

	SecretWipe(json, size);
	pfree(json);
	PG_RETURN_TEXT_P(result);
}
