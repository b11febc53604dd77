/*
 * rotation.c
 *		Sealing content anew under new data keys.
 *
 * A data key keeps its id; each rotation adds a generation. One generation's life:
 *
 *		current ──new one committed──► superseded ──content sealed anew──► resealed
 *
 * superseded: writers find the new generation from the moment that its insertion has
 * committed. Content is sealed anew when every transaction has ended that may have found
 * the old one before. Nobody is waited for: what is locked, or not over, has its turn at
 * a later visit.
 *
 * resealed: the tables that cauce looks after hold nothing under it any more. It stays,
 * and ends with its session: copies of values may lie elsewhere, in a table that was
 * detached, in one without the trigger, in a dump that is being restored.
 *
 * Each arrow is a transaction of its own, and the state is in the rows of cauce.data_key:
 * whenever this is killed, the next run goes on where it was.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/procarray.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "cipher.h"
#include "duty.h"
#include "identity.h"
#include "keyring.h"
#include "keyrow.h"
#include "rotation.h"
#include "sealed.h"
#include "secret.h"
#include "shared.h"
#include "spi.h"

PG_FUNCTION_INFO_V1(cauce_wake_launcher);

/* The keys that a rotation wants renewed: current, not expired, not made since. docs/keys.md. */
static const char KeysToRenew[] =
	"SELECT " KEYROW_COLUMNS " FROM cauce.data_key k WHERE superseded_at IS NULL"
	" AND created_at < $2 AND ($3 IS NULL OR account_id = $3) AND generation < 65535"
	" AND epoch >= (now() AT TIME ZONE 'UTC')::date AND " KEYROW_SEALS_SOMETHING
	" AND NOT EXISTS (SELECT FROM cauce.data_key n WHERE n.account_id = k.account_id"
	" AND n.id = k.id AND n.generation > k.generation)"
	" ORDER BY created_at LIMIT $1 FOR UPDATE OF k SKIP LOCKED";

/* What cauce.rotate_data_keys() has asked for. */
typedef struct Rotation
{
	TimestampTz made_before;
	bool has_account;
	pg_uuid_t account;
} Rotation;

/* How long a table may be locked, by an ALTER TABLE, before content in it is left to the next visit. */
#define TABLE_LOCK_TIMEOUT "5s"

/* The read statement's first columns, tableoid and ctid, say where a row lies. */
#define ROW_PLACE_COLUMNS 2

/* A superseded key whose content is still to be sealed anew. */
typedef struct Superseded
{
	pg_uuid_t account;
	pg_uuid_t id;
	int32 generation;
	bool has_session;
	pg_uuid_t session;
} Superseded;

/* IsPending tells whether any rotation is open or any key on its way; most runs end here. */
static bool
IsPending(void)
{
	static SPIPlanPtr plan = NULL;
	SpiScope scope;
	bool pending;

	SpiEnter(&scope, true);
	pending = SpiRun(&plan,
					 "SELECT FROM cauce.key_rotation WHERE finished_at IS NULL UNION ALL"
					 " SELECT FROM cauce.data_key WHERE superseded_at IS NOT NULL"
					 " AND resealed_at IS NULL LIMIT 1",
					 0, NULL, NULL, NULL, true) > 0;
	SpiLeave(&scope);
	return pending;
}

/*
 * Touch writes a key's row, so that a concurrent erasure cannot miss its successor, and has every
 * process look for the newest generation. Inside of an SpiScope.
 */
static void
Touch(const KeyRow *row)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {UUIDOID, UUIDOID, INT4OID};
	Datum values[] = {UUIDPGetDatum(&row->key.account), UUIDPGetDatum(&row->key.id),
					  Int32GetDatum(row->key.generation)};

	SpiRun(&plan,
		   "UPDATE cauce.data_key SET superseded_at = NULL"
		   " WHERE account_id = $1 AND id = $2 AND generation = $3",
		   3, types, values, NULL, false);
}

/* Succeed inserts the next generation of a key, wrapped under the same epoch. */
static void
Succeed(const KeyRow *old)
{
	static uint8 *secret = NULL;
	KeyRow row = *old;

	if (secret == NULL)
		secret = SecretAlloc(CIPHER_KEY_BYTES);
	row.key.generation++;
	row.last_epoch = row.epoch;
	CipherRandom(secret, CIPHER_KEY_BYTES);
	KeyRowWrap(&row, secret);
	SecretWipe(secret, CIPHER_KEY_BYTES);
	(void) KeyRowInsert(&row);
}

/* What one batch is asked for, and how many keys it renewed. */
typedef struct Batch
{
	int size;
	Rotation rotation;
	uint64 renewed;
} Batch;

/* RenewBatch is the duty to give keys a successor. */
static void
RenewBatch(void *argument)
{
	static SPIPlanPtr plan = NULL;
	Batch *batch = argument;
	Oid types[] = {INT8OID, TIMESTAMPTZOID, UUIDOID};
	Datum values[] = {Int64GetDatum(batch->size), TimestampTzGetDatum(batch->rotation.made_before),
					  UUIDPGetDatum(&batch->rotation.account)};
	char nulls[] = {' ', ' ', batch->rotation.has_account ? ' ' : 'n', '\0'};
	SPITupleTable *rows;
	SpiScope scope;

	DataKeyCheckKeyring();
	DataKeyHoldEpochs();
	SpiEnter(&scope, false);
	batch->renewed = SpiRun(&plan, KeysToRenew, 3, types, values, nulls, false);
	rows = SPI_tuptable;
	for (uint64 i = 0; i < batch->renewed; i++)
	{
		KeyRow row;

		SPI_tuptable = rows;
		KeyRowRead(i, &row);
		Touch(&row);
		Succeed(&row);
	}
	SpiLeave(&scope);
}

/*
 * MarkSuperseded is the duty to mark keys whose successor has committed. It is a transaction of its
 * own, as its id is then later than that of everyone who may have found the old key last.
 */
static void
MarkSuperseded(void *argument)
{
	static SPIPlanPtr plan = NULL;
	SpiScope scope;

	SpiEnter(&scope, false);
	SpiRun(&plan,
		   "UPDATE cauce.data_key k SET superseded_at = clock_timestamp()"
		   " WHERE superseded_at IS NULL AND EXISTS (SELECT FROM cauce.data_key n"
		   " WHERE n.account_id = k.account_id AND n.id = k.id AND n.generation > k.generation)",
		   0, NULL, NULL, NULL, false);
	SpiLeave(&scope);
}

/* A list that a duty makes in a context that outlives its transaction. */
typedef struct Found
{
	MemoryContext context;
	uint64 count;
	void *items;
} Found;

/* ListRotations is the duty to find the rotations that are not finished, oldest first. */
static void
ListRotations(void *argument)
{
	static SPIPlanPtr plan = NULL;
	Found *found = argument;
	Rotation *rotations;
	SpiScope scope;

	SpiEnter(&scope, true);
	found->count = SpiRun(&plan,
						  "SELECT made_before, account_id FROM cauce.key_rotation"
						  " WHERE finished_at IS NULL ORDER BY id",
						  0, NULL, NULL, NULL, true);
	rotations = MemoryContextAllocZero(found->context, (found->count + 1) * sizeof(Rotation));
	for (uint64 i = 0; i < found->count; i++)
	{
		bool isnull;
		Datum account;

		rotations[i].made_before = DatumGetTimestampTz(SpiValue(i, 1, &isnull));
		account = SpiValue(i, 2, &isnull);
		rotations[i].has_account = !isnull;
		if (!isnull)
			rotations[i].account = *DatumGetUUIDP(account);
	}
	found->items = rotations;
	SpiLeave(&scope);
}

/* Horizon is the oldest transaction that may still run in this database, or be seen as running. */
static TransactionId
Horizon(void)
{
	Relation table = table_open(CauceTable("data_key"), AccessShareLock);
	TransactionId horizon = GetOldestNonRemovableTransactionId(table);

	table_close(table, AccessShareLock);
	return horizon;
}

/*
 * ListSuperseded is the duty to find the keys whose content is to be sealed anew: those that were
 * marked before any transaction began that still runs. An archive that is outside of the database has to be brought
 * back before, and none is handed over from the mark on (handover.c).
 */
static void
ListSuperseded(void *argument)
{
	static SPIPlanPtr plan = NULL;
	Found *found = argument;
	TransactionId horizon = Horizon();
	Superseded *keys;
	SpiScope scope;
	uint64 count;

	SpiEnter(&scope, true);
	count =
		SpiRun(&plan,
			   "SELECT account_id, id, generation, session_id, xmin FROM cauce.data_key k"
			   " WHERE superseded_at IS NOT NULL AND resealed_at IS NULL"
			   " AND NOT EXISTS (SELECT FROM cauce.archived_session a"
			   " WHERE a.account_id = k.account_id AND a.id = k.session_id AND a.bundle IS NULL)"
			   " ORDER BY account_id, id, generation",
			   0, NULL, NULL, NULL, true);
	keys = MemoryContextAllocHuge(found->context, (count + 1) * sizeof(Superseded));
	for (uint64 i = 0; i < count; i++)
	{
		Superseded *key = &keys[found->count];
		bool isnull;
		Datum session;

		if (!TransactionIdPrecedes(DatumGetTransactionId(SpiValue(i, 5, &isnull)), horizon))
			continue;
		key->account = *DatumGetUUIDP(SpiValue(i, 1, &isnull));
		key->id = *DatumGetUUIDP(SpiValue(i, 2, &isnull));
		key->generation = DatumGetInt32(SpiValue(i, 3, &isnull));
		session = SpiValue(i, 4, &isnull);
		key->has_session = !isnull;
		if (!isnull)
			key->session = *DatumGetUUIDP(session);
		found->count++;
	}
	found->items = keys;
	SpiLeave(&scope);
}

/* One table that may hold values of a key; cauce.reseal_statements() makes the statements. */
typedef struct Sealing
{
	Oid owner; /* of the table: its triggers and checks run with no more rights than that */
	char *look; /* $1 account, $2 session: where each row lies, then its sealed columns */
	char *read; /* the same, of rows that nobody holds, which it holds */
	char *write; /* $1 and $2: where a row lies; then its sealed columns */
} Sealing;

/* NeedsRenewal tells whether a sealed value lies under an older generation; of a long one only the header is read. */
static bool
NeedsRenewal(Datum value)
{
	if (VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(value)))
		return !SealedIsCurrent((Sealed *) PG_DETOAST_DATUM_SLICE(value, 0, SEALED_MIN_BYTES));
	return !SealedIsCurrent((Sealed *) PG_DETOAST_DATUM_PACKED(value));
}

/* RenewValue gives a sealed value under the current generation of its key; itself when it is. */
static Datum
RenewValue(Datum value)
{
	if (!NeedsRenewal(value))
		return value;
	return PointerGetDatum(SealedRenew((Sealed *) PG_DETOAST_DATUM_PACKED(value)));
}

/* RenewArray does so with an array's elements. */
static Datum
RenewArray(Datum value, Oid element)
{
	ArrayType *array = DatumGetArrayTypeP(value);
	bool changed = false;
	Datum *elements;
	bool *nulls;
	int count;

	deconstruct_array(array, element, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		Datum fresh = nulls[i] ? elements[i] : RenewValue(elements[i]);

		changed = changed || fresh != elements[i];
		elements[i] = fresh;
	}
	if (!changed)
		return value;
	return PointerGetDatum(construct_md_array(elements, nulls, ARR_NDIM(array), ARR_DIMS(array),
											  ARR_LBOUND(array), element, -1, false, TYPALIGN_INT));
}

/* PrepareWrite prepares a table's write statement for the columns that its read statement gave. */
static SPIPlanPtr
PrepareWrite(const Sealing *table, TupleDesc descriptor)
{
	Oid *types = palloc(descriptor->natts * sizeof(Oid));
	SPIPlanPtr plan;

	for (int i = 0; i < descriptor->natts; i++)
		types[i] = TupleDescAttr(descriptor, i)->atttypid;
	plan = SPI_prepare(table->write, descriptor->natts, types);
	if (plan == NULL)
		elog(ERROR, "could not prepare: %s", SPI_result_code_string(SPI_result));
	return plan;
}

/* RenewColumn gives a column's value under current keys; the same datum when it lies there already. */
static Datum
RenewColumn(Datum value, Oid type)
{
	Oid element = get_base_element_type(type);

	return OidIsValid(element) ? RenewArray(value, element) : RenewValue(value);
}

/* RenewRow renews the columns of one row from the third on; false when there was nothing to do. */
static bool
RenewRow(HeapTuple row, TupleDesc descriptor, Datum *values, char *nulls)
{
	bool changed = false;

	for (int i = 0; i < descriptor->natts; i++)
	{
		bool isnull;

		values[i] = SPI_getbinval(row, descriptor, i + 1, &isnull);
		nulls[i] = isnull ? 'n' : ' ';
		if (i >= ROW_PLACE_COLUMNS && !isnull)
		{
			Datum fresh = RenewColumn(values[i], TupleDescAttr(descriptor, i)->atttypid);

			changed = changed || fresh != values[i];
			values[i] = fresh;
		}
	}
	return changed;
}

/*
 * WriteRow stores one row as the table's owner, past its policies, so that code of the owner's
 * never runs with our rights. A trigger that lets the row be as it was would lose it.
 */
static void
WriteRow(SPIPlanPtr plan, const Sealing *table, Datum *values, const char *nulls)
{
	SpiActor before;

	SpiBecome(table->owner, true, &before);
	if (SPI_execute_plan(plan, values, nulls, false, 0) != SPI_OK_UPDATE || SPI_processed != 1)
		ereport(ERROR, (errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
						errmsg("a row could not be sealed anew"),
						errhint("Does a trigger or a rule of the table stand in the way?")));
	SpiReturn(&before);
}

/* ReadRows runs one of a table's queries; gives the number of rows, which are in SPI_tuptable. */
static uint64
ReadRows(const char *sql, const Superseded *key)
{
	Oid types[] = {UUIDOID, UUIDOID};
	Datum values[] = {UUIDPGetDatum(&key->account), UUIDPGetDatum(&key->session)};

	if (SPI_execute_with_args(sql, 2, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read a sealed table");
	return SPI_processed;
}

/* RenewTable seals anew the rows of one table that nobody holds; gives how many it could look at. */
static uint64
RenewTable(const Sealing *table, const Superseded *key)
{
	uint64 count = ReadRows(table->read, key);
	SPITupleTable *rows = SPI_tuptable;
	SPIPlanPtr plan = NULL;

	for (uint64 i = 0; i < count; i++)
	{
		Datum *values = palloc(rows->tupdesc->natts * sizeof(Datum));
		char *nulls = palloc0(rows->tupdesc->natts + 1);

		CHECK_FOR_INTERRUPTS();
		if (!RenewRow(rows->vals[i], rows->tupdesc, values, nulls))
			continue;
		if (plan == NULL)
			plan = PrepareWrite(table, rows->tupdesc);
		WriteRow(plan, table, values, nulls);
	}
	SPI_freetuptable(rows);
	return count;
}

/* LooksOld tells whether any column of a row holds what lies under an older generation. */
static bool
LooksOld(HeapTuple row, TupleDesc descriptor)
{
	Datum *values = palloc(descriptor->natts * sizeof(Datum));
	char *nulls = palloc0(descriptor->natts + 1);

	return RenewRow(row, descriptor, values, nulls);
}

/*
 * ResealTable seals anew what one table holds of the key; false when rows that somebody holds
 * are left. A row that was written and has not stayed so, for which a trigger of the application's
 * can be the reason, raises.
 */
static bool
ResealTable(const Sealing *table, const Superseded *key)
{
	uint64 seen = RenewTable(table, key);
	uint64 count = ReadRows(table->look, key);
	SPITupleTable *rows = SPI_tuptable;
	bool left = false;

	for (uint64 i = 0; i < count && !left; i++)
		left = LooksOld(rows->vals[i], rows->tupdesc);
	SPI_freetuptable(rows);
	if (left && seen == count)
		ereport(ERROR, (errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
						errmsg("rows that were sealed anew have not stayed so"),
						errhint("Does a trigger of the table put back what was there?")));
	return !left;
}

/* SealingTables finds the tables that may hold values of the key; the number of rows in SPI_tuptable. */
static uint64
SealingTables(bool of_sessions)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {BOOLOID};
	Datum values[] = {BoolGetDatum(of_sessions)};

	return SpiRun(&plan, "SELECT owner, look, read, write FROM cauce.reseal_statements($1)", 1,
				  types, values, NULL, true);
}

/* SealingAt reads one of them. */
static Sealing
SealingAt(SPITupleTable *rows, uint64 at)
{
	bool isnull;
	Sealing table;

	table.owner = DatumGetObjectId(SPI_getbinval(rows->vals[at], rows->tupdesc, 1, &isnull));
	table.look = SPI_getvalue(rows->vals[at], rows->tupdesc, 2);
	table.read = SPI_getvalue(rows->vals[at], rows->tupdesc, 3);
	table.write = SPI_getvalue(rows->vals[at], rows->tupdesc, 4);
	return table;
}

/* ResealTables seals anew in every table; false when rows are left. Inside of an SpiScope. */
static bool
ResealTables(const Superseded *key)
{
	uint64 count = SealingTables(key->has_session);
	SPITupleTable *rows = SPI_tuptable;
	bool complete = true;

	for (uint64 i = 0; i < count; i++)
	{
		Sealing table = SealingAt(rows, i);

		complete = ResealTable(&table, key) && complete;
	}
	return complete;
}

/* CheckTables is the duty to find out, once and not for every key, whether each table can be read. */
static void
CheckTables(void *argument)
{
	Oid types[] = {UUIDOID, UUIDOID};
	SpiScope scope;

	SpiEnter(&scope, true);
	for (int of_sessions = 0; of_sessions <= 1; of_sessions++)
	{
		uint64 count = SealingTables(of_sessions == 1);
		SPITupleTable *rows = SPI_tuptable;

		for (uint64 i = 0; i < count; i++)
		{
			if (SPI_prepare(SealingAt(rows, i).read, 2, types) == NULL)
				elog(ERROR, "could not prepare: %s", SPI_result_code_string(SPI_result));
		}
	}
	SpiLeave(&scope);
}

/* MarkResealed notes that nothing lies under a key any more. Inside of an SpiScope. */
static void
MarkResealed(const Superseded *key)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {UUIDOID, UUIDOID, INT4OID};
	Datum values[] = {UUIDPGetDatum(&key->account), UUIDPGetDatum(&key->id),
					  Int32GetDatum(key->generation)};

	SpiRun(&plan,
		   "UPDATE cauce.data_key SET resealed_at = clock_timestamp()"
		   " WHERE account_id = $1 AND id = $2 AND generation = $3",
		   3, types, values, NULL, false);
}

/*
 * Reseal is the duty to seal one key's content anew. No ordinary trigger fires: bindings stay
 * as they are, updated_at does not move, and a legal hold forbids other changes than this.
 */
static void
Reseal(void *argument)
{
	const Superseded *key = argument;
	SpiScope scope;

	SpiEnter(&scope, false);
	(void) set_config_option("session_replication_role", "replica", PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("lock_timeout", TABLE_LOCK_TIMEOUT, PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	if (ResealTables(key))
		MarkResealed(key);
	SpiLeave(&scope);
}

/* Finish is the duty to close rotations whose keys are all renewed and their content sealed anew. */
static void
Finish(void *argument)
{
	static SPIPlanPtr plan = NULL;
	SpiScope scope;

	SpiEnter(&scope, false);
	SpiRun(&plan,
		   "UPDATE cauce.key_rotation r SET finished_at = clock_timestamp()"
		   " FROM cauce.rotation_status s"
		   " WHERE r.id = s.id AND r.finished_at IS NULL AND s.to_renew = 0 AND s.to_reseal = 0",
		   0, NULL, NULL, NULL, false);
	SpiLeave(&scope);
}

/* LookForWork is the duty to find out whether there is anything to do. */
static void
LookForWork(void *argument)
{
	*(bool *) argument = IsPending();
}

/* RenewAll gives every key that the open rotations want renewed a successor. */
static void
RenewAll(int size)
{
	Found found = {.context = CurrentMemoryContext};
	const Rotation *rotations;

	if (!AttemptDuty(ListRotations, &found, WARNING, "list rotations"))
		return;
	rotations = found.items;
	for (uint64 i = 0; i < found.count; i++)
	{
		Batch batch = {.size = size, .rotation = rotations[i]};

		do
		{
			CHECK_FOR_INTERRUPTS();
			batch.renewed = 0;
		} while (AttemptDuty(RenewBatch, &batch, WARNING, "make new data keys") &&
				 batch.renewed > 0);
	}
}

/* ResealAll seals the content of every superseded key anew. */
static void
ResealAll(void)
{
	Found found = {.context = CurrentMemoryContext};
	Superseded *keys;

	if (!AttemptDuty(ListSuperseded, &found, WARNING, "list superseded data keys") ||
		found.count == 0 || !AttemptDuty(CheckTables, NULL, WARNING, "read the sealed tables"))
		return;
	keys = found.items;
	for (uint64 i = 0; i < found.count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		(void) AttemptDuty(
			Reseal, &keys[i], WARNING,
			psprintf("seal anew what lies under data key %s", UuidText(&keys[i].id)));
	}
}

/* RotationRun goes on. */
void
RotationRun(int batch)
{
	bool pending = false;

	if (!AttemptDuty(LookForWork, &pending, WARNING, "look for rotations") || !pending)
		return;
	RenewAll(batch);
	if (AttemptDuty(MarkSuperseded, NULL, WARNING, "mark superseded data keys"))
		ResealAll();
	(void) AttemptDuty(Finish, NULL, WARNING, "finish rotations");
}

/* cauce.wake_launcher(): the launcher visits every database once this transaction has committed. */
Datum
cauce_wake_launcher(PG_FUNCTION_ARGS)
{
	SharedWakeAtCommit();
	PG_RETURN_VOID();
}
