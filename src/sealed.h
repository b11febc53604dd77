/*
 * sealed.h
 *		The stored form of a sealed value, and sealing and opening it.
 *
 * docs/format.md describes the bytes. A sealed value is a varlena whose content
 * is a header, the ciphertext and a 128-bit tag; the header is authenticated.
 */
#ifndef CAUCE_SEALED_H
#define CAUCE_SEALED_H

#include "utils/memutils.h"
#include "utils/uuid.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "cipher.h"
#include "datakey.h"

#define SEALED_VERSION 1
#define SEALED_BINDING_BYTES 16

/* What the plaintext is; part of the authenticated header, so that no kind passes for another. */
typedef enum SealedKind
{
	SEALED_TEXT = 1, /* UTF-8 */
	SEALED_JSONB = 2, /* what jsonb_out gives, UTF-8 */
	SEALED_BYTEA = 3,
	SEALED_BUNDLE = 4
} SealedKind;

/* Header flags: the kind in the low nibble, and: */
#define SEALED_COMPRESSED 0x10 /* the plaintext is 4 bytes of length, then a zlib stream */
#define SEALED_AT_INPUT 0x20 /* under a key derived from a durable key; the binding is its salt */
#define SEALED_KIND_MASK 0x0f

typedef struct SealedHeader
{
	uint8 version;
	uint8 flags;
	uint8 generation[2]; /* of the data key, big-endian */
	uint8 key[UUID_LEN];
	uint8 binding[SEALED_BINDING_BYTES];
	uint8 nonce[CIPHER_NONCE_BYTES];
} SealedHeader;

#define SEALED_MIN_BYTES (sizeof(SealedHeader) + CIPHER_TAG_BYTES)

/*
 * The longest sealed value, so that its text form can be dumped: a row of a dump has
 * a gigabyte, base64 takes 4 bytes for 3, and a mebibyte is left for the rest of it.
 */
#define SEALED_MAX_BYTES ((MaxAllocSize - 1024 * 1024) / 4 * 3)

typedef struct varlena Sealed;

/*
 * SealAtInput seals bytes where no row is known: under the account key of the
 * current identity, or the inbox key. Like the next two it raises 54000 for what is too long.
 */
extern Sealed *SealAtInput(SealedKind kind, const char *bytes, Size size);

/*
 * SealForSession seals bytes under a session's key, SealForAccount under an account's; both
 * bound. form is a kind, with SEALED_COMPRESSED where the bytes are compressed already.
 */
extern Sealed *SealForSession(uint8 form, const char *bytes, Size size, const pg_uuid_t *account,
							  const pg_uuid_t *session, const uint8 *binding);
extern Sealed *SealForAccount(uint8 form, const char *bytes, Size size, const pg_uuid_t *account,
							  const uint8 *binding);

typedef enum OpenResult
{
	OPEN_OK,
	OPEN_NO_IDENTITY,
	OPEN_NOT_YOURS,
	OPEN_DESTROYED
} OpenResult;

/* SealedMayOpen tells whether whoever asks may open what lies under a key (AuthorityOver); OPEN_OK if so. */
extern OpenResult SealedMayOpen(const DataKey *key);

/* So many bytes are free behind what SealedOpen gives, that it can become a varlena where it is. */
#define SEALED_SPARE_BYTES VARHDRSZ

/*
 * SealedOpen opens a value for whoever is asking: OPEN_OK gives palloc'd bytes,
 * with a zero byte and SEALED_SPARE_BYTES behind them. A damaged value raises XX001.
 */
extern OpenResult SealedOpen(const Sealed *sealed, SealedKind kind, char **bytes, Size *size);

/*
 * SealedOpenToReseal is SealedOpen for the sealing trigger, on the way into a row of
 * account: it may also open what this very process sealed at input for the caller. What
 * was compressed stays so; form is what to seal it again with.
 */
extern OpenResult SealedOpenToReseal(const Sealed *sealed, SealedKind kind,
									 const pg_uuid_t *account, uint8 *form, char **bytes,
									 Size *size);

/*
 * SealedExamine opens a value as cauce itself, whoever is asking, and throws away what
 * it held. It gives the key without its secret; false when that is not there. A damaged
 * value raises XX001.
 */
extern bool SealedExamine(const Sealed *sealed, SealedKind kind, DataKey *key);

/* SealedIsBound tells whether a value lies under the given key name with the given binding. */
extern bool SealedIsBound(const Sealed *sealed, const pg_uuid_t *key, uint16 generation,
						  const uint8 *binding);

/* SealedIsInput tells whether a value was sealed at input and lies in no row yet. */
extern bool SealedIsInput(const Sealed *sealed);

/* SealedIsBoundTo tells whether a value has the given binding, whatever its key. */
extern bool SealedIsBoundTo(const Sealed *sealed, const uint8 *binding);

/*
 * SealedIsCurrent tells whether a value, of which the first SEALED_MIN_BYTES suffice, has
 * nothing that SealedRenew would do. Raises as that does.
 */
extern bool SealedIsCurrent(const Sealed *head);

/*
 * SealedRenew gives a value under the current generation of its key, bound to the same place;
 * the value itself where there is nothing to do. It asks for nobody's authority: its callers
 * store what it gives. Raises XX001 for a damaged value and one whose key is not there.
 */
extern Sealed *SealedRenew(Sealed *sealed);

/* SealedKindOf reads what kind of value it is, as it says itself. Raises XX001 for what is none. */
extern SealedKind SealedKindOf(const Sealed *sealed);

/* SealedCheckForm raises XX001 unless the bytes have the form of a sealed value of that kind. */
extern void SealedCheckForm(const Sealed *sealed, SealedKind kind);

#endif
