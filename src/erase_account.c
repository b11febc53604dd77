/*
 * erase_account.c
 *		An account erased with everything that it has.
 *
 * All of it is one transaction, so that nobody sees a part of it. What others may be
 * doing is waited for in the order in which cauce's own code locks: the set of the
 * account's keys, sessions, archives, the account, keys, the chain of certificates. From
 * then on nobody can add anything:
 *
 *		a session	its foreign key waits for the account's row, and then does not find it
 *		content		its foreign key waits for the session's row, likewise
 *		a key		LockKeys waits, and then there is a certificate (datakey.c)
 *
 * The rows go table by table. Triggers are off where they are all cauce's own, as what they do
 * is done here for all sessions together.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/rel.h"

#include "datakey.h"
#include "erase.h"
#include "identity.h"
#include "injection.h"
#include "protect.h"
#include "quiet.h"
#include "spi.h"

PG_FUNCTION_INFO_V1(cauce_delete_my_data);
PG_FUNCTION_INFO_V1(cauce_erase_again);

/* RunFor runs a statement about an account, $1; the number of rows. Inside of an SpiScope. */
static uint64
RunFor(SPIPlanPtr *plan, const char *sql, const pg_uuid_t *account)
{
	Oid types[] = {UUIDOID};
	Datum values[] = {UUIDPGetDatum(account)};

	CHECK_FOR_INTERRUPTS();
	return SpiRunLatest(plan, sql, 1, types, values, NULL);
}

/* RequireSubject raises 22023 unless text is the subject of whoever is asking. */
static void
RequireSubject(const text *confirmed, const Identity *who)
{
	const char *subject = pg_any_to_server(who->subject, (int) strlen(who->subject), PG_UTF8);

	if (confirmed != NULL && strcmp(text_to_cstring(confirmed), subject) == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("confirm_subject does not name the account that is asking"),
			 errdetail("It is not the subject of the token in force. Nothing was erased."),
			 errhint("Pass the token's own sub, to say that this account shall be erased.")));
}

/* RefuseHeldSessions locks all sessions, or archives, by a statement that counts those under legal hold. */
static void
RefuseHeldSessions(SPIPlanPtr *plan, const char *sql, const pg_uuid_t *account)
{
	int64 held;
	bool isnull;

	RunFor(plan, sql, account);
	held = DatumGetInt64(SpiValue(0, 1, &isnull));
	if (held > 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
						errmsg("the account has sessions under legal hold"),
						errdetail("It has " INT64_FORMAT " of them. Nothing was erased.", held),
						errhint("Ask for the hold to be released; other sessions can be deleted "
								"one by one.")));
}

/* HoldSessions locks all sessions, and refuses when one is under legal hold. */
static void
HoldSessions(const pg_uuid_t *account)
{
	static SPIPlanPtr plan = NULL;

	RefuseHeldSessions(&plan,
					   "WITH s AS (SELECT legal_hold FROM cauce.session WHERE account_id = $1"
					   " ORDER BY id FOR UPDATE) SELECT count(*) FILTER (WHERE legal_hold) FROM s",
					   account);
}

/* HoldArchives does so with archives, and counts those whose bundles are outside of the database. */
static int64
HoldArchives(const pg_uuid_t *account)
{
	static SPIPlanPtr plan = NULL;
	bool isnull;

	RefuseHeldSessions(&plan,
					   "WITH a AS (SELECT legal_hold, bundle_digest FROM cauce.archived_session"
					   " WHERE account_id = $1 ORDER BY id FOR UPDATE)"
					   " SELECT count(*) FILTER (WHERE legal_hold), count(bundle_digest) FROM a",
					   account);
	return DatumGetInt64(SpiValue(0, 2, &isnull));
}

/* HoldAccount locks the account itself; somebody may have erased it while we waited. */
static void
HoldAccount(const pg_uuid_t *account)
{
	static SPIPlanPtr plan = NULL;

	if (RunFor(&plan, "SELECT FROM cauce.account WHERE id = $1 FOR UPDATE", account) != 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
						errmsg("the identity token is refused"),
						errdetail("The token's subject has no account here any more."),
						errhint("Its erasure has been certified already.")));
}

/* A table that rows of an account are deleted from. */
typedef struct OwnTable
{
	const char *name;
	const char *counted; /* what it is called in counts; NULL where it is not content */
	const char *sql;
} OwnTable;

#define OWN_TABLE(name, counted)                                                                   \
	{                                                                                              \
		name, counted, "DELETE FROM cauce." name " WHERE account_id = $1"                          \
	}

/* HasCollectors tells whether the executor would collect a table's rows for triggers, also while these are off. */
static bool
HasCollectors(const char *name)
{
	Relation table = table_open(CauceTable(name), RowExclusiveLock);
	bool collects = table->trigdesc != NULL && table->trigdesc->trig_delete_old_table;

	table_close(table, NoLock);
	return collects;
}

/* DeleteFrom deletes an account's rows from one table and gives their number. */
static int64
DeleteFrom(const OwnTable *own, SPIPlanPtr *plan, bool quietly, const pg_uuid_t *account)
{
	if (quietly && HasCollectors(own->name) && QuietCan(own->name, NULL))
		return QuietDelete(own->name, account, NULL, NULL, NULL);
	return (int64) RunFor(plan, own->sql, account);
}

/*
 * DeleteRows deletes the rows of cauce's own tables and appends their numbers to counts;
 * quietly when no trigger on them matters.
 */
static void
DeleteRows(const pg_uuid_t *account, bool quietly, StringInfo counts)
{
	static const OwnTable tables[] = {
		OWN_TABLE("transcript_segment", "segments"),
		OWN_TABLE("report", "reports"),
		OWN_TABLE("alert", "alerts"),
		OWN_TABLE("archived_session", "archives"),
		OWN_TABLE("session", "sessions"),
		OWN_TABLE("alert_rule", NULL),
		OWN_TABLE("retention_failure", NULL),
	};
	static SPIPlanPtr plans[lengthof(tables)];

	for (Size i = 0; i < lengthof(tables); i++)
	{
		int64 rows = DeleteFrom(&tables[i], &plans[i], quietly, account);

		if (tables[i].counted != NULL)
			appendStringInfo(counts, "%s\"%s\": " INT64_FORMAT, counts->len > 1 ? ", " : "",
							 tables[i].counted, rows);
	}
}

/* EraseRows has the triggers do nothing, or where they can be, off but for those that fire always. */
static void
EraseRows(const pg_uuid_t *account, StringInfo counts)
{
	int level = NewGUCNestLevel();
	bool quietly = QuietMay(ProtectedTables());

	if (quietly)
		(void) set_config_option("session_replication_role", "replica", PGC_SUSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	EraseAccountBegin(account);
	PG_TRY();
	{
		DeleteRows(account, quietly, counts);
	}
	PG_FINALLY();
	{
		EraseAccountEnd();
	}
	PG_END_TRY();
	AtEOXact_GUC(true, level);
}

/*
 * Forget deletes the account's row, with triggers on: foreign keys tell whether anything is
 * left, and every process forgets whom the subject named. The last statement, as from then
 * on nobody is asking.
 */
static void
Forget(const pg_uuid_t *account)
{
	static SPIPlanPtr plan = NULL;

	RunFor(&plan, "DELETE FROM cauce.account WHERE id = $1", account);
}

/* EraseAccount erases; the certificate's id. Inside of an SpiScope. */
static pg_uuid_t
EraseAccount(const pg_uuid_t *account, const pg_uuid_t *organization)
{
	DestroyedKeys destroyed = {0};
	Erased erased = {
		.account = account, .organization = organization, .subject = "account", .keys = &destroyed};
	StringInfoData counts;
	StringInfoData protected;
	pg_uuid_t certificate;
	int64 stored;

	LockKeysToErase(account);
	HoldSessions(account);
	stored = HoldArchives(account);
	HoldAccount(account);
	CAUCE_POINT("account_locked");
	initStringInfo(&counts);
	initStringInfo(&protected);
	appendStringInfoChar(&counts, '{');
	ProtectedEraseAccount(account, &protected); /* applications' triggers first */
	CAUCE_POINT("account_protected_erased");
	DataKeyDestroyAll(account, &destroyed);
	CAUCE_POINT("account_keys_destroyed");
	EraseRows(account, &counts);
	CAUCE_POINT("account_rows_erased");
	DataKeyDestroyAll(account, &destroyed); /* what others' triggers had made */
	if (stored > 0)
		appendStringInfo(&counts, ", \"archives_stored\": " INT64_FORMAT, stored);
	appendStringInfo(&counts, "%s}", protected.data);
	erased.counts = counts.data;
	certificate = IssueCertificate(&erased);
	CAUCE_POINT("account_certified");
	Forget(account);
	CAUCE_POINT("account_forgotten");
	return certificate;
}

/* cauce.delete_my_data(confirm_subject): erases the caller's account; the certificate's id. */
Datum
cauce_delete_my_data(PG_FUNCTION_ARGS)
{
	const Identity *who = RequireOwner();
	pg_uuid_t account = who->account;
	pg_uuid_t organization = who->organization;
	bool has_organization = who->has_organization;
	pg_uuid_t *certificate = palloc(sizeof(pg_uuid_t));
	SpiScope scope;

	RequireSubject(PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0), who);
	DataKeyCheckKeyring(); /* a certificate has to be signed */
	SpiEnter(&scope, false);
	*certificate = EraseAccount(&account, has_organization ? &organization : NULL);
	SpiLeave(&scope);
	PG_RETURN_UUID_P(certificate);
}

/* EraseAccountAgain erases an account whose certificate has outlived a backup. */
static void
EraseAccountAgain(const pg_uuid_t *account)
{
	const char *before = ErasureBecause(REASON_REAPPLIED);
	SpiScope scope;

	PG_TRY();
	{
		SpiEnter(&scope, false);
		(void) EraseAccount(account, NULL);
		SpiLeave(&scope);
	}
	PG_FINALLY();
	{
		(void) ErasureBecause(before);
	}
	PG_END_TRY();
}

/*
 * cauce.erase_again(account_id, session_id): erases a session, live or archived, or with NULL the account; whether
 * there was anything.
 */
Datum
cauce_erase_again(PG_FUNCTION_ARGS)
{
	pg_uuid_t *account = PG_GETARG_UUID_P(0);

	DataKeyCheckKeyring(); /* a certificate has to be signed */
	if (!PG_ARGISNULL(1))
		PG_RETURN_BOOL(EraseSession(account, PG_GETARG_UUID_P(1), REASON_REAPPLIED) ||
					   EraseArchive(account, PG_GETARG_UUID_P(1), REASON_REAPPLIED));
	EraseAccountAgain(account);
	PG_RETURN_BOOL(true);
}
