/*
 * sealed_type.h
 *		What the types encrypted_text, encrypted_jsonb and encrypted_bytea share.
 *
 * Each of them has a plaintext of its own (docs/format.md); how it is sealed, who
 * gets it and what anybody else gets is the same.
 */
#ifndef CAUCE_SEALED_TYPE_H
#define CAUCE_SEALED_TYPE_H

#include "sealed.h"

/*
 * SealedTypeOf tells whether a column of that type holds sealed values, one or an
 * array of them, under domains or not. It gives their kind, and for an array the
 * type of its elements, else InvalidOid.
 */
extern bool SealedTypeOf(Oid type, SealedKind *kind, Oid *element);

/* TypeHoldsSealed tells whether values of that type can hold sealed values, at any depth. */
extern bool TypeHoldsSealed(Oid type);

/*
 * TakeSealedForm gives the sealed value whose text form was handed in by somebody
 * who may do so (a superuser, cauce_operator, a logical replication worker); NULL
 * when the bytes are plaintext. Raises XX001 when the form is damaged.
 */
extern Sealed *TakeSealedForm(SealedKind kind, const char *bytes, Size size);

/*
 * SealedToForm gives a value's text form, whoever is asking; SealedFromForm the value, and raises
 * XX001 for anything else; kind 0 stands for any. For code that moves sealed values and never for what a client says.
 */
extern char *SealedToForm(const Sealed *sealed, Size *size);
extern Sealed *SealedFromForm(SealedKind kind, const char *text, Size size);

/* SealText seals text in the server's encoding as UTF-8, for the identity in force. */
extern Sealed *SealText(SealedKind kind, const char *text, Size size);

/* TextFromUtf8 converts opened, palloc'd UTF-8 to the server's encoding; the UTF-8 is wiped and gone. */
extern char *TextFromUtf8(char *utf8, Size utf8_size, Size *size);

/*
 * OpenToShow opens a value for output: true and the plaintext for whoever may have
 * it, false and the sealed form for anybody else. Zero-terminated, palloc'd.
 */
extern bool OpenToShow(const Sealed *sealed, SealedKind kind, char **bytes, Size *size);

/* RefuseToOpen raises what a cast raises for each result but OPEN_OK. */
extern void RefuseToOpen(OpenResult result);

/* OpenOrRaise opens a value for a cast: without authority it raises 28000 or 42501. */
extern void OpenOrRaise(const Sealed *sealed, SealedKind kind, char **bytes, Size *size);

/*
 * WithholdInput is an error context callback for code that parses content: what it
 * says of the content reaches the client that sent it, and never the server log.
 */
extern void WithholdInput(void *unused);

#endif
