/*
 * signing.h
 *		ES256 signatures under the keyring's signing key.
 */
#ifndef CAUCE_SIGNING_H
#define CAUCE_SIGNING_H

#define SIGNATURE_BYTES 64

/* SigningInit registers what frees the key when a transaction ends. */
extern void SigningInit(void);

/*
 * SigningSign signs bytes: signature is R and S, 32 bytes each (RFC 7518, section 3.4). It raises
 * 55000 where the keyring has no usable key.
 */
extern void SigningSign(const void *bytes, Size size, uint8 *signature);

#endif
