/*
 * kat.c
 *		The functions of src/cipher.c for SQL, so that known answers can be put to them.
 *
 * A test's module only: it takes keys and nonces from SQL, which cauce never does.
 */
#include "postgres.h"

#include "fmgr.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "cipher.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(kat_seal);
PG_FUNCTION_INFO_V1(kat_open);
PG_FUNCTION_INFO_V1(kat_wrap);
PG_FUNCTION_INFO_V1(kat_unwrap);
PG_FUNCTION_INFO_V1(kat_derive);
PG_FUNCTION_INFO_V1(kat_digest);

/* Bytes is an argument's content. */
static const uint8 *
Bytes(bytea *argument)
{
	return (const uint8 *) VARDATA_ANY(argument);
}

/* Exactly is Bytes of an argument that must have size bytes. */
static const uint8 *
Exactly(bytea *argument, Size size)
{
	if (VARSIZE_ANY_EXHDR(argument) != size)
		elog(ERROR, "a vector has %zu bytes where %zu belong", VARSIZE_ANY_EXHDR(argument), size);
	return Bytes(argument);
}

/* Room is a bytea of size bytes to be filled. */
static bytea *
Room(Size size)
{
	bytea *room = palloc(VARHDRSZ + size);

	SET_VARSIZE(room, VARHDRSZ + size);
	return room;
}

/* kat_seal(key, nonce, aad, plaintext): ciphertext and tag. */
Datum
kat_seal(PG_FUNCTION_ARGS)
{
	bytea *aad = PG_GETARG_BYTEA_PP(2);
	bytea *plain = PG_GETARG_BYTEA_PP(3);
	Size size = VARSIZE_ANY_EXHDR(plain);
	bytea *sealed = Room(size + CIPHER_TAG_BYTES);
	uint8 *out = (uint8 *) VARDATA(sealed);

	CipherSealWithNonce(Exactly(PG_GETARG_BYTEA_PP(0), CIPHER_KEY_BYTES), Bytes(aad),
						VARSIZE_ANY_EXHDR(aad), Bytes(plain), size,
						Exactly(PG_GETARG_BYTEA_PP(1), CIPHER_NONCE_BYTES), out, out + size);
	PG_RETURN_BYTEA_P(sealed);
}

/* kat_open(key, nonce, aad, ciphertext, tag): the plaintext, or NULL when it is refused. */
Datum
kat_open(PG_FUNCTION_ARGS)
{
	bytea *aad = PG_GETARG_BYTEA_PP(2);
	bytea *sealed = PG_GETARG_BYTEA_PP(3);
	Size size = VARSIZE_ANY_EXHDR(sealed);
	bytea *plain = Room(size);

	if (CipherOpen(Exactly(PG_GETARG_BYTEA_PP(0), CIPHER_KEY_BYTES), Bytes(aad),
				   VARSIZE_ANY_EXHDR(aad), Exactly(PG_GETARG_BYTEA_PP(1), CIPHER_NONCE_BYTES),
				   Bytes(sealed), size, Exactly(PG_GETARG_BYTEA_PP(4), CIPHER_TAG_BYTES),
				   VARDATA(plain)))
		PG_RETURN_BYTEA_P(plain);
	for (Size i = 0; i < size; i++)
	{
		if (VARDATA(plain)[i] != 0)
			elog(ERROR, "a refused ciphertext left plaintext behind");
	}
	PG_RETURN_NULL();
}

/* kat_wrap(kek, key): the wrapped key. */
Datum
kat_wrap(PG_FUNCTION_ARGS)
{
	bytea *wrapped = Room(CIPHER_WRAPPED_BYTES);

	CipherWrap(Exactly(PG_GETARG_BYTEA_PP(0), CIPHER_KEY_BYTES),
			   Exactly(PG_GETARG_BYTEA_PP(1), CIPHER_KEY_BYTES), (uint8 *) VARDATA(wrapped));
	PG_RETURN_BYTEA_P(wrapped);
}

/* kat_unwrap(kek, wrapped): the key, or NULL when it is refused. */
Datum
kat_unwrap(PG_FUNCTION_ARGS)
{
	bytea *key = Room(CIPHER_KEY_BYTES);

	if (!CipherUnwrap(Exactly(PG_GETARG_BYTEA_PP(0), CIPHER_KEY_BYTES),
					  Exactly(PG_GETARG_BYTEA_PP(1), CIPHER_WRAPPED_BYTES), (uint8 *) VARDATA(key)))
		PG_RETURN_NULL();
	PG_RETURN_BYTEA_P(key);
}

/* kat_derive(secret, salt, info): 32 bytes. */
Datum
kat_derive(PG_FUNCTION_ARGS)
{
	bytea *secret = PG_GETARG_BYTEA_PP(0);
	bytea *salt = PG_GETARG_BYTEA_PP(1);
	bytea *info = PG_GETARG_BYTEA_PP(2);
	bytea *derived = Room(CIPHER_KEY_BYTES);

	CipherDerive(Bytes(secret), VARSIZE_ANY_EXHDR(secret), Bytes(salt), VARSIZE_ANY_EXHDR(salt),
				 Bytes(info), VARSIZE_ANY_EXHDR(info), (uint8 *) VARDATA(derived));
	PG_RETURN_BYTEA_P(derived);
}

/* kat_digest(message): 32 bytes. */
Datum
kat_digest(PG_FUNCTION_ARGS)
{
	bytea *message = PG_GETARG_BYTEA_PP(0);
	bytea *digest = Room(CIPHER_DIGEST_BYTES);

	CipherDigest(Bytes(message), VARSIZE_ANY_EXHDR(message), (uint8 *) VARDATA(digest));
	PG_RETURN_BYTEA_P(digest);
}
