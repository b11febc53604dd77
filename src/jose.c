/*
 * jose.c
 *		Verifying tokens against a JWKS, signing with the keyring's key.
 *
 * The algorithm is the key's, never the token's: a token whose header names
 * another one is refused before any signature is computed (RFC 8725, section
 * 3.1). JSON trees live in malloc'd memory, so nothing here may raise while it
 * holds one, but through PG_TRY.
 */
#include "postgres.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/json.h"

#include "cipher.h"
#include "jose.h"
#include "keyring.h"
#include "secret.h"
#include "signing.h"

#define JWKS_MAX_BYTES (256 * 1024)
#define RSA_MIN_MODULUS_BYTES 256
#define HMAC_MIN_BYTES 32

/* A key that has gone from the file serves no token in force after this time, in microseconds. */
#define KEY_SET_LOOK_USECS 1000

/* A clock may be this many seconds behind the issuer's: "nbf" only, never "exp". */
#define NOT_BEFORE_LEEWAY 30

/* The end of the year 9999, as a NumericDate. */
#define SECONDS_MAX 253402300800.0

/* Verified tokens are remembered, so that an ES256 check is not paid by every transaction. */
#define REMEMBERED_TOKENS 64

typedef struct RememberedToken
{
	uint8 digest[CIPHER_DIGEST_BYTES];
	bool own; /* signed by this database */
	uint64 key_set; /* the serials that it was verified under */
	uint64 keyring; /* of an own one only */
	TokenClaims claims;
} RememberedToken;

static char *token_keys_file = NULL;
static char *token_audience = NULL;
static char *token_issuer = NULL;

static json_t *key_set = NULL;
static struct stat key_set_file;
static uint64 key_set_serial = 0;

static RememberedToken remembered[REMEMBERED_TOKENS];
static int next_remembered = 0;

/* AssignExpected makes tokens that were verified for another audience, or as another issuer's, be verified again. */
static void
AssignExpected(const char *newval, void *extra)
{
	key_set_serial++;
}

/* JoseInit defines the settings of token verification. */
void
JoseInit(void)
{
	DefineCustomStringVariable(
		"cauce.token_keys_file", "Path of the JSON Web Key Set that verifies tokens.",
		"ES256, RS256 and HS256 keys; the algorithm is bound to the key.", &token_keys_file, "",
		PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("cauce.token_audience", "The audience (aud) that tokens must name.",
							   NULL, &token_audience, "cauce", PGC_SIGHUP, 0, NULL, AssignExpected,
							   NULL);
	DefineCustomStringVariable("cauce.token_issuer", "The issuer (iss) that tokens must name.",
							   "Empty: any. Stream tokens of the database itself are exempt.",
							   &token_issuer, "", PGC_SIGHUP, 0, NULL, AssignExpected, NULL);
}

/* JoseTokenAudience is the audience that tokens must name. */
const char *
JoseTokenAudience(void)
{
	return token_audience;
}

/*
 * SameFile tells whether a file is what it was. By the time of its last change of any kind: two key
 * sets may well be of one size, and a copy that replaces the other brings its time of writing along.
 */
static bool
SameFile(const struct stat *now, const struct stat *then)
{
	return now->st_dev == then->st_dev && now->st_ino == then->st_ino &&
		   now->st_size == then->st_size && now->st_ctim.tv_sec == then->st_ctim.tv_sec &&
		   now->st_ctim.tv_nsec == then->st_ctim.tv_nsec;
}

/* LoadKeySet reads the JWKS file unless this process has it as the file is now. */
static void
LoadKeySet(void)
{
	struct stat file;
	json_error_t error;
	json_t *fresh = NULL;
	char *text;
	int fd;

	if (token_keys_file == NULL || token_keys_file[0] == '\0')
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("no token keys are configured"),
						errhint("Set cauce.token_keys_file to a JSON Web Key Set and reload.")));
	if (key_set != NULL && stat(token_keys_file, &file) == 0 && SameFile(&file, &key_set_file))
		return;

	fd = OpenTransientFile(token_keys_file, O_RDONLY | PG_BINARY);
	if (fd < 0 || fstat(fd, &file) != 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("could not open the token keys: %m"),
						errhint("Correct cauce.token_keys_file.")));
	if (file.st_size > 0 && file.st_size <= JWKS_MAX_BYTES)
	{
		text = malloc((Size) file.st_size);
		if (text != NULL && read(fd, text, (Size) file.st_size) == file.st_size)
			fresh = json_loadb(text, (Size) file.st_size, JSON_REJECT_DUPLICATES, &error);
		WipingFree(text);
	}
	CloseTransientFile(fd);
	if (!json_is_array(json_object_get(fresh, "keys")))
	{
		json_decref(fresh);
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the token keys are not a JSON Web Key Set"),
						errhint("cauce.token_keys_file must hold {\"keys\": [...]} (RFC 7517).")));
	}
	json_decref(key_set);
	key_set = fresh;
	key_set_file = file;
	key_set_serial++;
}

/* ByteLength is the number of bytes that a base64url member holds. */
static size_t
ByteLength(const json_t *key, const char *member)
{
	size_t size = libjose.b64_dec(json_object_get(key, member), NULL, 0);

	return size == SIZE_MAX ? 0 : size;
}

/* KeyAlgorithm is the one algorithm that a key may be used with, or NULL for none that we take. */
static const char *
KeyAlgorithm(const json_t *key)
{
	const char *type = json_string_value(json_object_get(key, "kty"));
	const char *named = json_string_value(json_object_get(key, "alg"));
	const char *curve = json_string_value(json_object_get(key, "crv"));
	const char *use = json_string_value(json_object_get(key, "use"));
	const char *algorithm = NULL;

	if (type == NULL || (use != NULL && strcmp(use, "sig") != 0))
		return NULL;
	if (strcmp(type, "EC") == 0 && curve != NULL && strcmp(curve, "P-256") == 0)
		algorithm = "ES256";
	else if (strcmp(type, "RSA") == 0 && ByteLength(key, "n") >= RSA_MIN_MODULUS_BYTES)
		algorithm = "RS256";
	else if (strcmp(type, "oct") == 0 && ByteLength(key, "k") >= HMAC_MIN_BYTES)
		algorithm = "HS256";
	if (algorithm == NULL || (named != NULL && strcmp(named, algorithm) != 0))
		return NULL;
	return algorithm;
}

/* SplitCompact makes a flattened JWS of header.payload.signature; NULL when it is not of that form. */
static json_t *
SplitCompact(const char *compact)
{
	const char *first = strchr(compact, '.');
	const char *second = first != NULL ? strchr(first + 1, '.') : NULL;

	if (second == NULL || strchr(second + 1, '.') != NULL)
		return NULL;
	return json_pack("{s:s%,s:s%,s:s}", "protected", compact, (size_t) (first - compact), "payload",
					 first + 1, (size_t) (second - first - 1), "signature", second + 1);
}

/*
 * LoadPart parses the JSON in one part of a JWS; NULL when it is none, says a thing twice (RFC 7515, section
 * 4; RFC 7519, section 4), or holds a NUL or what is no UTF-8.
 */
static json_t *
LoadPart(const json_t *jws, const char *part)
{
	size_t size = ByteLength(jws, part);
	char *text = size > 0 ? malloc(size) : NULL;
	json_t *tree = NULL;

	if (text != NULL && libjose.b64_dec(json_object_get(jws, part), text, size) == size)
		tree = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
	WipingFree(text);
	return tree;
}

/* SignedBy tells whether one key of keys, with the header's kid and its own algorithm, made the signature. */
static bool
SignedBy(const json_t *jws, const json_t *header, const json_t *keys, bool *known)
{
	const char *algorithm = json_string_value(json_object_get(header, "alg"));
	const char *kid = json_string_value(json_object_get(header, "kid"));
	size_t i;
	json_t *key;

	if (algorithm == NULL || (kid == NULL && json_object_get(header, "kid") != NULL))
		return false;
	json_array_foreach(keys, i, key)
	{
		const char *key_algorithm = KeyAlgorithm(key);
		const char *key_kid = json_string_value(json_object_get(key, "kid"));

		if (key_algorithm == NULL || strcmp(key_algorithm, algorithm) != 0)
			continue;
		if (kid != NULL && (key_kid == NULL || strcmp(kid, key_kid) != 0))
			continue;
		*known = true;
		if (libjose.jws_ver(NULL, jws, NULL, key, false))
			return true;
	}
	return false;
}

/* OwnKey is the public part of the keyring's signing key. */
static json_t *
OwnKey(void)
{
	json_t *key = json_loads(KeyringSigningKey(), 0, NULL);

	if (key != NULL && !libjose.jwk_pub(NULL, key))
	{
		json_decref(key);
		key = NULL;
	}
	if (key == NULL)
		KeyringSigningKeyDamaged();
	return key;
}

/* HasType tells whether the header's typ is type. */
static bool
HasType(const json_t *header, const char *type)
{
	const char *found = json_string_value(json_object_get(header, "typ"));

	return found != NULL && strcmp(found, type) == 0;
}

/* NamesAudience tells whether aud, a string or an array of strings, names ours. */
static bool
NamesAudience(const json_t *claim)
{
	size_t i;
	json_t *one;

	if (json_is_string(claim))
		return strcmp(json_string_value(claim), token_audience) == 0;
	json_array_foreach(claim, i, one)
	{
		if (json_is_string(one) && strcmp(json_string_value(one), token_audience) == 0)
			return true;
	}
	return false;
}

/*
 * NamesIssuer tells whether iss is the one that is expected. What the database has signed itself needs none:
 * its key signs for nobody else.
 */
static bool
NamesIssuer(const json_t *claim, bool own)
{
	const char *issuer = json_string_value(claim);

	return own || token_issuer[0] == '\0' || (issuer != NULL && strcmp(issuer, token_issuer) == 0);
}

/* CopyText copies a string claim that is not empty and fits; false otherwise. */
static bool
CopyText(const json_t *claim, char *into, Size size)
{
	size_t length = json_string_length(claim);

	if (!json_is_string(claim) || length == 0 || length >= size ||
		strlen(json_string_value(claim)) != length)
		return false;
	memcpy(into, json_string_value(claim), length + 1);
	return true;
}

/* ParseUuid reads the canonical text of a UUID. */
static bool
ParseUuid(const char *text, pg_uuid_t *uuid)
{
	int at = 0;

	if (text == NULL || strlen(text) != 36)
		return false;
	for (int i = 0; i < UUID_LEN; i++)
	{
		unsigned int byte;

		if ((i == 4 || i == 6 || i == 8 || i == 10) && text[at++] != '-')
			return false;
		if (!isxdigit((unsigned char) text[at]) || !isxdigit((unsigned char) text[at + 1]) ||
			sscanf(text + at, "%2x", &byte) != 1)
			return false;
		uuid->data[i] = (unsigned char) byte;
		at += 2;
	}
	return true;
}

/* ReadSeconds reads a NumericDate (RFC 7519, section 2) of this era. */
static bool
ReadSeconds(const json_t *claim, int64 *seconds)
{
	double value = json_number_value(claim);

	if (!json_is_number(claim) || !(value >= 0 && value < SECONDS_MAX))
		return false;
	*seconds = (int64) value;
	return true;
}

/* ReadClaims fills claims from a well-formed payload; gives the reason for a refusal, or NULL. */
static const char *
ReadClaims(const json_t *payload, TokenClaims *claims)
{
	const json_t *scope = json_object_get(payload, "scope");
	const json_t *purpose = json_object_get(payload, "purpose");
	const json_t *expires = json_object_get(payload, "exp");
	const json_t *not_before = json_object_get(payload, "nbf");

	memset(claims, 0, sizeof(*claims));
	if (!json_is_object(payload))
		return "The token's payload is not a JSON object.";
	if (!CopyText(json_object_get(payload, "sub"), claims->subject, sizeof(claims->subject)))
		return "The token names no subject (sub).";
	if (!ReadSeconds(expires, &claims->expires))
		return "The token has no expiry (exp) in seconds since 1970.";
	if (not_before != NULL && !ReadSeconds(not_before, &claims->not_before))
		return "The token's nbf is not in seconds since 1970.";
	strlcpy(claims->purpose, TOKEN_DEFAULT_PURPOSE, sizeof(claims->purpose));
	if (purpose != NULL && !CopyText(purpose, claims->purpose, sizeof(claims->purpose)))
		return "The token's purpose is not a short text.";

	claims->scope = SCOPE_APP;
	if (scope != NULL && json_is_string(scope) && strcmp(json_string_value(scope), "stream") == 0)
		claims->scope = SCOPE_STREAM;
	else if (scope != NULL &&
			 (!json_is_string(scope) || strcmp(json_string_value(scope), "app") != 0))
		return "The token's scope is neither app nor stream.";
	if (claims->scope == SCOPE_STREAM &&
		!ParseUuid(json_string_value(json_object_get(payload, "session")), &claims->session))
		return "A stream token must name its session.";
	return NULL;
}

/* VerifyParts checks a token that has been taken apart. */
static const char *
VerifyParts(const json_t *jws, const json_t *header, const json_t *payload, const json_t *keys,
			bool own, TokenClaims *claims)
{
	const char *refusal;
	bool known = false;

	if (!json_is_object(header) || json_object_get(header, "crit") != NULL)
		return "The token's header is malformed or demands an extension.";
	if (HasType(header, TYPE_CERTIFICATE))
		return "An erasure certificate is not a token.";
	if (HasType(header, TYPE_AUDIT_ENTRY))
		return "An audit entry is not a token.";
	if (!SignedBy(jws, header, keys, &known))
		return known ? "The token's signature does not verify."
					 : "No configured key has the token's key id and algorithm.";
	if (!NamesAudience(json_object_get(payload, "aud")))
		return "The token is for another audience (aud).";
	if (!NamesIssuer(json_object_get(payload, "iss"), own))
		return "The token is of another issuer (iss).";
	refusal = ReadClaims(payload, claims);
	if (refusal == NULL && own && claims->scope != SCOPE_STREAM)
		refusal = "The database signs stream tokens only.";
	return refusal;
}

/* VerifyAfresh verifies a token that is not remembered; own tells whether this database signed it. */
static const char *
VerifyAfresh(const char *token, TokenClaims *claims, bool *own)
{
	json_t *volatile keys = NULL;
	json_t *jws = SplitCompact(token);
	json_t *header = LoadPart(jws, "protected");
	json_t *payload = LoadPart(jws, "payload");
	const char *refusal = "The token is not of the form header.payload.signature.";

	*own = HasType(header, TYPE_STREAM_TOKEN);
	PG_TRY();
	{
		if (*own)
			keys = json_pack("[o]", OwnKey());
		if (jws != NULL)
			refusal = VerifyParts(jws, header, payload,
								  *own ? keys : json_object_get(key_set, "keys"), *own, claims);
	}
	PG_FINALLY();
	{
		json_decref(jws);
		json_decref(header);
		json_decref(payload);
		json_decref(keys);
	}
	PG_END_TRY();
	return refusal;
}

/* IsRemembered tells whether a token was verified with the keys that are in force now. */
static bool
IsRemembered(const RememberedToken *token, const uint8 *digest)
{
	return CRYPTO_memcmp(token->digest, digest, CIPHER_DIGEST_BYTES) == 0 &&
		   token->key_set == key_set_serial && (!token->own || token->keyring == KeyringSerial());
}

/* JoseVerifyToken verifies a token, or remembers that it did. */
const char *
JoseVerifyToken(const char *token, int64 now, TokenClaims *claims)
{
	uint8 digest[CIPHER_DIGEST_BYTES];
	Size size = strlen(token);
	const char *refusal = NULL;
	bool found = false;
	bool own = false;

	if (size > TOKEN_MAX_BYTES)
		return "The token is too long.";
	LoadKeySet();
	CipherDigest(token, size, digest);
	for (int i = 0; i < REMEMBERED_TOKENS && !found; i++)
	{
		found = IsRemembered(&remembered[i], digest);
		if (found)
			*claims = remembered[i].claims;
	}
	if (!found)
		refusal = VerifyAfresh(token, claims, &own);
	if (refusal != NULL)
		return refusal;
	if (claims->expires <= now)
		return "The token has expired.";
	if (claims->not_before > now + NOT_BEFORE_LEEWAY)
		return "The token is not valid yet.";
	if (!found)
	{
		RememberedToken *slot = &remembered[next_remembered++ % REMEMBERED_TOKENS];

		memcpy(slot->digest, digest, sizeof(digest));
		slot->claims = *claims;
		slot->own = own;
		slot->key_set = key_set_serial;
		slot->keyring = own ? KeyringSerial() : 0;
	}
	claims->key_set = key_set_serial;
	return NULL;
}

/*
 * JoseIsCurrent looks at the key set's file and compares. The messages of one statement of the
 * extended protocol, and whatever else comes within a millisecond, are spared the system call.
 */
bool
JoseIsCurrent(const TokenClaims *claims, TimestampTz now)
{
	static TimestampTz looked_at = 0;

	if (claims->key_set == key_set_serial && now >= looked_at &&
		now - looked_at < KEY_SET_LOOK_USECS)
		return true;
	LoadKeySet();
	looked_at = now;
	return claims->key_set == key_set_serial;
}

/* JoseReadVerified reads the claims of a token that has been verified before. */
bool
JoseReadVerified(const char *token, TokenClaims *claims)
{
	json_t *jws = SplitCompact(token);
	json_t *payload = LoadPart(jws, "payload");
	bool read = ReadClaims(payload, claims) == NULL;

	json_decref(jws);
	json_decref(payload);
	return read;
}

/* AppendPart appends bytes as one part of a compact JWS. */
static void
AppendPart(StringInfo jws, const void *bytes, Size size)
{
	size_t room = libjose.b64_enc_buf(bytes, size, NULL, 0);

	enlargeStringInfo(jws, (int) room);
	if (libjose.b64_enc_buf(bytes, size, jws->data + jws->len, room) != room)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not encode in base64url")));
	jws->len += (int) room;
	jws->data[jws->len] = '\0';
}

/* JoseClaimJson appends a member. */
void
JoseClaimJson(StringInfo payload, const char *name, const char *json)
{
	appendStringInfoString(payload, payload->len == 0 ? "{\"" : ",\"");
	appendStringInfoString(payload, name);
	appendStringInfoString(payload, "\":");
	appendStringInfoString(payload, json);
}

/* JoseClaim appends a string, or null. */
void
JoseClaim(StringInfo payload, const char *name, const char *value)
{
	JoseClaimJson(payload, name, value != NULL ? "" : "null");
	if (value != NULL)
		escape_json(payload, value);
}

/* JoseSign signs a payload. */
char *
JoseSign(StringInfo payload, const char *type)
{
	const char *header =
		psprintf("{\"alg\":\"ES256\",\"kid\":\"" KEYRING_SIGN "\",\"typ\":\"%s\"}", type);
	uint8 signature[SIGNATURE_BYTES];
	StringInfoData jws;

	appendStringInfoChar(payload, '}');
	initStringInfo(&jws);
	AppendPart(&jws, header, strlen(header));
	appendStringInfoChar(&jws, '.');
	AppendPart(&jws, payload->data, (Size) payload->len);
	SigningSign(jws.data, (Size) jws.len, signature);
	appendStringInfoChar(&jws, '.');
	AppendPart(&jws, signature, sizeof(signature));
	return jws.data;
}

/* JoseVerifyOwn opens what JoseSign made. */
char *
JoseVerifyOwn(const char *compact, const char *type)
{
	json_t *keys = json_pack("[o]", OwnKey());
	json_t *jws = SplitCompact(compact);
	json_t *header = LoadPart(jws, "protected");
	json_t *payload = LoadPart(jws, "payload");
	char *text = NULL;
	char *copy = NULL;
	bool known = false;

	if (jws != NULL && HasType(header, type) && SignedBy(jws, header, keys, &known))
		text = json_dumps(payload, JSON_COMPACT);
	json_decref(keys);
	json_decref(jws);
	json_decref(header);
	json_decref(payload);
	if (text != NULL)
		copy = pstrdup(text);
	free(text);
	return copy;
}

/* JosePublicKeys publishes the verification key. */
char *
JosePublicKeys(void)
{
	json_t *keys = json_pack("{s:[o]}", "keys", OwnKey());
	char *text = json_dumps(keys, JSON_COMPACT);
	char *copy = text != NULL ? pstrdup(text) : NULL;

	json_decref(keys);
	free(text);
	if (copy == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	return copy;
}
