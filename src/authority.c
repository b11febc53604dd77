/*
 * authority.c
 *		Deciding whether a key opens for whoever is asking.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "audit.h"
#include "authority.h"
#include "break_glass.h"
#include "identity.h"
#include "redact.h"
#include "witness.h"

/* First guess of how many sessions others open in one transaction. */
#define AUDITED_SESSIONS 64

static bool custody = false;
static pg_uuid_t custody_account;
static pg_uuid_t custody_session;
static Oid custody_user; /* who took it: while somebody else's code runs, nothing opens */
static SubTransactionId custody_began = InvalidSubTransactionId;

/* An opening that this transaction has audited: whose token it was counts, as one may follow another. */
typedef struct Opening
{
	pg_uuid_t key;
	pg_uuid_t reader;
} Opening;

/* All of them; lives in the transaction's memory. */
static HTAB *audited = NULL;

static void
EndTransaction(XactEvent event, void *arg)
{
	custody = false;
	audited = NULL;
}

static void
EndSubtransaction(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	if (mine == custody_began) /* one that began later, in a user's trigger, ends nothing of ours */
		custody = false;
}

/* AuthorityInit registers the end of custody at abort. */
void
AuthorityInit(void)
{
	RegisterXactCallback(EndTransaction, NULL);
	RegisterSubXactCallback(EndSubtransaction, NULL);
}

/* CustodyBegin lets one session's values open. */
void
CustodyBegin(const pg_uuid_t *account, const pg_uuid_t *session)
{
	custody = true;
	custody_account = *account;
	custody_session = *session;
	custody_user = GetUserId();
	custody_began = GetCurrentSubTransactionId();
}

/* CustodyEnd closes them again. */
void
CustodyEnd(void)
{
	if (!custody)
		elog(ERROR, "custody of a session was lost");
	custody = false;
}

/* InCustody tells whether cauce itself is moving content. */
bool
InCustody(void)
{
	return custody;
}

/*
 * AuthorityAnyone spares those without identity every look-up; logical decoding can
 * do none. What ANALYZE, CREATE INDEX and REFRESH MATERIALIZED VIEW compute is stored,
 * so they have no identity, whoever is asking.
 */
bool
AuthorityAnyone(void)
{
	return !HistoricSnapshotActive() &&
		   (custody || (!InSecurityRestrictedOperation() && IdentityInForce()));
}

/*
 * AuditOpening has one entry a session, reader and transaction committed before anything opens, or
 * refuses. Two accounts may have sessions of the same id, so it is the key that counts.
 */
static void
AuditOpening(const DataKey *key, const Identity *who, const char *role, const char *reason)
{
	HASHCTL control = {
		.keysize = sizeof(Opening), .entrysize = sizeof(Opening), .hcxt = TopTransactionContext};
	Opening opening = {.key = key->id, .reader = who->account};
	AuditEntry entry;

	if (audited != NULL && hash_search(audited, &opening, HASH_FIND, NULL) != NULL)
		return;
	AuditFill(&entry, &key->account, key->has_organization ? &key->organization : NULL,
			  &key->session, "open", reason);
	AuditActor(&entry);
	strlcpy(entry.role, role, AUDIT_MAX_ROLE);
	WitnessCommit(&entry);
	LogLine(0,
			psprintf("cauce: session %s of account %s was opened by account %s",
					 UuidText(&key->session), UuidText(&key->account), UuidText(&opening.reader)));
	if (audited == NULL)
		audited = hash_create("cauce audited sessions", AUDITED_SESSIONS, &control,
							  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	(void) hash_search(audited, &opening, HASH_ENTER, NULL);
}

/* AuthorityOfOwner compares accounts. */
bool
AuthorityOfOwner(const Identity *who, const DataKey *key)
{
	return who != NULL && who->scope == SCOPE_APP && SameUuid(&who->account, &key->account);
}

/* AuthorityOver decides. */
Authority
AuthorityOver(const DataKey *key)
{
	const Identity *who;
	const char *reason;
	DataKey copy;

	if (custody && GetUserId() == custody_user && key->has_session &&
		SameUuid(&key->account, &custody_account) && SameUuid(&key->session, &custody_session))
		return AUTHORITY_GRANTED;

	copy = *key; /* the look-ups below may reuse its slot */
	who = CurrentIdentity();
	if (who == NULL)
		return AUTHORITY_NO_IDENTITY;
	if (AuthorityOfOwner(who, &copy))
		return AUTHORITY_GRANTED;
	if (who->scope != SCOPE_APP || !copy.has_session)
		return AUTHORITY_NOT_YOURS;
	if (who->reads_content && copy.has_organization &&
		SameUuid(&who->organization, &copy.organization))
	{
		AuditOpening(&copy, who, "admin", NULL);
		return AUTHORITY_GRANTED;
	}
	reason = BreakGlassReason(who, &copy.account);
	if (reason == NULL)
		return AUTHORITY_NOT_YOURS;
	who = CurrentIdentity(); /* the look-up may have made it anew */
	AuditOpening(&copy, who, "support", reason);
	return AUTHORITY_GRANTED;
}

/* AuthorityRefuseSession raises. */
void
AuthorityRefuseSession(void)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("permission denied for this session"),
		 errdetail("The token in force does not reach it."),
		 errhint("Use a token of the account that the session belongs to; a stream token reaches "
				 "one live session only.")));
}

/* AuthorityIsLoading tells a superuser without identity. */
bool
AuthorityIsLoading(void)
{
	return !custody && superuser_arg(GetOuterUserId()) && !IdentityInForce();
}

/* AuthorityToWrite lets a row be written, or raises. */
void
AuthorityToWrite(const pg_uuid_t *account, const pg_uuid_t *session)
{
	const Identity *who = CurrentIdentity();

	if (superuser() && (who == NULL || who->scope == SCOPE_APP))
		return;
	if (who == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("nothing can be written without identity"),
				 errdetail("cauce.token is not set, and the login is no account."),
				 errhint("SELECT set_config('cauce.token', $1, true) with a signed token.")));
	if (SameUuid(&who->account, account) &&
		(who->scope == SCOPE_APP || (session != NULL && SameUuid(&who->session, session))))
		return;
	AuthorityRefuseSession();
}
