/*
 * cipher.h
 *		The primitives: AES-256-GCM, HKDF-SHA-256, AES key wrap, SHA-256, all OpenSSL's.
 *
 * Sources: NIST SP 800-38D (GCM), RFC 5869 (HKDF), RFC 3394 (AES-KW), FIPS 180-4.
 * Every function raises XX000 when OpenSSL itself fails, which is never the
 * caller's input.
 */
#ifndef CAUCE_CIPHER_H
#define CAUCE_CIPHER_H

#include "utils/uuid.h"

#define CIPHER_KEY_BYTES 32
#define CIPHER_NONCE_BYTES 12
#define CIPHER_TAG_BYTES 16
#define CIPHER_DIGEST_BYTES 32
#define CIPHER_WRAPPED_BYTES (CIPHER_KEY_BYTES + 8)

/* CipherRandom fills bytes from OpenSSL's generator, which reseeds itself after fork. */
extern void CipherRandom(void *bytes, Size size);

/* CipherRandomUuid makes a version 4 UUID (RFC 4122). */
extern void CipherRandomUuid(pg_uuid_t *uuid);

/*
 * CipherSeal encrypts size bytes under a fresh random nonce. nonce and tag are
 * outputs; out takes size bytes. docs/cryptography.md proves the nonce rule.
 */
extern void CipherSeal(const uint8 *key, const void *aad, Size aad_size, const void *plain,
					   Size size, uint8 *nonce, uint8 *out, uint8 *tag);

/*
 * CipherSealWithNonce is CipherSeal under a given nonce: for CipherSeal, and for
 * known-answer tests. Two texts under one key and one nonce give each other away.
 */
extern void CipherSealWithNonce(const uint8 *key, const void *aad, Size aad_size, const void *plain,
								Size size, const uint8 *nonce, uint8 *out, uint8 *tag);

/* CipherOpen decrypts size bytes; false, and out wiped, when the tag does not match. */
extern bool CipherOpen(const uint8 *key, const void *aad, Size aad_size, const uint8 *nonce,
					   const uint8 *sealed, Size size, const uint8 *tag, void *out);

/* CipherForget drops the key schedules that the reused contexts still hold. */
extern void CipherForget(void);

/* CipherDerive is HKDF-SHA-256: 32 bytes from secret, salt and info. */
extern void CipherDerive(const uint8 *secret, Size secret_size, const void *salt, Size salt_size,
						 const void *info, Size info_size, uint8 *out);

/* CipherWrap wraps one 32-byte key into 40 bytes (AES-256-KW). */
extern void CipherWrap(const uint8 *kek, const uint8 *key, uint8 *wrapped);

/* CipherUnwrap is its inverse; false when the integrity check fails. */
extern bool CipherUnwrap(const uint8 *kek, const uint8 *wrapped, uint8 *key);

/* CipherDigest is SHA-256. */
extern void CipherDigest(const void *bytes, Size size, uint8 *digest);

#endif
