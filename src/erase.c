/*
 * erase.c
 *		The triggers behind DELETE, and the certificates they issue.
 *
 * While archive.c moves a session (InCustody), deleting its rows erases nothing:
 * the rows go, the key stays, and there is no certificate.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "audit.h"
#include "authority.h"
#include "cipher.h"
#include "datakey.h"
#include "erase.h"
#include "evidence.h"
#include "identity.h"
#include "injection.h"
#include "jose.h"
#include "protect.h"
#include "quiet.h"
#include "spi.h"

PG_FUNCTION_INFO_V1(cauce_hold_session);
PG_FUNCTION_INFO_V1(cauce_hold_rows);
PG_FUNCTION_INFO_V1(cauce_erase_session);
PG_FUNCTION_INFO_V1(cauce_erase_archive);
PG_FUNCTION_INFO_V1(cauce_certify_rows);
PG_FUNCTION_INFO_V1(cauce_certificate_jwks);

/* Of cauce.erasure_certificate; the check is about subject. */
#define CERTIFICATE_COLUMNS 8
#define CERTIFICATE_CHECKS 1

static const char *erasure_reason = "request";
/* A session or an account is being erased: its rows get no certificates of their own. */
static bool erasing = false;
/* An account is being erased: neither do its sessions and archives. */
static bool erasing_account = false;
static pg_uuid_t erased_account;

/*
 * The end of the chain that this transaction appended to last. It holds the chain's
 * lock, so nobody else appends; and forgets the end with the subtransaction that it is of.
 */
static struct
{
	bool known;
	SubTransactionId subtransaction; /* that may still undo it */
	pg_uuid_t account;
	uint8 digest[CIPHER_DIGEST_BYTES];
	TimestampTz erased_at;
} chain_end;

/* ForgetEnd forgets it with the transaction, which ends. */
static void
ForgetEnd(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE)
		chain_end.known = false;
}

/* EndSubtransaction forgets it if it is undone, or hands it on. */
static void
EndSubtransaction(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (chain_end.subtransaction != mine)
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		chain_end.known = false;
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		chain_end.subtransaction = parent;
}

/* EraseInit registers. */
void
EraseInit(void)
{
	RegisterXactCallback(ForgetEnd, NULL);
	RegisterSubXactCallback(EndSubtransaction, NULL);
}

/* RequireDeleteTrigger raises unless called as a trigger ON DELETE. */
static TriggerData *
RequireDeleteTrigger(FunctionCallInfo fcinfo, const char *name)
{
	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_BY_DELETE(((TriggerData *) fcinfo->context)->tg_event))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("%s is a trigger ON DELETE", name)));
	return (TriggerData *) fcinfo->context;
}

/* A deleted row of a session, live or archived. */
typedef struct DeletedRow
{
	pg_uuid_t account;
	pg_uuid_t id;
	bool has_organization;
	pg_uuid_t organization;
} DeletedRow;

/* ReadUuid reads a column of a row; false when it is NULL. */
static bool
ReadUuid(HeapTuple row, TupleDesc descriptor, const char *column, pg_uuid_t *into)
{
	bool isnull;
	Datum value = heap_getattr(row, SPI_fnumber(descriptor, column), descriptor, &isnull);

	if (!isnull)
		*into = *DatumGetUUIDP(value);
	return !isnull;
}

/* ReadRow reads whose a row is. */
static void
ReadRow(HeapTuple row, TupleDesc descriptor, DeletedRow *deleted)
{
	(void) ReadUuid(row, descriptor, "account_id", &deleted->account);
	(void) ReadUuid(row, descriptor, "id", &deleted->id);
	deleted->has_organization =
		ReadUuid(row, descriptor, "organization_id", &deleted->organization);
}

/* ReadDeleted reads whose the deleted row was. */
static void
ReadDeleted(const TriggerData *trigger, DeletedRow *deleted)
{
	ReadRow(trigger->tg_trigtuple, RelationGetDescr(trigger->tg_relation), deleted);
}

/* CertifyRow issues the certificate of a session. */
static void
CertifyRow(const DeletedRow *row, const char *subject, const char *counts,
		   const DestroyedKeys *keys)
{
	const Erased erased = {.account = &row->account,
						   .organization = row->has_organization ? &row->organization : NULL,
						   .session = &row->id,
						   .subject = subject,
						   .counts = counts,
						   .keys = keys};

	(void) IssueCertificate(&erased);
}

/* EndIsKnown tells whether chain_end is the end of the account's chain. */
static bool
EndIsKnown(const pg_uuid_t *account)
{
	return chain_end.known && SameUuid(&chain_end.account, account);
}

/* RememberEnd notes the certificate that was just issued. */
static void
RememberEnd(const pg_uuid_t *account, const char *jws, TimestampTz erased_at)
{
	chain_end.known = true;
	chain_end.subtransaction = GetCurrentSubTransactionId();
	chain_end.account = *account;
	chain_end.erased_at = erased_at;
	EvidenceDigest(jws, chain_end.digest);
}

/*
 * LastCertificate finds what the next certificate follows, as it is committed now:
 * the transaction's own snapshot may be older. False for the first.
 */
static bool
LastCertificate(const pg_uuid_t *account, uint8 *digest, TimestampTz *erased_at)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {UUIDOID};
	Datum values[] = {UUIDPGetDatum(account)};
	SpiScope scope;
	bool isnull;
	bool found;

	if (EndIsKnown(account))
	{
		memcpy(digest, chain_end.digest, sizeof(chain_end.digest));
		*erased_at = chain_end.erased_at;
		return true;
	}
	SpiEnter(&scope, true);
	found = SpiRun(&plan,
				   "SELECT jws, erased_at FROM cauce.erasure_certificate WHERE account_id = $1"
				   " ORDER BY erased_at DESC LIMIT 1",
				   1, types, values, NULL, true) == 1;
	if (found)
	{
		char *jws = TextDatumGetCString(SpiValue(0, 1, &isnull));

		EvidenceDigest(jws, digest);
		*erased_at = DatumGetTimestampTz(SpiValue(0, 2, &isnull));
	}
	SpiLeave(&scope);
	return found;
}

/* KeyList is the JSON array of the ids of destroyed keys. */
static char *
KeyList(const DestroyedKeys *destroyed)
{
	StringInfoData list;

	initStringInfo(&list);
	appendStringInfoChar(&list, '[');
	for (int i = 0; i < destroyed->count; i++)
		appendStringInfo(&list, "%s\"%s\"", i > 0 ? "," : "", UuidText(&destroyed->ids[i]));
	appendStringInfoChar(&list, ']');
	return list.data;
}

/* SignCertificate builds and signs the payload. Counts may name an application's tables. */
static char *
SignCertificate(const pg_uuid_t *id, const Erased *erased, TimestampTz erased_at,
				const uint8 *previous)
{
	const DestroyedKeys *keys = erased->keys;
	StringInfoData payload;

	initStringInfo(&payload);
	JoseClaim(&payload, "iss", "cauce");
	JoseClaim(&payload, "jti", UuidText(id));
	JoseClaim(&payload, "subject", erased->subject);
	JoseClaim(&payload, "reason", erasure_reason);
	JoseClaim(&payload, "erased_at", EvidenceTime(erased_at));
	JoseClaimJson(&payload, "counts",
				  pg_server_to_any(erased->counts, (int) strlen(erased->counts), PG_UTF8));
	JoseClaimJson(&payload, "keys", KeyList(keys));
	JoseClaim(&payload, "last_epoch", keys->count > 0 ? EvidenceDate(keys->last_epoch) : NULL);
	JoseClaim(&payload, "previous_digest", previous != NULL ? EvidenceHex(previous) : NULL);
	return JoseSign(&payload, TYPE_CERTIFICATE);
}

/* AddCertificate adds a row of cauce.erasure_certificate. */
static void
AddCertificate(Datum *values, const bool *nulls)
{
	static SPIPlanPtr plan = NULL;
	Oid types[CERTIFICATE_COLUMNS] = {UUIDOID,	UUIDOID,		TEXTOID,  TEXTOID,
									  JSONBOID, TIMESTAMPTZOID, BYTEAOID, TEXTOID};
	QuietWriter *writer = QuietOpen("erasure_certificate", CERTIFICATE_COLUMNS, CERTIFICATE_CHECKS);

	if (writer == NULL)
	{
		SpiRun(&plan,
			   "INSERT INTO cauce.erasure_certificate"
			   " (id, account_id, subject, reason, counts, erased_at, previous_digest, jws)"
			   " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
			   CERTIFICATE_COLUMNS, types, values, SpiNulls(nulls, CERTIFICATE_COLUMNS), false);
		return;
	}
	QuietAdd(writer, values, nulls);
	QuietClose(writer);
}

/* IssueCertificate appends a certificate to the account's chain. */
pg_uuid_t
IssueCertificate(const Erased *erased)
{
	Datum values[CERTIFICATE_COLUMNS];
	bool nulls[CERTIFICATE_COLUMNS] = {false};
	uint8 previous[CIPHER_DIGEST_BYTES];
	TimestampTz erased_at = GetCurrentTimestamp();
	TimestampTz last = 0;
	pg_uuid_t id;
	char *jws;
	bool follows;

	DataKeyCheckKeyringOnce();
	LockChain(CHAIN_CERTIFICATES, erased->account);
	follows = LastCertificate(erased->account, previous, &last);
	if (follows && erased_at <= last)
		erased_at = last + 1; /* the order of the chain, whatever the clock does */
	CipherRandomUuid(&id);
	values[0] = UUIDPGetDatum(&id);
	values[1] = UUIDPGetDatum(erased->account);
	values[2] = CStringGetTextDatum(erased->subject);
	values[3] = CStringGetTextDatum(erasure_reason);
	values[4] = DirectFunctionCall1(jsonb_in, CStringGetDatum(erased->counts));
	values[5] = TimestampTzGetDatum(erased_at);
	values[6] = follows ? EvidenceBytea(previous) : (Datum) 0;
	nulls[6] = !follows;
	jws = SignCertificate(&id, erased, erased_at, follows ? previous : NULL);
	values[7] = CStringGetTextDatum(jws);
	AddCertificate(values, nulls);
	RememberEnd(erased->account, jws, erased_at);
	AuditChange(erased->account, erased->organization, erased->session, "erase",
				psprintf("%s, %s, certificate %s", erased->subject, erasure_reason, UuidText(&id)));
	return id;
}

/* EraseAccountBegin sets the flags. */
void
EraseAccountBegin(const pg_uuid_t *account)
{
	erased_account = *account;
	erasing_account = true;
	erasing = true;
}

/* EraseAccountEnd resets them. */
void
EraseAccountEnd(void)
{
	erasing_account = false;
	erasing = false;
}

/* IsErasing tells whether this account is being erased as a whole. */
static bool
IsErasing(const pg_uuid_t *account)
{
	return erasing_account && SameUuid(&erased_account, account);
}

/* DeleteRowsOf deletes a session's rows from one table and gives their number. */
static int64
DeleteRowsOf(const char *table, SPIPlanPtr *plan, const char *sql, const pg_uuid_t *account,
			 const pg_uuid_t *session, bool quietly)
{
	if (quietly)
		return QuietDelete(table, account, session, NULL, NULL);
	return (int64) SpiRunSession(plan, sql, account, session, false);
}

/*
 * DeleteContent deletes everything that hangs on a session, whose row has been deleted; the counts
 * as JSON. Inside of an SpiScope.
 */
static char *
DeleteContent(const pg_uuid_t *account, const pg_uuid_t *session, bool quietly)
{
	static const struct
	{
		const char *name;
		const char *counted;
		const char *sql;
	} tables[] = {
		{"transcript_segment", "segments",
		 "DELETE FROM cauce.transcript_segment WHERE account_id = $1 AND session_id = $2"},
		{"report", "reports", "DELETE FROM cauce.report WHERE account_id = $1 AND session_id = $2"},
		{"alert", "alerts", "DELETE FROM cauce.alert WHERE account_id = $1 AND session_id = $2"},
	};
	static SPIPlanPtr plans[lengthof(tables)];
	StringInfoData counts;

	initStringInfo(&counts);
	appendStringInfoString(&counts, "{\"sessions\": 1");
	for (Size i = 0; i < lengthof(tables); i++)
		appendStringInfo(
			&counts, ", \"%s\": " INT64_FORMAT, tables[i].counted,
			DeleteRowsOf(tables[i].name, &plans[i], tables[i].sql, account, session, quietly));
	if (!InCustody())
		ProtectedErase(account, session, &counts);
	appendStringInfoChar(&counts, '}');
	return counts.data;
}

/* RefuseHeld raises. */
void
RefuseHeld(void)
{
	ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE), errmsg("the session is under legal hold"),
					errdetail("It can be neither erased, archived nor rewritten."),
					errhint("Ask for the hold to be released.")));
}

/* RequireNotHeld reads legal_hold. */
void
RequireNotHeld(HeapTuple row, TupleDesc descriptor)
{
	bool isnull;
	Datum held = heap_getattr(row, SPI_fnumber(descriptor, "legal_hold"), descriptor, &isnull);

	if (!isnull && DatumGetBool(held))
		RefuseHeld();
}

/* cauce.hold_session(), BEFORE DELETE OR UPDATE FOR EACH ROW: a legal hold forbids it. */
Datum
cauce_hold_session(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("hold_session is a trigger FOR EACH ROW")));
	RequireNotHeld(trigger->tg_trigtuple, RelationGetDescr(trigger->tg_relation));
	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple
																	  : trigger->tg_trigtuple);
}

/* NoRows tells whether a statement's transition table is empty: nothing is to be looked up then. */
static bool
NoRows(const TriggerData *trigger)
{
	return trigger->tg_oldtable != NULL && tuplestore_tuple_count(trigger->tg_oldtable) == 0;
}

/*
 * cauce.hold_rows(), AFTER DELETE OR UPDATE FOR EACH STATEMENT with the transition table
 * before: a legal hold on a row's session forbids it. FOR SHARE: a hold that is being set is
 * waited for, and one that an old snapshot cannot see is an error. An erased session was
 * asked about by hold_session.
 */
Datum
cauce_hold_rows(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	SpiScope scope;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("hold_rows is a trigger FOR EACH STATEMENT")));
	if (erasing || NoRows(trigger))
		return PointerGetDatum(NULL);
	SpiEnter(&scope, false);
	if (SPI_register_trigger_data(trigger) != SPI_OK_TD_REGISTER ||
		SPI_execute("SELECT s.legal_hold FROM cauce.session s WHERE (s.account_id, s.id) IN"
					" (SELECT b.account_id, b.session_id FROM before b) FOR SHARE",
					false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the sessions of the rows");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool isnull;

		if (DatumGetBool(SpiValue(i, 1, &isnull)))
			RefuseHeld();
	}
	SpiLeave(&scope);
	return PointerGetDatum(NULL);
}

/*
 * cauce.erase_session(), AFTER DELETE FOR EACH ROW. Its trigger's name sorts
 * before those of the foreign keys, so that the rows are counted before a
 * cascade would take them, and gone before a key without one looks for them.
 */
Datum
cauce_erase_session(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = RequireDeleteTrigger(fcinfo, "erase_session");
	DestroyedKeys destroyed;
	bool before = erasing;
	char *counts = NULL;
	DeletedRow row;
	SpiScope scope;

	ReadDeleted(trigger, &row);
	if (IsErasing(&row.account))
		return PointerGetDatum(NULL);
	SpiEnter(&scope, false);
	if (!InCustody())
		DataKeyDestroy(&row.account, &row.id, &destroyed);
	CAUCE_POINT("erase_key_destroyed");
	erasing = true;
	PG_TRY();
	{
		counts = DeleteContent(&row.account, &row.id, false);
	}
	PG_FINALLY();
	{
		erasing = before;
	}
	PG_END_TRY();
	CAUCE_POINT("erase_content_deleted");
	if (!InCustody())
		CertifyRow(&row, "session", counts, &destroyed);
	CAUCE_POINT("erase_certified");
	SpiLeave(&scope);
	return PointerGetDatum(NULL);
}

/* cauce.erase_archive(), AFTER DELETE FOR EACH ROW. */
Datum
cauce_erase_archive(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = RequireDeleteTrigger(fcinfo, "erase_archive");
	DestroyedKeys destroyed;
	DeletedRow row;
	SpiScope scope;
	bool here;

	if (InCustody())
		return PointerGetDatum(NULL);
	ReadDeleted(trigger, &row);
	(void) heap_getattr(trigger->tg_trigtuple,
						SPI_fnumber(RelationGetDescr(trigger->tg_relation), "bundle_digest"),
						RelationGetDescr(trigger->tg_relation), &here);
	if (IsErasing(&row.account))
		return PointerGetDatum(NULL);
	SpiEnter(&scope, false);
	DataKeyDestroy(&row.account, &row.id, &destroyed);
	CAUCE_POINT("erase_archive_key_destroyed");
	CertifyRow(&row, "archive",
			   here ? "{\"archives\": 1}" : "{\"archives\": 1, \"archives_stored\": 1}",
			   &destroyed);
	CAUCE_POINT("erase_archive_certified");
	SpiLeave(&scope);
	return PointerGetDatum(NULL);
}

/* CertifyDeleted certifies what was deleted from one session: its account, id, organization and the number of rows. */
static void
CertifyDeleted(SPITupleTable *rows, uint64 at, const Trigger *trigger)
{
	static const DestroyedKeys none = {0};
	DeletedRow row;
	bool isnull;
	Datum value;

	row.account = *DatumGetUUIDP(SPI_getbinval(rows->vals[at], rows->tupdesc, 1, &isnull));
	row.id = *DatumGetUUIDP(SPI_getbinval(rows->vals[at], rows->tupdesc, 2, &isnull));
	value = SPI_getbinval(rows->vals[at], rows->tupdesc, 3, &isnull);
	row.has_organization = !isnull;
	if (!isnull)
		row.organization = *DatumGetUUIDP(value);
	value = SPI_getbinval(rows->vals[at], rows->tupdesc, 4, &isnull);
	CertifyRow(&row, trigger->tgargs[0],
			   psprintf("{\"%s\": " INT64_FORMAT "}", trigger->tgargs[1], DatumGetInt64(value)),
			   &none);
}

/*
 * cauce.certify_rows(subject, counted), AFTER DELETE FOR EACH STATEMENT with the
 * transition table erased: one certificate for each session that rows were
 * deleted from. Their key lives on with the session.
 */
Datum
cauce_certify_rows(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = RequireDeleteTrigger(fcinfo, "certify_rows");
	SPITupleTable *rows;
	SpiScope scope;
	uint64 count;

	if (erasing || InCustody() || NoRows(trigger))
		return PointerGetDatum(NULL);
	SpiEnter(&scope, false);
	if (SPI_register_trigger_data(trigger) != SPI_OK_TD_REGISTER ||
		SPI_execute(
			"SELECT e.account_id, e.session_id, s.organization_id, count(*) FROM erased e"
			" LEFT JOIN cauce.session s ON s.account_id = e.account_id AND s.id = e.session_id"
			" GROUP BY 1, 2, 3 ORDER BY 1, 2",
			false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the deleted rows");
	rows = SPI_tuptable;
	count = SPI_processed;
	for (uint64 i = 0; i < count; i++)
		CertifyDeleted(rows, i, trigger->tg_trigger);
	SpiLeave(&scope);
	return PointerGetDatum(NULL);
}

/* ErasureBecause swaps. */
const char *
ErasureBecause(const char *reason)
{
	const char *before = erasure_reason;

	erasure_reason = reason;
	return before;
}

/* DeleteBecause runs a DELETE of one row whose certificate says reason. */
static bool
DeleteBecause(SPIPlanPtr *plan, const char *sql, const pg_uuid_t *account, const pg_uuid_t *session,
			  const char *reason)
{
	const char *before;
	volatile bool deleted = false;
	SpiScope scope;

	SpiEnter(&scope, false);
	before = ErasureBecause(reason);
	PG_TRY();
	{
		deleted = SpiRunSession(plan, sql, account, session, false) == 1;
	}
	PG_FINALLY();
	{
		(void) ErasureBecause(before);
	}
	PG_END_TRY();
	SpiLeave(&scope);
	return deleted;
}

/* ReadSession is a QuietVisitor of the session that is erased, which must not be under legal hold. */
static void
ReadSession(HeapTuple row, TupleDesc descriptor, void *argument)
{
	RequireNotHeld(row, descriptor);
	ReadRow(row, descriptor, argument);
}

/* EraseQuietly does what the triggers would do, without them. Inside of an SpiScope. */
static bool
EraseQuietly(const pg_uuid_t *account, const pg_uuid_t *session)
{
	DestroyedKeys destroyed;
	DeletedRow row;
	char *counts;

	if (QuietDelete("session", account, session, ReadSession, &row) == 0)
		return false;
	DataKeyDestroyQuietly(account, session, &destroyed);
	CAUCE_POINT("erase_key_destroyed");
	counts = DeleteContent(account, session, true);
	CAUCE_POINT("erase_content_deleted");
	CertifyRow(&row, "session", counts, &destroyed);
	CAUCE_POINT("erase_certified");
	return true;
}

/* EraseSession erases a live session. */
bool
EraseSession(const pg_uuid_t *account, const pg_uuid_t *session, const char *reason)
{
	static SPIPlanPtr plan = NULL;

	return DeleteBecause(&plan, "DELETE FROM cauce.session WHERE account_id = $1 AND id = $2",
						 account, session, reason);
}

/* EraseMayQuietly asks. */
bool
EraseMayQuietly(void)
{
	return QuietMay(ProtectedTables()) && QuietCanSessions();
}

/* EraseLockedSession erases one whose row the transaction has locked. */
bool
EraseLockedSession(const pg_uuid_t *account, const pg_uuid_t *session, const char *reason,
				   bool quietly)
{
	const char *before;
	volatile bool erased = false;
	SpiScope scope;

	SpiEnter(&scope, false);
	before = ErasureBecause(reason);
	PG_TRY();
	{
		erased = quietly ? EraseQuietly(account, session) : EraseSession(account, session, reason);
	}
	PG_FINALLY();
	{
		(void) ErasureBecause(before);
	}
	PG_END_TRY();
	SpiLeave(&scope);
	return erased;
}

/* EraseArchive erases an archived session. */
bool
EraseArchive(const pg_uuid_t *account, const pg_uuid_t *session, const char *reason)
{
	static SPIPlanPtr plan = NULL;

	return DeleteBecause(&plan,
						 "DELETE FROM cauce.archived_session WHERE account_id = $1 AND id = $2",
						 account, session, reason);
}

/* cauce.certificate_jwks(): the key set that verifies certificates. */
Datum
cauce_certificate_jwks(PG_FUNCTION_ARGS)
{
	DataKeyCheckKeyring();
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(JosePublicKeys())));
}
