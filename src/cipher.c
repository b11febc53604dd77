/*
 * cipher.c
 *		AES-256-GCM, HKDF, AES key wrap and SHA-256 through OpenSSL's EVP.
 *
 * The contexts live as long as the process: making one costs more than sealing
 * a short value. They are reset, which wipes their key schedule, whenever the
 * key cache is wiped.
 */
#include "postgres.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include "miscadmin.h"

#include "cipher.h"
#include "secret.h"

/* Nonces are drawn this many at a time: one call of the generator costs more than one value. */
#define NONCE_POOL 256

static EVP_CIPHER *gcm = NULL;
static EVP_CIPHER *wrap = NULL;
static EVP_MD *sha256 = NULL;
static EVP_KDF *hkdf = NULL;
static EVP_CIPHER_CTX *sealing = NULL;
static EVP_CIPHER_CTX *opening = NULL;

static uint8 nonce_pool[NONCE_POOL * CIPHER_NONCE_BYTES];
static int nonces_left = 0;
static int nonce_pid = 0;

/* CipherFailed raises: OpenSSL could not do what it always can. */
static void
CipherFailed(const char *what)
{
	ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("OpenSSL failed in %s", what)));
}

/* PrepareCipher fetches the algorithms and makes the two contexts, once a process. */
static void
PrepareCipher(void)
{
	if (gcm == NULL)
		gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	if (wrap == NULL)
		wrap = EVP_CIPHER_fetch(NULL, "AES-256-WRAP", NULL);
	if (sha256 == NULL)
		sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	if (hkdf == NULL)
		hkdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	if (sealing == NULL)
		sealing = EVP_CIPHER_CTX_new();
	if (opening == NULL)
		opening = EVP_CIPHER_CTX_new();
	if (gcm == NULL || wrap == NULL || sha256 == NULL || hkdf == NULL || sealing == NULL ||
		opening == NULL)
		CipherFailed("set-up");
}

/* CipherRandom fills bytes with random ones. */
void
CipherRandom(void *bytes, Size size)
{
	if (size > INT_MAX || RAND_bytes(bytes, (int) size) != 1)
		CipherFailed("RAND_bytes");
}

/* CipherRandomUuid makes a random UUID. */
void
CipherRandomUuid(pg_uuid_t *uuid)
{
	CipherRandom(uuid->data, UUID_LEN);
	uuid->data[6] = (uuid->data[6] & 0x0f) | 0x40; /* version 4 */
	uuid->data[8] = (uuid->data[8] & 0x3f) | 0x80; /* variant 1 */
}

/* NextNonce takes 96 random bits from the pool, which never survives a fork. */
static void
NextNonce(uint8 *nonce)
{
	if (nonces_left == 0 || nonce_pid != MyProcPid)
	{
		CipherRandom(nonce_pool, sizeof(nonce_pool));
		nonces_left = NONCE_POOL;
		nonce_pid = MyProcPid;
	}
	nonces_left--;
	memcpy(nonce, nonce_pool + nonces_left * CIPHER_NONCE_BYTES, CIPHER_NONCE_BYTES);
}

/* CipherSealWithNonce encrypts and authenticates. */
void
CipherSealWithNonce(const uint8 *key, const void *aad, Size aad_size, const void *plain, Size size,
					const uint8 *nonce, uint8 *out, uint8 *tag)
{
	int done;

	PrepareCipher();
	if (size > INT_MAX || EVP_EncryptInit_ex2(sealing, gcm, key, nonce, NULL) != 1 ||
		EVP_EncryptUpdate(sealing, NULL, &done, aad, (int) aad_size) != 1 ||
		(size > 0 && EVP_EncryptUpdate(sealing, out, &done, plain, (int) size) != 1) ||
		EVP_EncryptFinal_ex(sealing, out + size, &done) != 1 ||
		EVP_CIPHER_CTX_ctrl(sealing, EVP_CTRL_AEAD_GET_TAG, CIPHER_TAG_BYTES, tag) != 1)
		CipherFailed("AES-256-GCM");
}

/* CipherSeal does so under a nonce that it draws. */
void
CipherSeal(const uint8 *key, const void *aad, Size aad_size, const void *plain, Size size,
		   uint8 *nonce, uint8 *out, uint8 *tag)
{
	NextNonce(nonce);
	CipherSealWithNonce(key, aad, aad_size, plain, size, nonce, out, tag);
}

/* CipherOpen authenticates and decrypts. */
bool
CipherOpen(const uint8 *key, const void *aad, Size aad_size, const uint8 *nonce,
		   const uint8 *sealed, Size size, const uint8 *tag, void *out)
{
	int done;

	PrepareCipher();
	if (size > INT_MAX || EVP_DecryptInit_ex2(opening, gcm, key, nonce, NULL) != 1 ||
		EVP_DecryptUpdate(opening, NULL, &done, aad, (int) aad_size) != 1 ||
		(size > 0 && EVP_DecryptUpdate(opening, out, &done, sealed, (int) size) != 1) ||
		EVP_CIPHER_CTX_ctrl(opening, EVP_CTRL_AEAD_SET_TAG, CIPHER_TAG_BYTES,
							unconstify(uint8 *, tag)) != 1)
		CipherFailed("AES-256-GCM");
	if (EVP_DecryptFinal_ex(opening, (uint8 *) out + size, &done) == 1)
		return true;
	SecretWipe(out, size);
	return false;
}

/* CipherForget wipes the key schedules of the reused contexts. */
void
CipherForget(void)
{
	if (sealing != NULL)
		EVP_CIPHER_CTX_reset(sealing);
	if (opening != NULL)
		EVP_CIPHER_CTX_reset(opening);
}

/* CipherDerive runs HKDF: extract and expand to one key. */
void
CipherDerive(const uint8 *secret, Size secret_size, const void *salt, Size salt_size,
			 const void *info, Size info_size, uint8 *out)
{
	EVP_KDF_CTX *context;
	OSSL_PARAM params[5];
	OSSL_PARAM *next = params;
	bool ok;

	PrepareCipher();
	*next++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, "SHA256", 0);
	*next++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, unconstify(uint8 *, secret),
												secret_size);
	if (salt_size > 0) /* OpenSSL takes no empty one; without any it is what RFC 5869 says */
		*next++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, unconstify(void *, salt),
													salt_size);
	*next++ =
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, unconstify(void *, info), info_size);
	*next = OSSL_PARAM_construct_end();

	context = EVP_KDF_CTX_new(hkdf);
	ok = context != NULL && EVP_KDF_derive(context, out, CIPHER_KEY_BYTES, params) == 1;
	EVP_KDF_CTX_free(context);
	if (!ok)
		CipherFailed("HKDF");
}

/* RunKeyWrap is AES-KW in one of its two directions; false when the input does not fit. */
static bool
RunKeyWrap(bool encrypt, const uint8 *kek, const uint8 *in, int in_size, uint8 *out, int out_size)
{
	EVP_CIPHER_CTX *context;
	int done = 0;
	int last = 0;
	bool ok;

	PrepareCipher();
	context = EVP_CIPHER_CTX_new();
	if (context == NULL)
		CipherFailed("AES-KW");
	EVP_CIPHER_CTX_set_flags(context, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
	ok = EVP_CipherInit_ex2(context, wrap, kek, NULL, encrypt ? 1 : 0, NULL) == 1 &&
		 EVP_CipherUpdate(context, out, &done, in, in_size) == 1 &&
		 EVP_CipherFinal_ex(context, out + done, &last) == 1 && done + last == out_size;
	EVP_CIPHER_CTX_free(context);
	if (!ok)
		ERR_clear_error(); /* the server's TLS code must not find ours in the queue */
	return ok;
}

/* CipherWrap wraps a key. */
void
CipherWrap(const uint8 *kek, const uint8 *key, uint8 *wrapped)
{
	if (!RunKeyWrap(true, kek, key, CIPHER_KEY_BYTES, wrapped, CIPHER_WRAPPED_BYTES))
		CipherFailed("AES-KW");
}

/* CipherUnwrap unwraps a key, or tells that it was wrapped under another one or changed. */
bool
CipherUnwrap(const uint8 *kek, const uint8 *wrapped, uint8 *key)
{
	uint8 room[CIPHER_WRAPPED_BYTES + EVP_MAX_BLOCK_LENGTH];
	bool ok;

	ok = RunKeyWrap(false, kek, wrapped, CIPHER_WRAPPED_BYTES, room, CIPHER_KEY_BYTES);
	if (ok)
		memcpy(key, room, CIPHER_KEY_BYTES);
	SecretWipe(room, sizeof(room));
	return ok;
}

/* CipherDigest hashes bytes. */
void
CipherDigest(const void *bytes, Size size, uint8 *digest)
{
	PrepareCipher();
	if (EVP_Digest(bytes, size, digest, NULL, sha256, NULL) != 1)
		CipherFailed("SHA-256");
}
