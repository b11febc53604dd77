/*
 * archive.c
 *		Bundles: one session, everything in it, sealed as one value.
 *
 * A bundle is JSON (docs/format.md), compressed and sealed under the session's
 * own data key, which archiving re-wraps for as long as the archive is kept.
 * The JSON exists in this process's memory only, and is wiped.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "archive.h"
#include "archive_rows.h"
#include "authority.h"
#include "binding.h"
#include "bundle.h"
#include "datakey.h"
#include "rewrap.h"
#include "identity.h"
#include "injection.h"
#include "keyring.h"
#include "protect.h"
#include "sealed.h"
#include "sealed_type.h"
#include "secret.h"
#include "spi.h"
#include "storage.h"

PG_FUNCTION_INFO_V1(cauce_archive_session);
PG_FUNCTION_INFO_V1(cauce_restore_session);
PG_FUNCTION_INFO_V1(cauce_open_archive);

/* An archive is erased after so many days, the longest retention there is, unless its owner does so before. */
#define ARCHIVE_DAYS KEYRING_HORIZON_DAYS

/* BundleBinding binds a bundle to its row. */
void
BundleBinding(const pg_uuid_t *account, const pg_uuid_t *session, uint8 *binding)
{
	StringInfoData row_name;

	initStringInfo(&row_name);
	RowNameAdd(&row_name, "cauce");
	RowNameAdd(&row_name, "archived_session");
	RowNameAdd(&row_name, UuidText(account));
	RowNameAdd(&row_name, UuidText(session));
	BindingOf(&row_name, "bundle", binding);
}

/* LockSession holds the session against writers of its rows; false when there is no such session. */
static bool
LockSession(const pg_uuid_t *account, const pg_uuid_t *session)
{
	static SPIPlanPtr plan = NULL;

	return SpiRunSession(&plan,
						 "SELECT 1 FROM cauce.session WHERE account_id = $1 AND id = $2 FOR UPDATE",
						 account, session, false) == 1;
}

/*
 * TakeBundle takes the session's rows out of their tables and makes the bundle's
 * JSON of just these, so that a row is in the bundle or still in its table, never
 * in neither. Rows is the JSON of what was taken out of protected tables. Rows are
 * sorted while they are sealed: a sort may spill to disk.
 */
static char *
TakeBundle(const pg_uuid_t *account, const pg_uuid_t *session, const char *rows, Size *size)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {UUIDOID, UUIDOID, JSONOID};
	Datum values[] = {UUIDPGetDatum(account), UUIDPGetDatum(session), CStringGetTextDatum(rows)};
	text *bundle;
	bool isnull;

	SpiRunGeneric(
		&plan,
		"WITH t AS (DELETE FROM cauce.transcript_segment"
		"  WHERE account_id = $1 AND session_id = $2 RETURNING *),"
		" r AS (DELETE FROM cauce.report WHERE account_id = $1 AND session_id = $2 RETURNING *),"
		" a AS (DELETE FROM cauce.alert WHERE account_id = $1 AND session_id = $2 RETURNING *)"
		" SELECT json_build_object('version', " BUNDLE_VERSION ", 'session', row_to_json(s),"
		" 'transcript_segment', (SELECT coalesce(json_agg(row_to_json(o)), '[]')"
		"  FROM (SELECT * FROM t ORDER BY channel, seq) o),"
		" 'report', (SELECT coalesce(json_agg(row_to_json(o)), '[]')"
		"  FROM (SELECT * FROM r ORDER BY created_at, id) o),"
		" 'alert', (SELECT coalesce(json_agg(row_to_json(o)), '[]')"
		"  FROM (SELECT * FROM a ORDER BY at_ms, id) o),"
		" 'protected', $3)"
		" FROM cauce.session s WHERE account_id = $1 AND id = $2",
		lengthof(types), types, values, false);
	bundle = DatumGetTextPP(SpiValue(0, 1, &isnull));
	*size = VARSIZE_ANY_EXHDR(bundle);
	return VARDATA_ANY(bundle);
}

/*
 * TakeOrRefuse takes the bundle, quietly without triggers, and turns PostgreSQL's refusal to make a text of more
 * than a gigabyte into one that says of what; NULL when there is no such session.
 */
static char *
TakeOrRefuse(const pg_uuid_t *account, const pg_uuid_t *session, const char *rows, bool quietly,
			 TakenSession *taken, Size *size)
{
	MemoryContext context = CurrentMemoryContext;
	char *volatile json = NULL;

	PG_TRY();
	{
		json = quietly ? BundleTake(account, session, rows, taken, size)
					   : TakeBundle(account, session, rows, size);
	}
	PG_CATCH();
	{
		if (geterrcode() != ERRCODE_PROGRAM_LIMIT_EXCEEDED)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("the session is too large for an archive"),
						errdetail("What it holds takes more than a gigabyte."),
						errhint("Delete the session, or some of what it holds.")));
	}
	PG_END_TRY();
	CHECK_FOR_INTERRUPTS(); /* much memory was copied, and will be */
	return json;
}

/* SealBundle seals the JSON, as UTF-8, and wipes it. */
static Sealed *
SealBundle(char *json, Size size, const pg_uuid_t *account, const pg_uuid_t *session)
{
	uint8 binding[SEALED_BINDING_BYTES];
	char *utf8 = pg_server_to_any(json, (int) size, PG_UTF8);
	Size utf8_size = utf8 != json ? strlen(utf8) : size;
	Sealed *sealed;

	BundleBinding(account, session, binding);
	sealed = SealForSession(SEALED_BUNDLE, utf8, utf8_size, account, session, binding);
	SecretWipe(utf8, utf8_size);
	SecretWipe(json, size);
	return sealed;
}

/* StoreBundle writes the archive's row. */
static void
StoreBundle(const pg_uuid_t *account, const pg_uuid_t *session, const TakenSession *taken,
			const Sealed *bundle, TimestampTz delete_after)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {UUIDOID,		   UUIDOID,		   UUIDOID, TIMESTAMPTZOID,
				   TIMESTAMPTZOID, TIMESTAMPTZOID, BYTEAOID};
	Datum values[] = {UUIDPGetDatum(account),
					  UUIDPGetDatum(session),
					  UUIDPGetDatum(&taken->organization),
					  TimestampTzGetDatum(taken->started_at),
					  TimestampTzGetDatum(GetCurrentTimestamp()),
					  TimestampTzGetDatum(delete_after),
					  PointerGetDatum(bundle)};
	const char nulls[] = {' ', ' ', taken->has_organization ? ' ' : 'n', ' ', ' ', ' ', ' '};

	SpiRun(&plan,
		   "INSERT INTO cauce.archived_session"
		   " (account_id, id, organization_id, started_at, archived_at, delete_after, bundle)"
		   " VALUES ($1, $2, $3, $4, $5, $6, $7)",
		   lengthof(types), types, values, nulls, false);
}

/* ReadTaken reads of a session what its archive's row repeats; false when there is no such session. */
static bool
ReadTaken(const pg_uuid_t *account, const pg_uuid_t *session, TakenSession *taken)
{
	static SPIPlanPtr plan = NULL;
	bool isnull;
	Datum value;

	if (SpiRunSession(&plan,
					  "SELECT organization_id, started_at FROM cauce.session"
					  " WHERE account_id = $1 AND id = $2",
					  account, session, false) == 0)
		return false;
	value = SpiValue(0, 1, &isnull);
	taken->has_organization = !isnull;
	if (!isnull)
		taken->organization = *DatumGetUUIDP(value);
	taken->started_at = DatumGetTimestampTz(SpiValue(0, 2, &isnull));
	return true;
}

/* DeleteTaken deletes the session's row once the archive is there. */
static void
DeleteTaken(const pg_uuid_t *account, const pg_uuid_t *session)
{
	static SPIPlanPtr plan = NULL;

	if (!InCustody())
		elog(ERROR, "custody of a session was lost"); /* or the DELETE would erase it */
	SpiRunSession(&plan, "DELETE FROM cauce.session WHERE account_id = $1 AND id = $2", account,
				  session, false);
}

/* MoveSession moves a session's rows into an archive; quietly without triggers. The caller has custody. */
static bool
MoveSession(const pg_uuid_t *account, const pg_uuid_t *session, const char *rows, bool quietly)
{
	TimestampTz delete_after = GetCurrentTimestamp() + (TimestampTz) ARCHIVE_DAYS * USECS_PER_DAY;
	TakenSession taken;
	Sealed *bundle;
	char *json;
	Size size;

	if (!quietly && !ReadTaken(account, session, &taken))
		return false;
	json = TakeOrRefuse(account, session, rows, quietly, &taken, &size);
	if (json == NULL)
		return false;
	CAUCE_POINT("archive_bundle_taken");
	bundle = SealBundle(json, size, account, session);
	StoreBundle(account, session, &taken, bundle, delete_after);
	CAUCE_POINT("archive_stored");
	RewrapSession(account, taken.has_organization ? &taken.organization : NULL, session,
				  delete_after);
	CAUCE_POINT("archive_rewrapped");
	if (!quietly)
		DeleteTaken(account, session);
	return true;
}

/* ArchiveMayQuietly asks. */
bool
ArchiveMayQuietly(void)
{
	return BundleMay(ProtectedTables());
}

/* ArchiveSession archives. */
bool
ArchiveSession(const pg_uuid_t *account, const pg_uuid_t *session, bool quietly)
{
	bool found;
	const char *rows = NULL;
	SpiScope scope;

	SpiEnter(&scope, false);
	found = quietly || LockSession(account, session);
	CAUCE_POINT("archive_locked");
	if (found)
		rows = ArchiveRowsTake(account, session);
	CAUCE_POINT("archive_rows_taken");
	CustodyBegin(account, session);
	if (found)
		found = MoveSession(account, session, rows, quietly);
	CustodyEnd();
	CAUCE_POINT("archive_done");
	SpiLeave(&scope);
	return found;
}

/* DamagedBundle raises XX001. */
static void
DamagedBundle(const char *detail)
{
	ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("the archive cannot be opened"),
					errdetail("%s", detail)));
}

/* RequireBundle raises unless the bytes are the bundle of that archive. */
static void
RequireBundle(const Sealed *sealed, const pg_uuid_t *account, const pg_uuid_t *session)
{
	uint8 binding[SEALED_BINDING_BYTES];

	BundleBinding(account, session, binding);
	SealedCheckForm(sealed, SEALED_BUNDLE);
	if (!SealedIsBoundTo(sealed, binding))
		DamagedBundle("The bundle belongs to another row.");
}

/*
 * FetchAhead brings back an archive's bundle where it is outside of the database, before anything is locked: storage
 * may take its time. NULL where it is not.
 */
static Sealed *
FetchAhead(const pg_uuid_t *account, const pg_uuid_t *session)
{
	static SPIPlanPtr plan = NULL;
	StoredBundle stored = {.session = *session};
	SpiScope scope;
	bool isnull;
	bool away;

	SpiEnter(&scope, true);
	away = SpiRunSession(&plan,
						 "SELECT bundle_digest, bundle_bytes FROM cauce.archived_session"
						 " WHERE account_id = $1 AND id = $2 AND bundle IS NULL",
						 account, session, true) == 1;
	if (away)
		StorageRead(SpiValue(0, 1, &isnull), SpiValue(0, 2, &isnull), &stored);
	SpiLeave(&scope);
	return away ? StorageGet(&stored) : NULL;
}

/* RequireFetched raises unless what was fetched is what the row, read by OpenBundle, is of. */
static void
RequireFetched(const Sealed *fetched, const pg_uuid_t *session)
{
	StoredBundle found;
	StoredBundle wanted;
	bool isnull;

	if (fetched != NULL)
	{
		StorageDescribe(session, fetched, &found);
		StorageRead(SpiValue(0, 3, &isnull), SpiValue(0, 4, &isnull), &wanted);
		if (memcmp(found.digest, wanted.digest, sizeof(found.digest)) == 0)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("the archive has been moved meanwhile"),
			 errdetail("It was handed over to storage, or sealed anew."), errhint("Try again.")));
}

/*
 * OpenBundle reads and opens an archive's bundle in custody, and tells when it was made; NULL when
 * there is no such archive. Fetched is what FetchAhead has brought back.
 */
static text *
OpenBundle(const pg_uuid_t *account, const pg_uuid_t *session, const Sealed *fetched,
		   Datum *archived_at)
{
	static SPIPlanPtr plan = NULL;
	const Sealed *sealed = fetched;
	char *utf8;
	char *json;
	Size size;
	bool isnull;
	Datum here;
	text *bundle;

	if (SpiRunSession(&plan,
					  "SELECT bundle, archived_at, bundle_digest, bundle_bytes"
					  " FROM cauce.archived_session WHERE account_id = $1 AND id = $2 FOR UPDATE",
					  account, session, false) == 0)
		return NULL;
	here = SpiValue(0, 1, &isnull);
	if (isnull)
		RequireFetched(fetched, session);
	else
		sealed = (Sealed *) PG_DETOAST_DATUM_PACKED(here);
	*archived_at = SpiValue(0, 2, &isnull);
	RequireBundle(sealed, account, session);
	if (SealedOpen(sealed, SEALED_BUNDLE, &utf8, &size) != OPEN_OK)
		DamagedBundle("Its key is not there, or not this session's.");
	json = pg_any_to_server(utf8, (int) size, PG_UTF8);
	bundle = cstring_to_text(json);
	SecretWipe(json, strlen(json));
	SecretWipe(utf8, size);
	return bundle;
}

/* RequireVersion refuses a bundle of a later version of cauce. */
static void
RequireVersion(text *bundle)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {JSONOID};
	Datum values[] = {PointerGetDatum(bundle)};
	bool isnull;

	SpiRunGeneric(&plan, "SELECT ($1->>'version')::integer IN (" BUNDLE_VERSIONS ")", 1, types,
				  values, true);
	if (!DatumGetBool(SpiValue(0, 1, &isnull)) || isnull)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("the archive has a format that this version does not know"),
						errhint("Update cauce to restore it.")));
}

/*
 * InsertBundle puts the rows of a bundle back. $1 is the bundle: text is passed as the json that it is, since a cast
 * would look at it all once more. The caller is in custody.
 */
static void
InsertBundle(text *bundle)
{
	static const char *const statements[] = {
		"INSERT INTO cauce.session SELECT r.*"
		" FROM json_populate_record(NULL::cauce.session, $1->'session') r",
		"INSERT INTO cauce.transcript_segment SELECT r.*"
		" FROM json_populate_recordset(NULL::cauce.transcript_segment,"
		"  $1->'transcript_segment') r",
		"INSERT INTO cauce.report SELECT r.*"
		" FROM json_populate_recordset(NULL::cauce.report, $1->'report') r",
		"INSERT INTO cauce.alert SELECT r.*"
		" FROM json_populate_recordset(NULL::cauce.alert, $1->'alert') r",
	};
	static SPIPlanPtr plans[lengthof(statements)];
	Oid types[] = {JSONOID};
	Datum values[] = {PointerGetDatum(bundle)};

	for (Size i = 0; i < lengthof(statements); i++)
		SpiRunGeneric(&plans[i], statements[i], 1, types, values, false);
}

/* Extend lets a session whose retention had ended live on: restored, it is not due again at once. */
static void
Extend(const pg_uuid_t *account, const pg_uuid_t *session)
{
	static SPIPlanPtr plan = NULL;

	SpiRunSession(&plan,
				  "UPDATE cauce.session s SET retention_days = least(3650,"
				  " ceil(extract(epoch FROM now() - s.started_at) / 86400)::integer"
				  " + coalesce(s.retention_days, a.retention_days, o.retention_days, 90))"
				  " FROM cauce.account a, cauce.session t LEFT JOIN cauce.organization o"
				  " ON o.id = t.organization_id"
				  " WHERE s.account_id = $1 AND s.id = $2 AND a.id = s.account_id"
				  " AND t.account_id = s.account_id AND t.id = s.id AND s.retain_until <= now()",
				  account, session, false);
}

/* RestoreSession puts an archived session back; false when there is no such archive. */
static bool
RestoreSession(const pg_uuid_t *account, const pg_uuid_t *session)
{
	static SPIPlanPtr remove = NULL;
	Datum archived_at = (Datum) 0;
	Sealed *fetched = FetchAhead(account, session);
	SpiScope scope;
	text *bundle;

	CAUCE_POINT("restore_fetched");
	LockKeys(account); /* before the archive's row, as who erases the account does */
	SpiEnter(&scope, false);
	CustodyBegin(account, session);
	bundle = OpenBundle(account, session, fetched, &archived_at);
	if (bundle != NULL)
	{
		RequireVersion(bundle);
		CAUCE_POINT("restore_opened");
		InsertBundle(bundle);
		CAUCE_POINT("restore_inserted");
		CustodyEnd(); /* code of others' may run next */
		ArchiveRowsPut(PointerGetDatum(bundle), account, session, archived_at);
		SecretWipe(VARDATA_ANY(bundle), VARSIZE_ANY_EXHDR(bundle));
		CAUCE_POINT("restore_rows_put");
		Extend(account, session);
		CustodyBegin(account, session);
		SpiRunSession(&remove,
					  "DELETE FROM cauce.archived_session WHERE account_id = $1 AND id = $2",
					  account, session, false);
	}
	CustodyEnd();
	CAUCE_POINT("restore_done");
	SpiLeave(&scope);
	return bundle != NULL;
}

/* cauce.archive_session(id): the owner archives one session ahead of time. */
Datum
cauce_archive_session(PG_FUNCTION_ARGS)
{
	pg_uuid_t account = RequireOwner()->account;

	if (!ArchiveSession(&account, PG_GETARG_UUID_P(0), false))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("you have no such session"),
						errhint("Archived sessions are in cauce.archived_session.")));
	PG_RETURN_VOID();
}

/* cauce.restore_session(id): the owner gets an archived session back. */
Datum
cauce_restore_session(PG_FUNCTION_ARGS)
{
	pg_uuid_t account = RequireOwner()->account;

	if (!RestoreSession(&account, PG_GETARG_UUID_P(0)))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("you have no such archived session"),
						errhint("Your archives are listed in cauce.archived_session.")));
	PG_RETURN_VOID();
}

/* AccountAsks tells whether the identity in force is an account's own. */
static bool
AccountAsks(const pg_uuid_t *account)
{
	const Identity *who = CurrentIdentity();

	return who != NULL && who->scope == SCOPE_APP && SameUuid(&who->account, account);
}

/* OpenRows puts what rows of protected tables open to in the place of the rows themselves. */
static Datum
OpenRows(Datum opened, const char *json)
{
	Datum bundle = CStringGetTextDatum(json);
	StringInfoData member;
	SpiScope scope;
	char *rows;
	Datum shown;

	initStringInfo(&member);
	SpiEnter(&scope, true);
	rows = ArchiveRowsShow(bundle);
	appendStringInfo(&member, "{\"protected\": %s}", rows); /* in the caller's memory */
	SecretWipe(rows, strlen(rows));
	SpiLeave(&scope);
	SecretWipe(VARDATA_ANY(DatumGetTextPP(bundle)), VARSIZE_ANY_EXHDR(DatumGetTextPP(bundle)));
	shown = DirectFunctionCall1(jsonb_in, CStringGetDatum(member.data));
	SecretWipe(member.data, member.len);
	return DirectFunctionCall2(jsonb_concat, opened, shown);
}

/* HasRows tells whether a bundle may hold rows of protected tables; version 1 does not. */
static bool
HasRows(Datum opened)
{
	return DatumGetBool(
		DirectFunctionCall2(jsonb_exists, opened, CStringGetTextDatum("protected")));
}

/* MayOpen asks for authority over what an archive holds, before it is looked for. */
static OpenResult
MayOpen(const pg_uuid_t *account, const pg_uuid_t *session)
{
	const DataKey *key;

	if (!AuthorityAnyone())
		return OPEN_NO_IDENTITY;
	key = DataKeyForSession(account, session);
	if (key == NULL)
		return OPEN_DESTROYED;
	return SealedMayOpen(key);
}

/*
 * RequireMayOpen raises what is in the way of opening. Whoever holds a copy of another's bundle does not learn here
 * whether that is erased by now.
 */
static void
RequireMayOpen(OpenResult result, const pg_uuid_t *account)
{
	if (result == OPEN_DESTROYED && !AccountAsks(account))
		result = OPEN_NOT_YOURS;
	if (result != OPEN_OK)
		RefuseToOpen(result);
}

/* ReadHere gives the bundle of an archive's row where it is, and NULL where it is outside of the database. */
static Sealed *
ReadHere(const pg_uuid_t *account, const pg_uuid_t *session)
{
	static SPIPlanPtr plan = NULL;
	Sealed *sealed = NULL;
	SpiScope scope;
	bool isnull;
	Datum bundle;

	SpiEnter(&scope, true);
	if (SpiRunSession(&plan,
					  "SELECT bundle FROM cauce.archived_session WHERE account_id = $1 AND id = $2",
					  account, session, true) == 0)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("you have no such archived session"),
						errhint("It may have been restored: look for it in cauce.session.")));
	bundle = SpiValue(0, 1, &isnull);
	if (!isnull)
		sealed = (Sealed *) DatumGetPointer(
			SPI_datumTransfer(PointerGetDatum(PG_DETOAST_DATUM_PACKED(bundle)), false, -1));
	SpiLeave(&scope);
	return sealed;
}

/* ReadAnywhere gives the bundle of an archive that the caller may open, wherever it is. */
static const Sealed *
ReadAnywhere(const pg_uuid_t *account, const pg_uuid_t *session)
{
	const Sealed *sealed;

	RequireMayOpen(MayOpen(account, session), account);
	sealed = ReadHere(account, session);
	if (sealed == NULL)
		sealed = FetchAhead(account, session);
	if (sealed == NULL) /* brought back in between */
		sealed = ReadHere(account, session);
	if (sealed == NULL)
		RequireFetched(NULL, session);
	return sealed;
}

/*
 * cauce.open_archive(account_id, id, bundle): what an archive holds, for whoever may open it
 * (28000, 42501), where it is: nothing is locked, nothing restored. A bundle that is NULL is looked for.
 */
Datum
cauce_open_archive(PG_FUNCTION_ARGS)
{
	const pg_uuid_t *account;
	const pg_uuid_t *session;
	const Sealed *sealed;
	char *bytes;
	char *json;
	Size size;
	Datum opened;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	account = PG_GETARG_UUID_P(0);
	session = PG_GETARG_UUID_P(1);
	sealed = PG_ARGISNULL(2) ? ReadAnywhere(account, session) : (Sealed *) PG_GETARG_BYTEA_PP(2);
	RequireBundle(sealed, account, session);
	RequireMayOpen(SealedOpen(sealed, SEALED_BUNDLE, &bytes, &size), account);
	json = TextFromUtf8(bytes, size, &size);
	opened = DirectFunctionCall1(jsonb_in, CStringGetDatum(json));
	if (HasRows(opened))
		opened = OpenRows(opened, json);
	SecretWipe(json, size);
	pfree(json);
	return opened;
}
