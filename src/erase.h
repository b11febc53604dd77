/*
 * erase.h
 *		Erasure: the key destroyed, the rows removed, a certificate signed.
 */
#ifndef CAUCE_ERASE_H
#define CAUCE_ERASE_H

#include "access/htup.h"
#include "access/tupdesc.h"

#include "datakey.h"

/* EraseInit registers what forgets the ends of chains. */
extern void EraseInit(void);

/*
 * EraseSession and EraseArchive delete one session, or one archived session, and
 * put reason on the certificate. A plain DELETE does the same with reason
 * "request". False when there is no such row.
 */
extern bool EraseSession(const pg_uuid_t *account, const pg_uuid_t *session, const char *reason);
extern bool EraseArchive(const pg_uuid_t *account, const pg_uuid_t *session, const char *reason);

/*
 * EraseMayQuietly tells whether sessions can be erased without triggers: nobody else watches cauce's tables. It holds
 * until the transaction, or the subtransaction that asks, ends. Inside of an SpiScope.
 */
extern bool EraseMayQuietly(void);

/*
 * EraseLockedSession is EraseSession for a session whose row the transaction has locked FOR UPDATE, and quietly,
 * where EraseMayQuietly, the faster way.
 */
extern bool EraseLockedSession(const pg_uuid_t *account, const pg_uuid_t *session,
							   const char *reason, bool quietly);

/* What was erased; organization and session may be NULL, counts is a JSON object. */
typedef struct Erased
{
	const pg_uuid_t *account;
	const pg_uuid_t *organization;
	const pg_uuid_t *session;
	const char *subject;
	const char *counts;
	const DestroyedKeys *keys;
} Erased;

/* The reason of what is erased again, since a backup from before was restored. */
#define REASON_REAPPLIED "reapplied"

/*
 * ErasureBecause has certificates say another reason from now on, and gives the one of before, to be
 * put back in a PG_FINALLY.
 */
extern const char *ErasureBecause(const char *reason);

/*
 * IssueCertificate appends a certificate to the account's chain and notes the erasure for the
 * audit log; the certificate's id. Inside of an SpiScope.
 */
extern pg_uuid_t IssueCertificate(const Erased *erased);

/*
 * While an account is erased, its rows get no certificates of their own, and nobody asks
 * about their legal hold or their keys: whoever erases has done so. EraseAccountEnd
 * belongs into a PG_FINALLY.
 */
extern void EraseAccountBegin(const pg_uuid_t *account);
extern void EraseAccountEnd(void);

/* RefuseHeld raises 55006: the session is under legal hold. RequireNotHeld does so if its row, live or archived, says so. */
extern void RefuseHeld(void);
extern void RequireNotHeld(HeapTuple row, TupleDesc descriptor);

#endif
