/*
 * evp.c
 *		The floor: AES-256-GCM through OpenSSL's EVP and nothing else.
 *
 *		evp VALUES SIZE    prints nanoseconds a value, `seal N` and `open N`
 *
 * The calls are those that cauce needs for a value, in the best order that a C
 * program can make them: one context, its key set once for each session of 100
 * values, then a nonce, 36 bytes of associated data, the text and the 128-bit tag.
 * Nonces are random and drawn 256 at a time, as docs/cryptography.md has it.
 */
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define VALUES_PER_KEY 100
#define KEY_BYTES 32
#define NONCE_BYTES 12
#define NONCE_POOL 256
#define TAG_BYTES 16
#define AAD_BYTES 36

/* A sealed value as it would be stored. */
typedef struct Value
{
	unsigned char aad[AAD_BYTES];
	unsigned char nonce[NONCE_BYTES];
	unsigned char tag[TAG_BYTES];
	unsigned char *text;
} Value;

static unsigned char key[KEY_BYTES];

/* Die says what failed and ends the program. */
static void
Die(const char *what)
{
	fprintf(stderr, "evp: %s failed\n", what);
	exit(1);
}

/* Nanoseconds reads the clock. */
static double
Nanoseconds(void)
{
	struct timespec now;

	if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
		Die("clock_gettime");
	return (double) now.tv_sec * 1e9 + (double) now.tv_nsec;
}

/* NextNonce takes a nonce from the pool. */
static void
NextNonce(unsigned char *nonce)
{
	static unsigned char pool[NONCE_POOL * NONCE_BYTES];
	static int left = 0;

	if (left == 0)
	{
		if (RAND_bytes(pool, sizeof(pool)) != 1)
			Die("RAND_bytes");
		left = NONCE_POOL;
	}
	left--;
	memcpy(nonce, pool + left * NONCE_BYTES, NONCE_BYTES);
}

/* SetKey gives a context the key of the session that the value at belongs to, when a session begins. */
static void
SetKey(EVP_CIPHER_CTX *context, const EVP_CIPHER *gcm, int at, int encrypt)
{
	if (at % VALUES_PER_KEY != 0)
		return;
	memcpy(key, &at, sizeof(at));
	if (EVP_CipherInit_ex2(context, gcm, key, NULL, encrypt, NULL) != 1)
		Die("a key");
}

/* Seal encrypts one value into out. */
static void
Seal(EVP_CIPHER_CTX *context, Value *value, int size, unsigned char *out)
{
	int done;

	NextNonce(value->nonce);
	if (EVP_EncryptInit_ex2(context, NULL, NULL, value->nonce, NULL) != 1 ||
		EVP_EncryptUpdate(context, NULL, &done, value->aad, AAD_BYTES) != 1 ||
		EVP_EncryptUpdate(context, out, &done, value->text, size) != 1 ||
		EVP_EncryptFinal_ex(context, out + size, &done) != 1 ||
		EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, value->tag) != 1)
		Die("sealing");
}

/* Open decrypts one value into out. */
static void
Open(EVP_CIPHER_CTX *context, Value *value, int size, unsigned char *out)
{
	int done;

	if (EVP_DecryptInit_ex2(context, NULL, NULL, value->nonce, NULL) != 1 ||
		EVP_DecryptUpdate(context, NULL, &done, value->aad, AAD_BYTES) != 1 ||
		EVP_DecryptUpdate(context, out, &done, value->text, size) != 1 ||
		EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, value->tag) != 1 ||
		EVP_DecryptFinal_ex(context, out + size, &done) != 1)
		Die("opening");
}

/* Number reads a positive argument. */
static int
Number(const char *text)
{
	char *end;
	long number = strtol(text, &end, 10);

	if (*end != '\0' || number < 1 || number > 100000000)
	{
		fprintf(stderr, "evp: VALUES and SIZE are positive numbers\n");
		exit(2);
	}
	return (int) number;
}

/* MakeValues gives so many values of the text's size, zeroed, apart from each other as rows are. */
static Value *
MakeValues(int count, int size)
{
	Value *values = calloc((size_t) count, sizeof(Value));

	for (int i = 0; values != NULL && i < count; i++)
	{
		values[i].text = calloc(1, (size_t) size + TAG_BYTES);
		if (values[i].text == NULL)
			Die("calloc");
	}
	if (values == NULL)
		Die("calloc");
	return values;
}

int
main(int argc, char **argv)
{
	EVP_CIPHER *gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
	Value *values;
	unsigned char *out;
	double begun;
	int count;
	int size;

	if (argc != 3)
	{
		fprintf(stderr, "evp VALUES SIZE\n");
		return 2;
	}
	count = Number(argv[1]);
	size = Number(argv[2]);
	values = MakeValues(count, size);
	out = malloc((size_t) size + TAG_BYTES);
	if (gcm == NULL || context == NULL || out == NULL)
		Die("set-up");

	begun = Nanoseconds();
	for (int i = 0; i < count; i++)
	{
		SetKey(context, gcm, i, 1);
		Seal(context, &values[i], size, out);
		memcpy(values[i].text, out, (size_t) size);
	}
	printf("seal %.1f\n", (Nanoseconds() - begun) / count);

	begun = Nanoseconds();
	for (int i = 0; i < count; i++)
	{
		SetKey(context, gcm, i, 0);
		Open(context, &values[i], size, out);
	}
	printf("open %.1f\n", (Nanoseconds() - begun) / count);

	for (int i = 0; i < count; i++)
		free(values[i].text);
	free(values);
	free(out);
	EVP_CIPHER_CTX_free(context);
	EVP_CIPHER_free(gcm);
	return 0;
}
