/*
 * identity.c
 *		Who is asking: the setting cauce.token, or else the login, and the account behind it.
 *
 * A token in force counts instead of the login, whatever it says; the login is login.c's.
 * The setting's check hook verifies signature, times, audience and purpose; it
 * touches no table, since it also runs in a starting parallel worker. Which
 * account the subject is, is asked once a statement; the answer is remembered until
 * a row of cauce.account or cauce.organization changes anywhere.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "audit.h"
#include "break_glass.h"
#include "channel.h"
#include "identity.h"
#include "lasting.h"
#include "literals.h"
#include "login.h"
#include "oracle.h"
#include "secret.h"
#include "session.h"
#include "spi.h"
#include "witness.h"

PG_FUNCTION_INFO_V1(cauce_account_id);
PG_FUNCTION_INFO_V1(cauce_organization_id);
PG_FUNCTION_INFO_V1(cauce_is_admin);
PG_FUNCTION_INFO_V1(cauce_token_scope);
PG_FUNCTION_INFO_V1(cauce_appending_account_id);
PG_FUNCTION_INFO_V1(cauce_appending_session_id);
PG_FUNCTION_INFO_V1(cauce_admin_organization_id);
PG_FUNCTION_INFO_V1(cauce_content_organization_id);
PG_FUNCTION_INFO_V1(cauce_readable_account_ids);
PG_FUNCTION_INFO_V1(cauce_session_is_readable);
PG_FUNCTION_INFO_V1(cauce_visible_account_ids);
PG_FUNCTION_INFO_V1(cauce_account_changed);

#define SECONDS_TO_UNIX_EPOCH                                                                      \
	(((int64) POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * (USECS_PER_DAY / USECS_PER_SEC))

static char *token = NULL;
static char *allowed_purposes = NULL;

/* The purpose that was looked for in the list last, and whether it is there. */
static bool purpose_judged = false;
static bool purpose_allowed = false;
static char judged_purpose[TOKEN_MAX_PURPOSE];

/* The claims of the token in force; memory of the setting's, not ours. */
static const TokenClaims *claims = NULL;

static ExecutorStart_hook_type next_start = NULL;
static bool looking_up = false; /* our own look-up of the account is a statement, too */

/* The start of the last statement in which an identity was in force. */
static TimestampTz identified_at = 0;

static Identity identity;
static bool identity_known = false;
static TimestampTz identity_statement = 0;
static SubTransactionId identity_subxact = InvalidSubTransactionId;

/* The account that was looked up last, by its subject, and the table whose invalidation tells of any change. */
static Identity account;
static bool account_known = false;
static uint64 account_changes = 0; /* since this process began */
static Oid account_table = InvalidOid;

/* SecondsOf is a moment of PostgreSQL's as seconds since 1970. */
static int64
SecondsOf(TimestampTz moment)
{
	return moment / USECS_PER_SEC + SECONDS_TO_UNIX_EPOCH;
}

/* RefuseToken fills in what the setting's machinery reports; the token itself is never part of it. */
static bool
RefuseToken(const char *detail, const char *hint)
{
	GUC_check_errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION);
	GUC_check_errmsg("the identity token is refused");
	GUC_check_errdetail("%s", detail);
	GUC_check_errhint("%s", hint);
	return false;
}

/* What was wrong with a connection, and what to do. */
static const char UnsafeChannel[] = "This connection is neither a unix socket nor encrypted as "
									"cauce.min_tls demands.";
static const char SaferChannel[] = "Connect with sslmode=verify-full and "
								   "ssl_min_protocol_version=TLSv1.3.";

/* IsListed tells whether the list cauce.allowed_purposes has a purpose. */
static bool
IsListed(const char *purpose)
{
	char *list = pstrdup(allowed_purposes);
	List *names = NIL;
	ListCell *cell;
	bool found = false;

	if (SplitIdentifierString(list, ',', &names))
	{
		foreach (cell, names)
			found = found || strcmp((char *) lfirst(cell), purpose) == 0;
	}
	list_free(names);
	pfree(list);
	return found;
}

/* AssignPurposes forgets which purpose is allowed. */
static void
AssignPurposes(const char *newval, void *extra)
{
	purpose_judged = false;
}

/* PurposeAllowed is IsListed, asked at each statement: the last answer is remembered. */
static bool
PurposeAllowed(const char *purpose)
{
	if (!purpose_judged || strcmp(judged_purpose, purpose) != 0)
	{
		purpose_allowed = IsListed(purpose);
		strlcpy(judged_purpose, purpose, sizeof(judged_purpose));
		purpose_judged = true;
	}
	return purpose_allowed;
}

/* WhyRefused verifies a token and fills claims; NULL, or why it is refused and what to do. */
static const char *
WhyRefused(const char *text, TokenClaims *found, const char **hint)
{
	const char *refusal;

	*hint = SaferChannel;
	if (!ChannelIsSafe(ChannelOfClient()))
		return UnsafeChannel;
	*hint = "Ask the issuer for a new token.";
	refusal = JoseVerifyToken(text, SecondsOf(GetCurrentTimestamp()), found);
	if (refusal != NULL)
		return refusal;
	*hint = "What was said in confidence is opened for these purposes only.";
	return PurposeAllowed(found->purpose) ? NULL
										  : "The token's purpose is not in cauce.allowed_purposes.";
}

/* JudgeToken verifies a token and fills claims; false, with everything said, when it is refused. */
static bool
JudgeToken(const char *text, TokenClaims *found)
{
	const char *hint;
	const char *refusal = WhyRefused(text, found, &hint);

	if (refusal == NULL)
		return true;
	WitnessRefusal(found->subject[0] != '\0' ? found->subject : NULL, refusal);
	return RefuseToken(refusal, hint);
}

/*
 * CheckToken is the setting's check hook. A parallel worker takes over what its
 * leader has verified: the settings that verification depends on are not restored
 * yet when it starts, and an error there would show the token in its context.
 * Expiry is looked at again by CurrentIdentity.
 */
static bool
CheckToken(char **newval, void **extra, GucSource source)
{
	TokenClaims found = {0};
	bool accepted;

	if (*newval == NULL || (*newval)[0] == '\0')
		return true;
	if (source == PGC_S_TEST || (source >= PGC_S_GLOBAL && source <= PGC_S_DATABASE_USER))
		return RefuseToken("A token cannot be stored with a role, a database or a function.",
						   "Set it in each transaction: set_config('cauce.token', $1, true).");
	if (source == PGC_S_CLIENT && LastingRefused())
		return RefuseToken("It came with the start of the connection, and "
						   "cauce.token_transaction_only is on.",
						   "Set it in each transaction: set_config('cauce.token', $1, true).");
	accepted = InitializingParallelWorker ? JoseReadVerified(*newval, &found)
										  : JudgeToken(*newval, &found);
	if (!accepted)
		return false;
#if PG_VERSION_NUM >= 160000
	*extra = guc_malloc(LOG, sizeof(TokenClaims));
#else
	*extra = malloc(sizeof(TokenClaims));
#endif
	if (*extra == NULL)
		return false;
	memcpy(*extra, &found, sizeof(found));
	return true;
}

/* ForgetIdentity drops the remembered account. */
static void
ForgetIdentity(void)
{
	identity_known = false;
}

/* NoteIdentified remembers that an identity is in force during this statement. */
static void
NoteIdentified(void)
{
	identified_at = GetCurrentStatementStartTimestamp();
}

/* AssignToken puts a verified token in force. */
static void
AssignToken(const char *newval, void *extra)
{
	const TokenClaims *asking;

	claims = extra;
	ForgetIdentity();
	if (claims != NULL)
	{
		SecretRefuseCore(); /* from here on statements hold content, keys or not */
		NoteIdentified();
		OracleHideActivity(); /* the statement may hold this token, the next one content */
	}
	asking = claims != NULL ? claims : LoginKnown();
	if (asking != NULL)
		LiteralsForget(asking->subject);
}

/*
 * Asking is what is claimed of whoever is asking: by the token in force, else by the login. Under
 * a login, plans may hold literals of a token that was in force before.
 */
static const TokenClaims *
Asking(void)
{
	const TokenClaims *login;

	if (claims != NULL)
		return claims;
	login = LoginClaims();
	if (login != NULL)
	{
		NoteIdentified();
		LiteralsForget(login->subject);
	}
	return login;
}

/* ShowToken hides the token from SHOW and current_setting(). */
static const char *
ShowToken(void)
{
	return token != NULL && token[0] != '\0' ? "(set)" : "";
}

/* ForgetAccount: a row has changed that an account is read from. No catalog access here. */
static void
ForgetAccount(Datum arg, Oid relation)
{
	if (relation != InvalidOid && relation != account_table)
		return;
	account_changes++;
	account_known = false;
	BreakGlassForget();
	LoginForget();
}

/* IdentityWatch names the table of accounts before it is read. */
void
IdentityWatch(Oid table)
{
	account_table = table;
}

/* EndTransaction forgets the identity, and what the transaction alone may have seen of its account. */
static void
EndTransaction(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_COMMIT)
	{
		account_known = false;
		BreakGlassForget();
		LoginForget();
	}
	LoginAskAgain();
	if (claims != NULL || LoginKnown() != NULL)
		NoteIdentified(); /* SET LOCAL ends next; the statement's duration is logged after it */
	looking_up = false;
	ForgetIdentity();
}

/* EndSubtransaction forgets it with a subtransaction that may have made or changed it. */
static void
EndSubtransaction(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		account_known = false;
		LoginForget();
	}
	LoginAskAgain();
	looking_up = false;
	ForgetIdentity();
}

/* TouchesCauce tells whether a statement reads or writes a table of the extension's. */
static bool
TouchesCauce(const PlannedStmt *statement)
{
	Oid schema = get_namespace_oid("cauce", true);
	ListCell *cell;

	foreach (cell, statement->rtable)
	{
		const RangeTblEntry *entry = lfirst_node(RangeTblEntry, cell);

		if (entry->rtekind == RTE_RELATION && OidIsValid(schema) &&
			get_rel_namespace(entry->relid) == schema)
			return true;
	}
	return false;
}

/*
 * StartStatement refuses a token that names nobody, or has expired, and a login over an
 * unsafe connection, also where no policy would come to ask: one of an empty table is never evaluated.
 */
static void
StartStatement(QueryDesc *query, int flags)
{
	if (!looking_up && !AuditAppending() && IdentityInForce() && TouchesCauce(query->plannedstmt))
		(void) CurrentIdentity();
	if (next_start != NULL)
		next_start(query, flags);
	else
		standard_ExecutorStart(query, flags);
}

/* IdentityInit defines the settings of identity. */
void
IdentityInit(void)
{
	DefineCustomStringVariable(
		"cauce.allowed_purposes", "Purposes that a token may carry to open keys.",
		"A comma-separated list; a token without a purpose carries care.", &allowed_purposes,
		"care", PGC_SIGHUP, GUC_LIST_INPUT, NULL, AssignPurposes, NULL);
	DefineCustomStringVariable("cauce.token", "The signed token that says who is asking.",
							   "A JSON Web Token; set it with SET LOCAL or set_config(.., true).",
							   &token, "", PGC_USERSET,
							   GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE,
							   CheckToken, AssignToken, ShowToken);
	next_start = ExecutorStart_hook;
	ExecutorStart_hook = StartStatement;
	RegisterXactCallback(EndTransaction, NULL);
	RegisterSubXactCallback(EndSubtransaction, NULL);
	CacheRegisterRelcacheCallback(ForgetAccount, (Datum) 0);
}

/* IdentityInForce tells whether anybody is asking. */
bool
IdentityInForce(void)
{
	return Asking() != NULL;
}

/* StatementIdentified tells whether content may be in the client's present message. */
bool
StatementIdentified(void)
{
	return claims != NULL || LoginMayBe() ||
		   (identified_at != 0 && identified_at == GetCurrentStatementStartTimestamp());
}

/* IdentitySubject is the subject of whoever is asking. */
const char *
IdentitySubject(void)
{
	const TokenClaims *asking = Asking();

	return asking != NULL ? asking->subject : NULL;
}

/* UuidText prints a UUID. */
char *
UuidText(const pg_uuid_t *uuid)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(uuid)));
}

/* ReadAccount fills account from a subject; false when nobody has it. */
static bool
ReadAccount(const char *named)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {TEXTOID};
	char *subject = pg_any_to_server(named, strlen(named), PG_UTF8);
	Datum values[] = {CStringGetTextDatum(subject)};
	SpiScope scope;
	bool isnull;
	bool found;

	SpiEnter(&scope, true);
	found =
		SpiRun(&plan,
			   "SELECT a.id, a.organization_id,"
			   " a.role = 'admin' AND o.plan = 'business',"
			   " a.role = 'admin' AND o.plan = 'business' AND o.admin_access = 'content',"
			   " EXISTS (SELECT FROM cauce.break_glass_grant g"
			   " WHERE g.grantee_id = a.id AND g.until > clock_timestamp())"
			   " FROM cauce.account a LEFT JOIN cauce.organization o ON o.id = a.organization_id"
			   " WHERE a.subject = $1",
			   1, types, values, NULL, true) == 1;
	if (found)
	{
		Datum value = SpiValue(0, 1, &isnull);

		memset(&account, 0, sizeof(account));
		strlcpy(account.subject, named, sizeof(account.subject));
		account.account = *DatumGetUUIDP(value);
		value = SpiValue(0, 2, &isnull);
		account.has_organization = !isnull;
		if (!isnull)
			account.organization = *DatumGetUUIDP(value);
		value = SpiValue(0, 3, &isnull);
		account.is_admin = !isnull && DatumGetBool(value);
		value = SpiValue(0, 4, &isnull);
		account.reads_content = !isnull && DatumGetBool(value);
		account.breaks_glass = DatumGetBool(SpiValue(0, 5, &isnull));
	}
	SpiLeave(&scope);
	return found;
}

/*
 * LookUpAccount makes account the subject's; false when nobody has it. A look-up
 * during which somebody changed the tables is done again: it may have read what was.
 */
static bool
LookUpAccount(const char *subject)
{
	uint64 before;

	AcceptInvalidationMessages();
	if (account_known && strcmp(account.subject, subject) == 0)
		return true;
	account_known = false;
	account_table = CauceTable("account");
	looking_up = true;
	do
	{
		before = account_changes;
		account_known = ReadAccount(subject);
		AcceptInvalidationMessages();
	} while (before != account_changes);
	looking_up = false;
	return account_known;
}

/* RefuseInForce raises about a token that was good when it was set, or about the login. */
static void
RefuseInForce(const char *detail, const char *hint)
{
	WitnessRefusal(claims != NULL ? claims->subject : NULL, detail);
	ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
					claims != NULL ? errmsg("the identity token is refused")
								   : errmsg("the identity of this login is refused"),
					errdetail("%s", detail), errhint("%s", hint)));
}

/* VerifyInForce verifies the token anew where keys or settings are others than when it was set. */
static void
VerifyInForce(TimestampTz now)
{
	TokenClaims found;
	const char *refusal;

	if (IsParallelWorker() || JoseIsCurrent(claims, now))
		return;
	refusal = JoseVerifyToken(token, SecondsOf(now), &found);
	if (refusal != NULL)
		RefuseInForce(refusal, "Ask the issuer for a new token.");
}

/* CheckInForce looks again at what may have changed since the token was set. */
static void
CheckInForce(const TokenClaims *asking, TimestampTz now)
{
	if (claims != NULL)
		VerifyInForce(now);
	if (asking->expires <= SecondsOf(now))
		RefuseInForce("The token has expired.", "Ask the issuer for a new token.");
	if (!ChannelIsSafe(claims != NULL ? ChannelOfClient() : LoginChannel()))
		RefuseInForce(UnsafeChannel, SaferChannel);
	if (!PurposeAllowed(asking->purpose))
		RefuseInForce(claims != NULL ? "The token's purpose is no longer in cauce.allowed_purposes."
									 : "A login's purpose is care, which is not in "
									   "cauce.allowed_purposes.",
					  "What was said in confidence is opened for these purposes only.");
}

/* CurrentIdentity is who is asking; asked once a statement, and anew after each COMMIT of a procedure. */
const Identity *
CurrentIdentity(void)
{
	const TokenClaims *asking = Asking();
	TimestampTz statement;

	if (asking == NULL)
		return NULL;
	statement = GetCurrentStatementStartTimestamp();
	if (identity_known && identity_statement == statement &&
		identity_subxact == GetCurrentSubTransactionId())
		return &identity;

	CheckInForce(asking, GetCurrentTimestamp());
	if (!LookUpAccount(asking->subject))
	{
		if (claims == NULL)
			return NULL; /* it has gone since the login was looked up */
		RefuseInForce("The token's subject has no account here.",
					  "Create the account with cauce.create_account().");
	}
	identity = account;
	identity.scope = asking->scope;
	identity.session = asking->session;
	strlcpy(identity.purpose, asking->purpose, sizeof(identity.purpose));
	identity_statement = statement;
	identity_subxact = GetCurrentSubTransactionId();
	identity_known = true;
	return &identity;
}

/* RequireOwner is the account that asks with scope app. */
const Identity *
RequireOwner(void)
{
	const Identity *who = CurrentIdentity();

	if (who == NULL || who->scope != SCOPE_APP)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("only a session's owner may do that"),
				 errdetail("No account is asking with scope app."),
				 errhint("SELECT set_config('cauce.token', $1, true) with the owner's token.")));
	return who;
}

/* AppIdentity is the identity where its scope is app. */
static const Identity *
AppIdentity(void)
{
	const Identity *who = CurrentIdentity();

	return who != NULL && who->scope == SCOPE_APP ? who : NULL;
}

/* CopyUuid gives a UUID that outlives the static it is read from. */
static Datum
CopyUuid(const pg_uuid_t *uuid)
{
	pg_uuid_t *copy = palloc(sizeof(pg_uuid_t));

	*copy = *uuid;
	return UUIDPGetDatum(copy);
}

/* cauce.account_id(): the caller's account; NULL without identity and for a stream token. */
Datum
cauce_account_id(PG_FUNCTION_ARGS)
{
	const Identity *who = AppIdentity();

	if (who == NULL)
		PG_RETURN_NULL();
	return CopyUuid(&identity.account);
}

/* cauce.organization_id(): the caller's organization, or NULL. */
Datum
cauce_organization_id(PG_FUNCTION_ARGS)
{
	const Identity *who = AppIdentity();

	if (who == NULL || !who->has_organization)
		PG_RETURN_NULL();
	return CopyUuid(&identity.organization);
}

/* cauce.is_admin(): whether the caller is an admin of a business organization. */
Datum
cauce_is_admin(PG_FUNCTION_ARGS)
{
	const Identity *who = AppIdentity();

	PG_RETURN_BOOL(who != NULL && who->is_admin);
}

/* cauce.token_scope(): app, stream, or NULL without identity. */
Datum
cauce_token_scope(PG_FUNCTION_ARGS)
{
	const Identity *who = CurrentIdentity();

	if (who == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(who->scope == SCOPE_APP ? "app" : "stream"));
}

/* cauce.appending_account_id(): the account that appended rows belong to, in either scope. */
Datum
cauce_appending_account_id(PG_FUNCTION_ARGS)
{
	if (CurrentIdentity() == NULL)
		PG_RETURN_NULL();
	return CopyUuid(&identity.account);
}

/* cauce.appending_session_id(): the session of a stream token while it is live; NULL otherwise. */
Datum
cauce_appending_session_id(PG_FUNCTION_ARGS)
{
	const Identity *who = CurrentIdentity();

	if (who == NULL || who->scope != SCOPE_STREAM ||
		!SessionIsLive(&identity.account, &identity.session))
		PG_RETURN_NULL();
	return CopyUuid(&identity.session);
}

/* cauce.admin_organization_id(): the organization whose sessions the caller may list, or NULL. */
Datum
cauce_admin_organization_id(PG_FUNCTION_ARGS)
{
	const Identity *who = AppIdentity();

	if (who == NULL || !who->is_admin)
		PG_RETURN_NULL();
	return CopyUuid(&identity.organization);
}

/* cauce.content_organization_id(): the organization whose content the caller may read, or NULL. */
Datum
cauce_content_organization_id(PG_FUNCTION_ARGS)
{
	const Identity *who = AppIdentity();

	if (who == NULL || !who->reads_content)
		PG_RETURN_NULL();
	return CopyUuid(&identity.organization);
}

/* MembersWithSessions lists the accounts that have sessions in an organization, and those given. */
static ArrayType *
MembersWithSessions(const pg_uuid_t *organization, ArrayType *others)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext context = CurrentMemoryContext;
	Oid types[] = {UUIDOID, UUIDARRAYOID};
	Datum values[] = {UUIDPGetDatum(organization), PointerGetDatum(others)};
	ArrayType *accounts;
	MemoryContext inner;
	SpiScope scope;
	bool isnull;

	SpiEnter(&scope, false);
	SpiRun(&plan,
		   "SELECT ARRAY(SELECT account_id FROM cauce.session WHERE organization_id = $1"
		   " UNION SELECT unnest($2))",
		   2, types, values, NULL, true);
	inner = MemoryContextSwitchTo(context);
	accounts = DatumGetArrayTypePCopy(SpiValue(0, 1, &isnull));
	MemoryContextSwitchTo(inner);
	SpiLeave(&scope);
	return accounts;
}

/* OwnAndOpened lists the account of whoever is asking, and those that break_glass() has opened to it. */
static ArrayType *
OwnAndOpened(const Identity *who)
{
	Datum accounts[1 + BREAK_GLASS_MAX];

	if (who == NULL)
		return construct_empty_array(UUIDOID);
	accounts[0] = CopyUuid(&who->account);
	return construct_array(accounts, 1 + BreakGlassAccounts(who, &accounts[1]), UUIDOID, UUID_LEN,
						   false, TYPALIGN_CHAR);
}

/* cauce.readable_account_ids(): the accounts whose content the caller may read some of. */
Datum
cauce_readable_account_ids(PG_FUNCTION_ARGS)
{
	const Identity *who = AppIdentity();
	bool reads_content = who != NULL && who->reads_content;
	pg_uuid_t organization;
	ArrayType *readable;

	if (reads_content)
		organization = who->organization; /* the look-ups that follow may ask anew */
	readable = OwnAndOpened(who);
	PG_RETURN_ARRAYTYPE_P(reads_content ? MembersWithSessions(&organization, readable) : readable);
}

/* TookPlaceIn tells whether an account's session is of an organization, as the statement sees it. */
static bool
TookPlaceIn(const pg_uuid_t *account, const pg_uuid_t *session, const pg_uuid_t *organization)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {UUIDOID, UUIDOID, UUIDOID};
	Datum values[] = {UUIDPGetDatum(account), UUIDPGetDatum(session), UUIDPGetDatum(organization)};
	SpiScope scope;
	bool found;

	SpiEnter(&scope, false);
	found = SpiRun(&plan,
				   "SELECT 1 FROM cauce.session"
				   " WHERE account_id = $1 AND id = $2 AND organization_id = $3",
				   3, types, values, NULL, true) == 1;
	SpiLeave(&scope);
	return found;
}

/* OthersReadable tells whether the caller reads a session that is not their own. */
static bool
OthersReadable(const pg_uuid_t *account, const pg_uuid_t *session)
{
	const Identity *who = AppIdentity();
	pg_uuid_t organization;

	if (BreakGlassReason(who, account) != NULL)
		return true;
	who = AppIdentity(); /* the look-up has asked anew */
	if (who == NULL || !who->reads_content)
		return false;
	organization = who->organization;
	return TookPlaceIn(account, session, &organization);
}

/* A session that a policy's expression has asked about. */
typedef struct Answer
{
	pg_uuid_t account;
	pg_uuid_t session;
	bool known;
	bool readable;
} Answer;

/* So many of them are remembered, each at the place that its session's id hashes to. */
#define ANSWERS 4096

/* What one expression knows in one statement. */
typedef struct Readable
{
	TimestampTz statement;
	pg_uuid_t own;
	Answer *answers; /* NULL until there is somebody else's session */
} Readable;

/* KnowReadable gives what the expression knows; NULL without identity. */
static Readable *
KnowReadable(FmgrInfo *expression)
{
	Readable *known = expression->fn_extra;
	const Identity *who;

	if (known != NULL && known->statement == GetCurrentStatementStartTimestamp())
		return known;
	who = AppIdentity();
	if (who == NULL)
		return NULL;
	if (known == NULL)
		known = MemoryContextAllocZero(expression->fn_mcxt, sizeof(Readable));
	else if (known->answers != NULL)
		memset(known->answers, 0, ANSWERS * sizeof(Answer));
	known->statement = GetCurrentStatementStartTimestamp();
	known->own = who->account;
	expression->fn_extra = known;
	return known;
}

/* cauce.session_is_readable(account, session): whether the caller reads its content. */
Datum
cauce_session_is_readable(PG_FUNCTION_ARGS)
{
	const pg_uuid_t *account = PG_GETARG_UUID_P(0);
	const pg_uuid_t *session = PG_GETARG_UUID_P(1);
	Readable *known = KnowReadable(fcinfo->flinfo);
	Answer *answer;

	if (known == NULL)
		PG_RETURN_BOOL(false);
	if (SameUuid(&known->own, account))
		PG_RETURN_BOOL(true);
	if (known->answers == NULL)
		known->answers = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, ANSWERS * sizeof(Answer));
	answer = &known->answers[hash_bytes(session->data, UUID_LEN) % ANSWERS];
	if (!answer->known || !SameUuid(&answer->session, session) ||
		!SameUuid(&answer->account, account))
	{
		answer->known = false; /* the look-up may raise */
		answer->readable = OthersReadable(account, session);
		answer->account = *account;
		answer->session = *session;
		answer->known = true;
	}
	PG_RETURN_BOOL(answer->readable);
}

/* cauce.visible_account_ids(): the accounts all of whose sessions the caller sees. */
Datum
cauce_visible_account_ids(PG_FUNCTION_ARGS)
{
	PG_RETURN_ARRAYTYPE_P(OwnAndOpened(AppIdentity()));
}

/*
 * cauce.account_changed(), trigger: makes every backend, and every standby, look accounts up anew,
 * whatever table tells that one has changed.
 */
Datum
cauce_account_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("account_changed is a trigger")));
	CacheInvalidateRelcacheByRelid(CauceTable("account"));
	return PointerGetDatum(NULL);
}
