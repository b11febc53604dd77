/*
 * cipher.c
 *		AES-256-GCM, HKDF, AES key wrap and SHA-256 through OpenSSL's EVP.
 *
 * The contexts live as long as the process: making one costs more than sealing
 * a short value, and so does setting its key. Each of a few keeps the key that it
 * was given last; all are reset, which wipes their key schedules, whenever the key
 * cache is wiped.
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
#define UUID_POOL 64

static EVP_CIPHER *gcm = NULL;
static EVP_CIPHER *wrap = NULL;
static EVP_MD *sha256 = NULL;
static EVP_KDF *hkdf = NULL;

/*
 * Contexts with their key set. A row on its way in needs two keys, one of the input
 * and one of its session; a query that joins sessions needs some more.
 */
#define SCHEDULES 8

typedef struct Schedule
{
	EVP_CIPHER_CTX *context;
	bool set;
	uint64 used; /* the higher the later */
} Schedule;

static Schedule schedules[SCHEDULES];
static uint8 *scheduled = NULL; /* their keys, in locked memory */
static int last_schedule = 0;
static uint64 schedule_uses = 0;

static uint8 nonce_pool[NONCE_POOL * CIPHER_NONCE_BYTES];
static int nonces_left = 0;
static int nonce_pid = 0;

/* CipherFailed raises: OpenSSL could not do what it always can. */
static void
CipherFailed(const char *what)
{
	ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("OpenSSL failed in %s", what)));
}

/* PrepareCipher fetches the algorithms, once a process. */
static void
PrepareCipher(void)
{
	if (hkdf != NULL)
		return;
	if (gcm == NULL)
		gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	if (wrap == NULL)
		wrap = EVP_CIPHER_fetch(NULL, "AES-256-WRAP", NULL);
	if (sha256 == NULL)
		sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	if (hkdf == NULL)
		hkdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	if (gcm == NULL || wrap == NULL || sha256 == NULL || hkdf == NULL)
		CipherFailed("set-up");
}

/* CipherRandom fills bytes with random ones. */
void
CipherRandom(void *bytes, Size size)
{
	if (size > INT_MAX || RAND_bytes(bytes, (int) size) != 1)
		CipherFailed("RAND_bytes");
}

/* CipherRandomUuid makes a random UUID, from a pool that never survives a fork: they are no secrets. */
void
CipherRandomUuid(pg_uuid_t *uuid)
{
	static uint8 pool[UUID_POOL * UUID_LEN];
	static int left = 0;
	static int pid = 0;

	if (left == 0 || pid != MyProcPid)
	{
		CipherRandom(pool, sizeof(pool));
		left = UUID_POOL;
		pid = MyProcPid;
	}
	memcpy(uuid->data, pool + --left * UUID_LEN, UUID_LEN);
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

/* HasKey tells whether a schedule is key's. */
static bool
HasKey(int at, const uint8 *key)
{
	return schedules[at].set &&
		   memcmp(scheduled + at * CIPHER_KEY_BYTES, key, CIPHER_KEY_BYTES) == 0;
}

/* ScheduleFor finds the schedule of key, or the one that was not used for longest. */
static int
ScheduleFor(const uint8 *key)
{
	int oldest = 0;

	if (HasKey(last_schedule, key))
		return last_schedule;
	for (int i = 0; i < SCHEDULES; i++)
	{
		if (HasKey(i, key))
			return i;
		if (schedules[i].used < schedules[oldest].used)
			oldest = i;
	}
	return oldest;
}

/* SetUp gives a context with key and nonce set, in one of the two directions. */
static EVP_CIPHER_CTX *
SetUp(const uint8 *key, const uint8 *nonce, bool encrypt)
{
	Schedule *schedule;
	bool fresh;
	int at;

	PrepareCipher();
	if (scheduled == NULL)
		scheduled = SecretAlloc(SCHEDULES * CIPHER_KEY_BYTES);
	at = ScheduleFor(key);
	schedule = &schedules[at];
	if (schedule->context == NULL)
		schedule->context = EVP_CIPHER_CTX_new();
	if (schedule->context == NULL)
		CipherFailed("set-up");
	fresh = !HasKey(at, key);
	schedule->set = false; /* until it is known to be */
	if (EVP_CipherInit_ex2(schedule->context, fresh ? gcm : NULL, fresh ? key : NULL, nonce,
						   encrypt ? 1 : 0, NULL) != 1)
		CipherFailed("AES-256-GCM");
	if (fresh)
		memcpy(scheduled + at * CIPHER_KEY_BYTES, key, CIPHER_KEY_BYTES);
	schedule->set = true;
	schedule->used = ++schedule_uses;
	last_schedule = at;
	return schedule->context;
}

/* CipherSealWithNonce encrypts and authenticates. */
void
CipherSealWithNonce(const uint8 *key, const void *aad, Size aad_size, const void *plain, Size size,
					const uint8 *nonce, uint8 *out, uint8 *tag)
{
	EVP_CIPHER_CTX *context;
	int done;

	context = SetUp(key, nonce, true);
	if (size > INT_MAX || EVP_EncryptUpdate(context, NULL, &done, aad, (int) aad_size) != 1 ||
		(size > 0 && EVP_EncryptUpdate(context, out, &done, plain, (int) size) != 1) ||
		EVP_EncryptFinal_ex(context, out + size, &done) != 1 ||
		EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, CIPHER_TAG_BYTES, tag) != 1)
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
	EVP_CIPHER_CTX *context = SetUp(key, nonce, false);
	int done;

	if (size > INT_MAX || EVP_DecryptUpdate(context, NULL, &done, aad, (int) aad_size) != 1 ||
		(size > 0 && EVP_DecryptUpdate(context, out, &done, sealed, (int) size) != 1) ||
		EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, CIPHER_TAG_BYTES,
							unconstify(uint8 *, tag)) != 1)
		CipherFailed("AES-256-GCM");
	if (EVP_DecryptFinal_ex(context, (uint8 *) out + size, &done) == 1)
		return true;
	SecretWipe(out, size);
	return false;
}

/* CipherForget wipes the key schedules of the reused contexts. */
void
CipherForget(void)
{
	for (int i = 0; i < SCHEDULES; i++)
	{
		if (schedules[i].context != NULL)
			EVP_CIPHER_CTX_reset(schedules[i].context);
		schedules[i].set = false;
	}
	if (scheduled != NULL)
		SecretWipe(scheduled, SCHEDULES * CIPHER_KEY_BYTES);
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
	static EVP_MD_CTX *context = NULL;
	bool fresh = context == NULL;

	PrepareCipher();
	if (fresh)
		context = EVP_MD_CTX_new();
	if (context == NULL || EVP_DigestInit_ex2(context, fresh ? sha256 : NULL, NULL) != 1 ||
		EVP_DigestUpdate(context, bytes, size) != 1 ||
		EVP_DigestFinal_ex(context, digest, NULL) != 1)
		CipherFailed("SHA-256");
}
