/*
 * rewrap.c
 *		Wrapping data keys anew, and what a database still needs of the keyring.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "audit.h"
#include "cipher.h"
#include "identity.h"
#include "keyring.h"
#include "keyring_edit.h"
#include "keyrow.h"
#include "rewrap.h"
#include "secret.h"
#include "spi.h"
#include "witness.h"

PG_FUNCTION_INFO_V1(cauce_rewrap);
PG_FUNCTION_INFO_V1(cauce_master_of);
PG_FUNCTION_INFO_V1(cauce_rotate_master_key);
PG_FUNCTION_INFO_V1(cauce_retire_master_key);
PG_FUNCTION_INFO_V1(cauce_keyring_status);

/* How long those are waited for who wrap keys while the keyring is to be thinned out. */
#define WRAPPERS_TIMEOUT "30s"

/* Room in locked memory for the key that is being moved. */
static uint8 *
Secret(void)
{
	static uint8 *secret = NULL;

	if (secret == NULL)
		secret = SecretAlloc(CIPHER_KEY_BYTES);
	return secret;
}

/* Rewrap wraps a row's key anew under row->epoch and the master key in use; false when its time has passed. */
static bool
Rewrap(const KeyRow *old, KeyRow *row)
{
	uint8 *secret = Secret();

	if (!KeyRowUnwrap(old, secret))
		return false; /* nothing can bring it back */
	KeyRowWrap(row, secret);
	SecretWipe(secret, CIPHER_KEY_BYTES);
	return true;
}

/* TryRewrap is Rewrap for many keys: one that is damaged must not stop the others. */
static bool
TryRewrap(const KeyRow *old, KeyRow *row)
{
	uint8 *secret = Secret();
	UnwrapResult result = KeyRowTryUnwrap(old, secret);

	if (result == UNWRAP_OK)
	{
		KeyRowWrap(row, secret);
		SecretWipe(secret, CIPHER_KEY_BYTES);
	}
	else if (result != UNWRAP_ENDED)
		ereport(WARNING, (errcode(ERRCODE_DATA_CORRUPTED),
						  errmsg("data key %s cannot be wrapped anew", UuidText(&old->key.id)),
						  errhint("It is damaged, or the keyring is not the newest copy.")));
	return result == UNWRAP_OK;
}

/* RewrapRow moves one generation, unless it is where it should be; whether it has. */
static bool
RewrapRow(const KeyRow *old, EpochDay epoch, const pg_uuid_t *organization)
{
	KeyRow row = *old;
	bool moves = organization != NULL;

	if (old->epoch == epoch && old->key.has_organization == moves &&
		(!moves || SameUuid(&old->key.organization, organization)))
		return false;
	row.epoch = epoch;
	row.key.has_organization = moves;
	if (moves)
		row.key.organization = *organization;
	if (!Rewrap(old, &row))
		return false;
	KeyRowUpdate(&row);
	return true;
}

/*
 * RewrapSession moves a session's key to another epoch or organization. A generation that a
 * rotation has added while its rows were waited for is found by looking again.
 */
void
RewrapSession(const pg_uuid_t *account, const pg_uuid_t *organization, const pg_uuid_t *session,
			  TimestampTz until)
{
	static SPIPlanPtr plan = NULL;
	EpochDay epoch;
	SpiScope scope;
	bool moved;

	DataKeyCheckKeyring();
	DataKeyHoldEpochs();
	epoch = KeyringEpoch(until);
	SpiEnter(&scope, false);
	do
	{
		uint64 count = SpiRunSession(&plan,
									 "SELECT " KEYROW_COLUMNS " FROM cauce.data_key"
									 " WHERE account_id = $1 AND session_id = $2 FOR UPDATE",
									 account, session, false);
		SPITupleTable *rows = SPI_tuptable;

		moved = false;
		for (uint64 i = 0; i < count; i++)
		{
			KeyRow row;

			SPI_tuptable = rows;
			KeyRowRead(i, &row);
			moved = RewrapRow(&row, epoch, organization) || moved;
		}
	} while (moved);
	SpiLeave(&scope);
}

/* RewrapFound moves the keys that a statement finds and locks to an epoch. $1 is a date. */
static void
RewrapFound(SPIPlanPtr *plan, const char *sql, EpochDay before, EpochDay epoch)
{
	Oid types[] = {DATEOID};
	Datum values[] = {DateADTGetDatum(before)};
	SpiScope scope;
	SPITupleTable *rows;
	uint64 count;

	SpiEnter(&scope, false);
	count = SpiRun(plan, sql, 1, types, values, NULL, false);
	rows = SPI_tuptable;
	for (uint64 i = 0; i < count; i++)
	{
		KeyRow old;
		KeyRow row;

		CHECK_FOR_INTERRUPTS();
		SPI_tuptable = rows;
		KeyRowRead(i, &old);
		row = old;
		row.epoch = epoch;
		if (row.epoch != old.epoch && TryRewrap(&old, &row))
			KeyRowUpdate(&row);
	}
	SpiLeave(&scope);
}

/* HasKeys tells whether the database has any data key. */
static bool
HasKeys(void)
{
	static SPIPlanPtr plan = NULL;
	SpiScope scope;
	bool found;

	SpiEnter(&scope, true);
	found = SpiRun(&plan, "SELECT FROM cauce.data_key LIMIT 1", 0, NULL, NULL, NULL, true) > 0;
	SpiLeave(&scope);
	return found;
}

/* RewrapOverdue moves. */
void
RewrapOverdue(EpochDay today, TimestampTz now)
{
	static SPIPlanPtr sessions = NULL;
	static SPIPlanPtr owners = NULL;

	if (!HasKeys())
		return; /* perhaps no keyring either */
	DataKeyCheckKeyring();
	DataKeyHoldEpochs();
	RewrapFound(&sessions,
				"SELECT " KEYROW_COLUMNS " FROM cauce.data_key k"
				" WHERE epoch < $1 AND session_id IS NOT NULL AND " KEYROW_SEALS_SOMETHING
				" FOR UPDATE OF k SKIP LOCKED",
				today, KeyringEpoch(now));
	RewrapFound(&owners,
				"SELECT " KEYROW_COLUMNS " FROM cauce.data_key k"
				" WHERE epoch < $1 AND session_id IS NULL FOR UPDATE SKIP LOCKED",
				today + KEYRING_HORIZON_DAYS / 2, KeyringEpoch(DataKeyFarAway()));
}

/* RewrapMasters moves keys under the master key in use, in one statement. */
uint64
RewrapMasters(void)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {INT4OID};
	Datum values[1];
	SpiScope scope;
	uint64 moved;

	if (!HasKeys())
		return 0;
	DataKeyCheckKeyring();
	values[0] = Int32GetDatum((int32) KeyringMaster());
	SpiEnter(&scope, false);
	moved = SpiRun(&plan,
				   "UPDATE cauce.data_key d SET wrapped = n.wrapped FROM"
				   " (SELECT k.ctid AS at, cauce.rewrap(" KEYROW_COLUMNS
				   ") AS wrapped FROM cauce.data_key k"
				   "  WHERE cauce.master_of(k.wrapped) <> $1 FOR UPDATE SKIP LOCKED) n"
				   " WHERE d.ctid = n.at AND n.wrapped IS NOT NULL",
				   1, types, values, NULL, false);
	SpiLeave(&scope);
	return moved;
}

/* AwaitWrappers waits for transactions that may have chosen an epoch which was not over then. */
static void
AwaitWrappers(void)
{
	int level = NewGUCNestLevel();
	LOCKTAG tag;

	(void) set_config_option("lock_timeout", WRAPPERS_TIMEOUT, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	SET_LOCKTAG_RELATION(tag, MyDatabaseId, CauceTable("data_key"));
	WaitForLockers(tag, ShareLock, false);
	AtEOXact_GUC(true, level);
}

/* NoteEpochs and NoteMasters add what a query gives, dates or numbers, to needs. Inside of an SpiScope. */
static void
NoteEpochs(uint64 count, KeyringNeeds *needs)
{
	bool isnull;

	for (uint64 i = 0; i < count; i++)
		KeyringNeedsEpoch(needs, DatumGetDateADT(SpiValue(i, 1, &isnull)));
}

static void
NoteMasters(uint64 count, KeyringNeeds *needs)
{
	bool isnull;

	for (uint64 i = 0; i < count; i++)
		KeyringNeedsMaster(needs, (uint32) DatumGetInt32(SpiValue(i, 1, &isnull)));
}

/* RewrapNeeds reads. */
void
RewrapNeeds(EpochDay today, KeyringNeeds *needs)
{
	static SPIPlanPtr epochs = NULL;
	static SPIPlanPtr masters = NULL;
	Oid types[] = {DATEOID};
	Datum values[] = {DateADTGetDatum(today)};
	SpiScope scope;

	if (!RecoveryInProgress())
		AwaitWrappers();
	if (!HasKeys())
		return;
	DataKeyCheckKeyring();
	SpiEnter(&scope, true);
	NoteEpochs(SpiRun(&epochs,
					  "SELECT DISTINCT epoch FROM cauce.data_key k"
					  " WHERE epoch < $1 AND " KEYROW_SEALS_SOMETHING,
					  1, types, values, NULL, true),
			   needs);
	NoteMasters(SpiRun(&masters,
					   "SELECT DISTINCT cauce.master_of(wrapped) FROM cauce.data_key k"
					   " WHERE epoch >= $1 OR " KEYROW_SEALS_SOMETHING,
					   1, types, values, NULL, true),
				needs);
	SpiLeave(&scope);
}

/* RewrapExtendKeyring adds epoch keys to the keyring. */
void
RewrapExtendKeyring(void)
{
	static SPIPlanPtr plan = NULL;
	SpiScope scope;
	bool isnull;
	Datum last;

	SpiEnter(&scope, true);
	SpiRun(&plan, "SELECT max(epoch) FROM cauce.data_key", 0, NULL, NULL, NULL, true);
	last = SpiValue(0, 1, &isnull);
	SpiLeave(&scope);
	if (isnull)
		return; /* no keys yet: perhaps no keyring either */
	if (DatumGetDateADT(last) > KeyringLastEpoch())
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the keyring is older than this database's keys"),
						errhint("Put back the newest copy of the keyring.")));
	KeyringExtend();
}

/* cauce.rewrap(…), a row's columns: its key wrapped under the master key in use; NULL when it cannot be. */
Datum
cauce_rewrap(PG_FUNCTION_ARGS)
{
	Datum values[KEYROW_COLUMN_COUNT];
	bool nulls[KEYROW_COLUMN_COUNT];
	KeyRow old;
	KeyRow row;
	bytea *wrapped;

	for (int i = 0; i < KEYROW_COLUMN_COUNT; i++)
	{
		values[i] = PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i);
		if (nulls[i] && i != 2 && i != 3)
			PG_RETURN_NULL();
	}
	KeyRowFrom(values, nulls, &old);
	row = old;
	if (!TryRewrap(&old, &row))
		PG_RETURN_NULL();
	wrapped = palloc(VARHDRSZ + sizeof(WrappedKey));
	SET_VARSIZE(wrapped, VARHDRSZ + sizeof(WrappedKey));
	memcpy(VARDATA(wrapped), &row.wrapped, sizeof(WrappedKey));
	PG_RETURN_BYTEA_P(wrapped);
}

/* cauce.master_of(wrapped): the number of the master key that a data key lies under. */
Datum
cauce_master_of(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32((int32) KeyRowMaster(PG_GETARG_BYTEA_PP(0)));
}

/* RequireKeyringChange refuses to change the keyring where the database could not follow. */
static void
RequireKeyringChange(const char *name)
{
	PreventCommandIfReadOnly(name);
	PreventCommandIfParallelMode(name);
	PreventCommandDuringRecovery(name);
}

/* AuditKeyring has it written before the keyring changes, as its change outlives a rollback, too. */
static void
AuditKeyring(const char *what)
{
	AuditEntry entry;

	AuditFill(&entry, NULL, NULL, NULL, "key", what);
	AuditActor(&entry);
	WitnessCommit(&entry);
}

/* cauce.rotate_master_key(prepare): a new master key in use; with prepare, one that will be. */
Datum
cauce_rotate_master_key(PG_FUNCTION_ARGS)
{
	bool prepare = PG_GETARG_BOOL(0);
	uint32 master;

	RequireKeyringChange("rotate_master_key()");
	DataKeyCheckKeyring();
	AuditKeyring(prepare ? "a master key is to be prepared" : "a master key is to be put in use");
	master = KeyringAddMaster(!prepare);
	if (!prepare)
	{
		(void) RewrapMasters();
		SharedWakeAtCommit(); /* for the server's other databases */
	}
	PG_RETURN_INT32((int32) master);
}

/* cauce.retire_master_key(number): a replaced master key goes once nothing lies under it. */
Datum
cauce_retire_master_key(PG_FUNCTION_ARGS)
{
	int32 number = PG_GETARG_INT32(0);

	RequireKeyringChange("retire_master_key()");
	DataKeyCheckKeyring();
	AuditKeyring(psprintf("master key %d is to be retired", number));
	KeyringRetireMaster((uint32) Max(number, 0));
	SharedWakeAtCommit();
	PG_RETURN_VOID();
}

/* cauce.keyring_status(): the names of the symmetric keys. */
Datum
cauce_keyring_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	uint32 master = KeyringMaster();
	const KeyName *names;
	int count;

	InitMaterializedSRF(fcinfo, 0);
	names = KeyringNames(&count);
	for (int i = 0; i < count; i++)
	{
		const KeyName *name = &names[i];
		Datum values[] = {
			CStringGetTextDatum(name->is_epoch ? "epoch" : "master"),
			Int32GetDatum((int32) name->master), DateADTGetDatum(name->epoch),
			BoolGetDatum(name->is_epoch ? !KeyringEpochEnded(name->epoch) : name->master == master),
			BoolGetDatum(name->retired)};
		bool nulls[] = {false, name->is_epoch, !name->is_epoch, false, name->is_epoch};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
