/*
 * secret.h
 *		The one kind of buffer that secrets live in, and the one way to wipe it.
 *
 * Keys stay in OpenSSL's secure heap: pages that are locked into memory, kept
 * out of core dumps and fenced by guard pages (OPENSSL_secure_malloc(3)).
 */
#ifndef CAUCE_SECRET_H
#define CAUCE_SECRET_H

/* SecretAlloc gives size zeroed bytes of locked memory; raises 53200 when the heap is full. */
extern void *SecretAlloc(Size size);

/* SecretFree wipes and releases what SecretAlloc gave; NULL is allowed. */
extern void SecretFree(void *secret, Size size);

/*
 * SecretRefuseCore makes this process leave no core dump when it crashes: plaintext lies in
 * the server's own buffers while it is on its way. The first SecretAlloc does the same.
 */
extern void SecretRefuseCore(void);

/* SecretWipe overwrites bytes that live elsewhere: plaintext in a palloc'd buffer, a key on the stack. */
extern void SecretWipe(void *bytes, Size size);

/* WipingFree frees malloc'd memory of unknown size after overwriting it; for libraries that take a free function. */
extern void WipingFree(void *bytes);

#endif
