/*
 * authority.h
 *		Who may open what: the second lock, behind row-level security.
 */
#ifndef CAUCE_AUTHORITY_H
#define CAUCE_AUTHORITY_H

#include "datakey.h"
#include "identity.h"

typedef enum Authority
{
	AUTHORITY_GRANTED,
	AUTHORITY_NO_IDENTITY, /* nobody is asking */
	AUTHORITY_NOT_YOURS /* somebody else is */
} Authority;

/* AuthorityInit registers the end of custody at abort. */
extern void AuthorityInit(void);

/*
 * AuthorityOver tells whether the current identity may open values under key.
 * Opening another account's content as its organization's admin is audited, and the entry
 * committed, before it is granted; where that cannot be it raises as WitnessCommit does.
 */
extern Authority AuthorityOver(const DataKey *key);

/* AuthorityOfOwner tells, without any look-up, whether who owns key and so may open under it. */
extern bool AuthorityOfOwner(const Identity *who, const DataKey *key);

/*
 * AuthorityAnyone is false when no value can be opened whatever its key: no identity, no
 * custody, or a command of the server's that would store what it sees.
 */
extern bool AuthorityAnyone(void);

/*
 * AuthorityToWrite refuses (28000, 42501) to write a row of an account that the
 * caller does not speak for, before any look-up could tell whether it exists.
 * session is the one that the row belongs to, or NULL for a row that no stream
 * token may write. Superusers, and so cauce's own functions, may write for
 * anybody; row-level security repeats the rule for everybody else.
 */
extern void AuthorityToWrite(const pg_uuid_t *account, const pg_uuid_t *session);

/* AuthorityRefuseSession raises 42501: the token in force does not reach the session, or it is not there. */
extern void AuthorityRefuseSession(void);

/*
 * AuthorityIsLoading tells a superuser without identity: whoever restores a dump
 * brings rows as they were, with sealed values and keys of their own.
 */
extern bool AuthorityIsLoading(void);

/*
 * Custody lets cauce itself open one session's values while it archives or
 * restores them. It ends with CustodyEnd or with the (sub)transaction's abort.
 */
extern void CustodyBegin(const pg_uuid_t *account, const pg_uuid_t *session);
extern void CustodyEnd(void);
extern bool InCustody(void);

#endif
