/*
 * signing.c
 *		The signing key, ready from its first signature until the transaction ends.
 *
 * libjose makes a key of its JSON for every signature, and checks it, which takes several times as
 * long as signing. Here that is done once a transaction, and by OpenSSL: libjose's way leaves a
 * copy of the private number in freed memory. An idle process holds none.
 */
#include "postgres.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "access/xact.h"

#include "cipher.h"
#include "keyring.h"
#include "libjose.h"
#include "secret.h"
#include "signing.h"

/* The coordinates of a point, the private number, R and S; the point with a byte before. */
#define PART_BYTES (SIGNATURE_BYTES / 2)
#define POINT_BYTES (1 + 2 * PART_BYTES)

/* A signature of P-256 in DER takes at most so many bytes: two integers of 33, three headers of 2. */
#define DER_MAX_BYTES 72

static EVP_PKEY_CTX *ready = NULL;
static uint64 ready_keyring = 0; /* the serial of the keyring that it is from */

/* Forget frees the key; OpenSSL wipes the private part. */
static void
Forget(void)
{
	EVP_PKEY_CTX_free(ready);
	ready = NULL;
}

/* ForgetAtEnd frees it with the transaction, whose callbacks before its commit may sign. */
static void
ForgetAtEnd(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PARALLEL_PRE_COMMIT &&
		event != XACT_EVENT_PRE_PREPARE)
		Forget();
}

/* SigningInit registers. */
void
SigningInit(void)
{
	RegisterXactCallback(ForgetAtEnd, NULL);
}

/* ReadPart decodes one number of the JWK; false when it has not 32 bytes. */
static bool
ReadPart(const json_t *jwk, const char *member, uint8 *into)
{
	return libjose.b64_dec(json_object_get(jwk, member), into, PART_BYTES) == PART_BYTES;
}

/* ReverseBytes puts a number's last byte first, where this machine's numbers are so. */
static void
ReverseBytes(uint8 *number)
{
#ifndef WORDS_BIGENDIAN
	for (int i = 0; i < PART_BYTES / 2; i++)
	{
		uint8 other = number[PART_BYTES - 1 - i];

		number[PART_BYTES - 1 - i] = number[i];
		number[i] = other;
	}
#endif
}

/* MakeKey makes a key of point and private number, the latter in this machine's byte order; NULL when it cannot. */
static EVP_PKEY *
MakeKey(uint8 *point, uint8 *number)
{
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	char curve[] = "P-256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, curve, sizeof(curve) - 1),
		OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, POINT_BYTES),
		OSSL_PARAM_BN(OSSL_PKEY_PARAM_PRIV_KEY, number, PART_BYTES),
		OSSL_PARAM_END,
	};
	EVP_PKEY *key = NULL;

	if (context == NULL || EVP_PKEY_fromdata_init(context) != 1 ||
		EVP_PKEY_fromdata(context, &key, EVP_PKEY_KEYPAIR, params) != 1)
		key = NULL;
	EVP_PKEY_CTX_free(context);
	return key;
}

/* ParseKey makes a key of the keyring's JSON; NULL when it is none of P-256. Nothing raises while there is a tree. */
static EVP_PKEY *
ParseKey(const char *json)
{
	static uint8 *number = NULL; /* locked memory */
	uint8 point[POINT_BYTES] = {POINT_CONVERSION_UNCOMPRESSED};
	EVP_PKEY *key = NULL;
	json_t *jwk;

	if (number == NULL)
		number = SecretAlloc(PART_BYTES);
	jwk = json_loads(json, 0, NULL);
	if (ReadPart(jwk, "x", point + 1) && ReadPart(jwk, "y", point + 1 + PART_BYTES) &&
		ReadPart(jwk, "d", number))
	{
		ReverseBytes(number);
		key = MakeKey(point, number);
	}
	json_decref(jwk);
	SecretWipe(number, PART_BYTES);
	return key;
}

/* IsWhole tells whether the key's public part is that of its private one; once a keyring, as it takes a while. */
static bool
IsWhole(EVP_PKEY_CTX *key)
{
	static uint64 checked_keyring = 0;

	if (checked_keyring == KeyringSerial())
		return true;
	if (EVP_PKEY_pairwise_check(key) != 1)
		return false;
	checked_keyring = KeyringSerial();
	return true;
}

/* Prepare makes the keyring's key ready, unless it is. */
static void
Prepare(void)
{
	EVP_PKEY *key;

	if (ready != NULL && ready_keyring == KeyringSerialRead())
		return;
	Forget();
	key = ParseKey(KeyringSigningKey());
	ready = key != NULL ? EVP_PKEY_CTX_new(key, NULL) : NULL;
	EVP_PKEY_free(key); /* ready has a reference of its own */
	if (ready == NULL || !IsWhole(ready) || EVP_PKEY_sign_init(ready) != 1)
	{
		Forget();
		ERR_clear_error(); /* the server's TLS code must not find ours in the queue */
		KeyringSigningKeyDamaged();
	}
	ready_keyring = KeyringSerial();
}

/* Unwrap takes R and S out of a signature in DER. */
static bool
Unwrap(const uint8 *der, Size size, uint8 *signature)
{
	ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &der, (long) size);
	bool fits = pair != NULL && BN_bn2binpad(ECDSA_SIG_get0_r(pair), signature, PART_BYTES) > 0 &&
				BN_bn2binpad(ECDSA_SIG_get0_s(pair), signature + PART_BYTES, PART_BYTES) > 0;

	ECDSA_SIG_free(pair);
	return fits;
}

/* SigningSign signs. */
void
SigningSign(const void *bytes, Size size, uint8 *signature)
{
	uint8 digest[CIPHER_DIGEST_BYTES];
	uint8 der[DER_MAX_BYTES];
	size_t der_size = sizeof(der);

	Prepare();
	CipherDigest(bytes, size, digest);
	if (EVP_PKEY_sign(ready, der, &der_size, digest, sizeof(digest)) != 1 ||
		!Unwrap(der, der_size, signature))
	{
		ERR_clear_error();
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not sign")));
	}
}
