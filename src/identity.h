/*
 * identity.h
 *		Who is asking: the account that a signed token names.
 */
#ifndef CAUCE_IDENTITY_H
#define CAUCE_IDENTITY_H

#include "utils/uuid.h"

#include "jose.h"

typedef struct Identity
{
	TokenScope scope;
	char purpose[TOKEN_MAX_PURPOSE];
	pg_uuid_t session; /* of a stream token */
	char subject[TOKEN_MAX_SUBJECT];
	pg_uuid_t account;
	bool has_organization;
	pg_uuid_t organization;
	bool is_admin; /* of an organization whose plan allows admins */
	bool reads_content; /* an admin whose organization has admin_access = content */
	bool breaks_glass; /* has had a grant of break_glass() that may be in force (break_glass.h) */
} Identity;

/* IdentityInit defines cauce.token, cauce.allowed_purposes and cauce.min_tls. */
extern void IdentityInit(void);

/*
 * CurrentIdentity is who the token in force names, NULL where there is none.
 * It raises 28000 for a token that has expired or whose subject is unknown. The
 * result is good until the end of the statement.
 */
extern const Identity *CurrentIdentity(void);

/*
 * RequireOwner is the account that asks with scope app, for functions about one's
 * own sessions; raises 28000 where there is none.
 */
extern const Identity *RequireOwner(void);

/* TokenInForce tells whether a token is set, without any look-up. */
extern bool TokenInForce(void);

/*
 * StatementIdentified tells whether a token is in force, or was at some time during
 * the client's present message, which may hold a COMMIT.
 */
extern bool StatementIdentified(void);

/* TokenSubject is the subject of the token in force, without any look-up; NULL where there is none. */
extern const char *TokenSubject(void);

/* SameUuid compares two UUIDs. Inline: several are compared for each value. */
static inline bool
SameUuid(const pg_uuid_t *a, const pg_uuid_t *b)
{
	return memcmp(a->data, b->data, UUID_LEN) == 0;
}

/* UuidText is the canonical text of a UUID, palloc'd. */
extern char *UuidText(const pg_uuid_t *uuid);

#endif
