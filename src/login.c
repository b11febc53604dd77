/*
 * login.c
 *		The account that a database login is.
 *
 * What counts is the role that authenticated the connection: SET ROLE and SET SESSION
 * AUTHORIZATION change others. It is compared by name and by OID, so that a role which was
 * renamed, or dropped and made anew, is nobody's. Superusers are nobody's either: their dumps must
 * hold sealed values, and their restores load them. A replication connection is nobody's, as is a
 * background worker: whoever may SET ROLE can have one started under the role. A parallel
 * worker is whoever its leader is.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/parallel.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "libpq/auth.h"
#include "libpq/libpq-be.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "replication/walsender.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "channel.h"
#include "identity.h"
#include "literals.h"
#include "login.h"
#include "secret.h"
#include "shared.h"

static ClientAuthentication_hook_type next_authentication = NULL;

/* What is known of this process's login. */
static bool presumed = false; /* a member of cauce_app connected, and nobody has looked yet */
static bool known = false; /* what follows is true, as far as this process has heard */
static TimestampTz asked_at = 0; /* the statement in which it listened last */
static bool found = false;
static TokenClaims claims;

static uint64 changes = 0; /* of what the answer depends on, since this process began */

/* IsMember tells whether a role, by whatever path, is a member of cauce_app; superusers by grant only. */
static bool
IsMember(Oid role)
{
	Oid cauce_app = get_role_oid("cauce_app", true);

	return OidIsValid(cauce_app) && is_member_of_role_nosuper(role, cauce_app);
}

/* NoticeLogin presumes the best before the first statement: what it is must not be logged. */
static void
NoticeLogin(Port *port, int status)
{
	if (next_authentication != NULL)
		next_authentication(port, status);
	if (status == STATUS_OK && !am_walsender)
	{
		Oid role = get_role_oid(port->user_name, true);

		presumed = OidIsValid(role) && IsMember(role);
	}
}

/* ForgetRole: a role, a membership or a schema has changed. */
static void
ForgetRole(Datum arg, int cache, uint32 hash)
{
	LoginForget();
}

/* LoginInit installs it. */
void
LoginInit(void)
{
	next_authentication = ClientAuthentication_hook;
	ClientAuthentication_hook = NoticeLogin;
	CacheRegisterSyscacheCallback(AUTHOID, ForgetRole, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, ForgetRole, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, ForgetRole, (Datum) 0);
}

/* Leader is the process that a parallel worker works for. */
static const PGPROC *
Leader(void)
{
	return MyProc != NULL ? MyProc->lockGroupLeader : NULL;
}

/* LeaderIsAccount tells whether this is a parallel worker of an account's login. */
static bool
LeaderIsAccount(void)
{
	return IsParallelWorker() && SharedLoginOf(Leader()) != 0;
}

/* LoginForget forgets, yet until somebody looks again the login is taken for what it was. */
void
LoginForget(void)
{
	changes++;
	known = false;
}

/* LoginAskAgain lets the next question listen for changes. */
void
LoginAskAgain(void)
{
	asked_at = 0;
}

/* LoginChannel is the leader's in a parallel worker. */
int
LoginChannel(void)
{
	if (IsParallelWorker())
		return SharedLoginOf(Leader());
	return ChannelOfClient();
}

/* LoginRole is the role that authenticated the client, InvalidOid where that makes nobody an account. */
static Oid
LoginRole(void)
{
	if (IsParallelWorker() ? !LeaderIsAccount() : MyProcPort == NULL || am_walsender)
		return InvalidOid;
	return GetAuthenticatedUserId();
}

/* CopySubject copies the subject of a row in UTF-8, as tokens have it; false when it is longer than any token's. */
static bool
CopySubject(Datum value, char *into)
{
	char *subject = TextDatumGetCString(value);
	char *utf8 = pg_server_to_any(subject, strlen(subject), PG_UTF8);

	return strlcpy(into, utf8, TOKEN_MAX_SUBJECT) < TOKEN_MAX_SUBJECT;
}

/* ReadLogin takes the subject from the row of cauce.account whose login_role this is and was when it was named. */
static bool
ReadLogin(Relation accounts, const char *name, Oid role, char *subject)
{
	Oid table = RelationGetRelid(accounts);
	AttrNumber by_name = get_attnum(table, "login_role");
	AttrNumber by_oid = get_attnum(table, "login_role_oid");
	AttrNumber named = get_attnum(table, "subject");
	NameData key;
	Oid index;
	ScanKeyData condition;
	SysScanDesc scan;
	HeapTuple row;
	bool is_account = false;

	if (by_name == InvalidAttrNumber || by_oid == InvalidAttrNumber || named == InvalidAttrNumber)
		return false;
	namestrcpy(&key, name);
	ScanKeyInit(&condition, by_name, BTEqualStrategyNumber, F_NAMEEQ, NameGetDatum(&key));
	index = get_relname_relid("account_login_role_key", RelationGetNamespace(accounts));
	scan = systable_beginscan(accounts, index, OidIsValid(index), NULL, 1, &condition);
	row = systable_getnext(scan);
	if (HeapTupleIsValid(row))
	{
		bool no_oid;
		bool no_subject;
		Datum oid = heap_getattr(row, by_oid, RelationGetDescr(accounts), &no_oid);
		Datum value = heap_getattr(row, named, RelationGetDescr(accounts), &no_subject);

		is_account =
			!no_oid && !no_subject && DatumGetObjectId(oid) == role && CopySubject(value, subject);
	}
	systable_endscan(scan);
	return is_account;
}

/* FindAccount reads the table of this database, where there is one. */
static bool
FindAccount(Oid role, char *subject)
{
	Oid schema;
	Oid table;
	Relation accounts;
	char *name;
	bool is_account;

	if (!OidIsValid(role) || superuser_arg(role) || !IsMember(role))
		return false;
	name = GetUserNameFromId(role, true);
	schema = get_namespace_oid("cauce", true);
	table = OidIsValid(schema) ? get_relname_relid("account", schema) : InvalidOid;
	if (name == NULL || !OidIsValid(table) || get_rel_relkind(table) != RELKIND_RELATION)
		return false;
	IdentityWatch(table);
	accounts = table_open(table, AccessShareLock);
	is_account = ReadLogin(accounts, name, role, subject);
	table_close(accounts, AccessShareLock);
	return is_account;
}

/* TakeEffect makes the account that was found count from here on. */
static void
TakeEffect(const char *subject)
{
	memset(&claims, 0, sizeof(claims));
	strlcpy(claims.subject, subject, sizeof(claims.subject));
	strlcpy(claims.purpose, TOKEN_DEFAULT_PURPOSE, sizeof(claims.purpose));
	claims.scope = SCOPE_APP;
	claims.expires = PG_INT64_MAX;
	SecretRefuseCore(); /* from here on statements hold content, keys or not */
}

/* LookUp asks the catalog and the table. Changes that arrive meanwhile make it ask again. */
static void
LookUp(void)
{
	char subject[TOKEN_MAX_SUBJECT];
	uint64 before;
	bool is_account;

	do
	{
		before = changes;
		is_account = FindAccount(LoginRole(), subject);
		AcceptInvalidationMessages();
	} while (before != changes);
	if (is_account)
		TakeEffect(subject);
	found = is_account;
	presumed = false;
	known = true;
	if (!IsParallelWorker())
		SharedLoginIs(found ? ChannelOfClient() : 0);
}

/* CanLookUp tells whether the catalog can be read here. */
static bool
CanLookUp(void)
{
	return IsTransactionState() && OidIsValid(MyDatabaseId) && !HistoricSnapshotActive() &&
		   (MyProcPort != NULL || IsParallelWorker());
}

/* LoginClaims listens for changes once a statement. */
const TokenClaims *
LoginClaims(void)
{
	TimestampTz statement = GetCurrentStatementStartTimestamp();

	if ((!known || asked_at != statement) && CanLookUp())
	{
		AcceptInvalidationMessages();
		if (!known)
			LookUp();
		asked_at = statement;
	}
	return LoginKnown();
}

/* LoginKnown gives the last answer. */
const TokenClaims *
LoginKnown(void)
{
	return found ? &claims : NULL;
}

/* LoginMayBe is for what must not be let out while nobody knows: a message about a statement. */
bool
LoginMayBe(void)
{
	return found || (debug_query_string != NULL && (presumed || (!known && LeaderIsAccount())));
}
