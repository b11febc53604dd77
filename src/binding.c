/*
 * binding.c
 *		Computing row bindings.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "port/pg_bswap.h"

#include "binding.h"
#include "sealed.h"

/* RowNameAdd adds a length and the field, as UTF-8, so that no two lists read the same. */
void
RowNameAdd(StringInfo row_name, const char *field)
{
	char *utf8 = pg_server_to_any(field, strlen(field), PG_UTF8);
	int size = strlen(utf8);
	uint32 length = pg_hton32((uint32) size);

	appendBinaryStringInfo(row_name, (const char *) &length, sizeof(length));
	appendBinaryStringInfo(row_name, utf8, size);
	if (utf8 != field)
		pfree(utf8);
}

/* RowNameAddUuid writes a UUID's 36 characters: most fields are UUIDs, and this is on every row's way in. */
void
RowNameAddUuid(StringInfo row_name, const pg_uuid_t *uuid)
{
	static const char digits[] = "0123456789abcdef";
	char text[2 * UUID_LEN + 4 + 1];
	char *at = text;

	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*at++ = '-';
		*at++ = digits[uuid->data[i] >> 4];
		*at++ = digits[uuid->data[i] & 0x0f];
	}
	*at = '\0';
	RowNameAdd(row_name, text);
}

/* BindingOf hashes row and column. */
void
BindingOf(StringInfo row_name, const char *column, uint8 *binding)
{
	uint8 digest[CIPHER_DIGEST_BYTES];
	int row_size = row_name->len;

	RowNameAdd(row_name, column);
	CipherDigest(row_name->data, row_name->len, digest);
	memcpy(binding, digest, SEALED_BINDING_BYTES);
	row_name->len = row_size;
}
