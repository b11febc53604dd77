/*
 * identity.h
 *		Who is asking: the account that a signed token names, or that the login is.
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

/* IdentityInit defines cauce.token and cauce.allowed_purposes. */
extern void IdentityInit(void);

/*
 * CurrentIdentity is who the token in force names, or else the account of the login; NULL where there
 * is neither. It raises 28000 for a token that has expired or whose subject is unknown, and for
 * either over an unsafe connection or for a purpose that is not allowed. The result is good until
 * the end of the statement.
 */
extern const Identity *CurrentIdentity(void);

/*
 * RequireOwner is the account that asks with scope app, for functions about one's
 * own sessions; raises 28000 where there is none.
 */
extern const Identity *RequireOwner(void);

/*
 * IdentityInForce tells whether a token is set or the login is an account's, also one that
 * CurrentIdentity refuses. It may look into the catalog, in a transaction that can.
 */
extern bool IdentityInForce(void);

/*
 * StatementIdentified tells whether an identity is in force, or may be, or was at some time during
 * the client's present message, which may hold a COMMIT. It looks nothing up.
 */
extern bool StatementIdentified(void);

/* IdentitySubject is the subject of whoever is asking; NULL where nobody is. As IdentityInForce. */
extern const char *IdentitySubject(void);

/* IdentityWatch has changes of cauce.account noticed, which is this table. */
extern void IdentityWatch(Oid table);

/* SameUuid compares two UUIDs. Inline: several are compared for each value. */
static inline bool
SameUuid(const pg_uuid_t *a, const pg_uuid_t *b)
{
	return memcmp(a->data, b->data, UUID_LEN) == 0;
}

/* UuidText is the canonical text of a UUID, palloc'd. */
extern char *UuidText(const pg_uuid_t *uuid);

#endif
