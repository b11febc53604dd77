/*
 * binding.c
 *		Computing row bindings.
 */
#include "postgres.h"

#include "port/pg_bswap.h"

#include "binding.h"
#include "sealed.h"

/* RowNameAdd adds a length and the field, so that no two lists read the same. */
void
RowNameAdd(StringInfo row_name, const char *field)
{
	int size = strlen(field);
	uint32 length = pg_hton32((uint32) size);

	appendBinaryStringInfo(row_name, (const char *) &length, sizeof(length));
	appendBinaryStringInfo(row_name, field, size);
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
