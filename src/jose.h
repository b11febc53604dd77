/*
 * jose.h
 *		JSON Web Tokens in, JSON Web Signatures out; the cryptography is libjose's and OpenSSL's.
 *
 * Sources: RFC 7515 (JWS), RFC 7517 (JWK), RFC 7519 (JWT), RFC 8725 (best practice).
 */
#ifndef CAUCE_JOSE_H
#define CAUCE_JOSE_H

#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "utils/uuid.h"

#include "libjose.h"

#define TOKEN_MAX_BYTES 8192
#define TOKEN_MAX_SUBJECT 256
#define TOKEN_MAX_PURPOSE 64
#define TOKEN_DEFAULT_PURPOSE "care"

/* typ headers that keep evidence from ever passing for a token (RFC 8725, section 3.11). */
#define TYPE_STREAM_TOKEN "cauce-stream+jwt"
#define TYPE_CERTIFICATE "cauce-erasure+jws"
#define TYPE_AUDIT_ENTRY "cauce-audit+jws"

typedef enum TokenScope
{
	SCOPE_APP,
	SCOPE_STREAM
} TokenScope;

/* What a verified token says. Times are seconds since 1970-01-01 UTC. */
typedef struct TokenClaims
{
	char subject[TOKEN_MAX_SUBJECT];
	char purpose[TOKEN_MAX_PURPOSE];
	TokenScope scope;
	pg_uuid_t session;
	int64 expires;
	int64 not_before;
	uint64 key_set; /* what it was verified with: JoseIsCurrent */
} TokenClaims;

/* JoseInit defines cauce.token_keys_file, cauce.token_audience and cauce.token_issuer. */
extern void JoseInit(void);

/*
 * JoseVerifyToken checks signature, times, audience and issuer at the moment now
 * (seconds since 1970). It gives NULL and fills claims, or a sentence that says
 * why the token is refused; it raises 55000 when there are no keys to check with.
 */
extern const char *JoseVerifyToken(const char *token, int64 now, TokenClaims *claims);

/*
 * JoseIsCurrent tells whether keys, audience and issuer are now those that a token was verified with; where they
 * are not, it has to be verified anew. It raises as JoseVerifyToken.
 */
extern bool JoseIsCurrent(const TokenClaims *claims, TimestampTz now);

/*
 * JoseReadVerified reads the claims of a token that this server has verified
 * before, without any check but of its form: for parallel workers.
 */
extern bool JoseReadVerified(const char *token, TokenClaims *claims);

/* JoseTokenAudience is the audience that tokens must name. */
extern const char *JoseTokenAudience(void);

/*
 * A payload is a StringInfo, empty at first. JoseClaim appends a member whose value is a string, in
 * UTF-8, or null; JoseClaimJson one whose value is JSON already.
 */
extern void JoseClaim(StringInfo payload, const char *name, const char *value);
extern void JoseClaimJson(StringInfo payload, const char *name, const char *json);

/* JoseSign gives the compact JWS, palloc'd, of payload under the keyring's signing key. */
extern char *JoseSign(StringInfo payload, const char *type);

/*
 * JoseVerifyOwn gives the payload, as palloc'd JSON text, of a JWS that JoseSign
 * made with the same type; NULL when it is anything else.
 */
extern char *JoseVerifyOwn(const char *jws, const char *type);

/* JosePublicKeys is the JWKS text, palloc'd, that verifies what JoseSign makes. */
extern char *JosePublicKeys(void);

#endif
