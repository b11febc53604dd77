/*
 * verify.c
 *		cauce.verify(table): does every sealed value open, and lie where it belongs?
 *
 * It reads the table as it is, whatever its policies, opens each value under the key
 * that the value names as cauce itself does, and throws away what it held. Of a value
 * that is not as it should be it tells the row, the column and one of the problems
 * below; docs/sql.md lists them.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_inherits.h"
#include "executor/tuptable.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "archive.h"
#include "binding.h"
#include "datakey.h"
#include "identity.h"
#include "row_shape.h"
#include "sealed.h"
#include "spi.h"
#include "storage.h"

PG_FUNCTION_INFO_V1(cauce_verify);

static const char Damaged[] = "damaged";
static const char NoKey[] = "no key";
static const char SealedAtInput[] = "sealed at input";
static const char AnotherAccount[] = "another account";
static const char AnotherSession[] = "another session";
static const char AnotherRow[] = "another row";
static const char NotRestored[] = "not restored";

/* Whose a row is, as its columns say. */
typedef struct Owner
{
	bool has_account;
	pg_uuid_t account;
	bool has_session;
	pg_uuid_t session;
} Owner;

/* One value, and where it should lie. */
typedef struct Place
{
	SealedKind kind;
	bool is_bound; /* or it lies in a table where nothing binds it */
	Owner owner;
	uint8 binding[SEALED_BINDING_BYTES];
	const StoredBundle *stored; /* of a bundle that is outside of the database, else NULL */
} Place;

/* One table, or one partition, that is being read. */
typedef struct Reading
{
	ReturnSetInfo *result;
	Relation relation;
	RowShape *shape;
	bool is_archive; /* cauce.archived_session: bundles, in no column of a sealed type */
} Reading;

/* UuidAt reads a UUID column of the row; false for NULL. */
static bool
UuidAt(const Reading *reading, HeapTuple row, AttrNumber column, pg_uuid_t *uuid)
{
	bool isnull;
	Datum value = heap_getattr(row, column, RelationGetDescr(reading->relation), &isnull);

	if (!isnull)
		*uuid = *DatumGetUUIDP(value);
	return !isnull;
}

/* ProblemOf opens a value and compares its key and binding with its place; NULL when all is well. */
static const char *
ProblemOf(const Place *place, Datum value, Owner *owner)
{
	Sealed *sealed = place->stored != NULL ? StorageGet(place->stored)
										   : (Sealed *) PG_DETOAST_DATUM_PACKED(value);
	DataKey key;

	if (!SealedExamine(sealed, place->kind, &key))
		return NoKey;
	if (!place->is_bound)
	{
		owner->has_account = !DataKeyIsInbox(&key);
		owner->account = key.account;
		owner->has_session = key.has_session;
		owner->session = key.session;
	}
	if (SealedIsInput(sealed))
		return SealedAtInput;
	if (!place->is_bound)
		return NULL;
	if (!place->owner.has_account || !SameUuid(&key.account, &place->owner.account))
		return AnotherAccount;
	if (key.has_session != place->owner.has_session ||
		(key.has_session && !SameUuid(&key.session, &place->owner.session)))
		return AnotherSession;
	return SealedIsBoundTo(sealed, place->binding) ? NULL : AnotherRow;
}

/*
 * Examine is ProblemOf in a subtransaction, so that a damaged value or data key, or a bundle that storage does
 * not give back, ends nothing but the look at it. Any other error, such as a missing keyring, goes on.
 */
static const char *
Examine(const Place *place, Datum value, Owner *owner)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner resources = CurrentResourceOwner;
	const char *volatile problem = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		problem = ProblemOf(place, value, owner);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (error->sqlerrcode != ERRCODE_DATA_CORRUPTED &&
			(place->stored == NULL || error->sqlerrcode != ERRCODE_IO_ERROR))
			PG_RE_THROW();
		problem = error->sqlerrcode == ERRCODE_DATA_CORRUPTED ? Damaged : NotRestored;
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = resources;
	return problem;
}

/*
 * IsGone tells whether somebody has erased or changed the row since the reading began:
 * then its key may rightly be gone, too.
 */
static bool
IsGone(const Reading *reading, HeapTuple row)
{
	TupleTableSlot *slot = table_slot_create(reading->relation, NULL);
	Snapshot latest = RegisterSnapshot(GetLatestSnapshot());
	bool found = table_tuple_fetch_row_version(reading->relation, &row->t_self, latest, slot);

	UnregisterSnapshot(latest);
	ExecDropSingleTupleTableSlot(slot);
	return !found;
}

/* RowLabel is the primary key's values, in its order; of a table without one, where the row lies. */
static char *
RowLabel(const Reading *reading, HeapTuple row)
{
	RowShape *shape = reading->shape;
	StringInfoData label;

	initStringInfo(&label);
	if (shape->primary_count == 0)
		appendStringInfo(&label, "(%u,%u)", ItemPointerGetBlockNumber(&row->t_self),
						 ItemPointerGetOffsetNumber(&row->t_self));
	for (int i = 0; i < shape->primary_count; i++)
	{
		bool isnull;
		Datum value =
			heap_getattr(row, shape->primary[i], RelationGetDescr(reading->relation), &isnull);

		appendStringInfo(&label, "%s%s", i > 0 ? "," : "",
						 isnull ? "" : OutputFunctionCall(&shape->primary_out[i], value));
	}
	return label.data;
}

/* Report adds one row to the result. */
static void
Report(const Reading *reading, HeapTuple row, AttrNumber column, const Owner *owner,
	   const char *problem)
{
	NameData name = TupleDescAttr(RelationGetDescr(reading->relation), column - 1)->attname;
	Datum values[5];
	bool nulls[5] = {!owner->has_account, !owner->has_session, false, false, false};

	values[0] = UUIDPGetDatum(&owner->account);
	values[1] = UUIDPGetDatum(&owner->session);
	values[2] = CStringGetTextDatum(RowLabel(reading, row));
	values[3] = NameGetDatum(&name);
	values[4] = CStringGetTextDatum(problem);
	tuplestore_putvalues(reading->result->setResult, reading->result->setDesc, values, nulls);
}

/* Judge examines one value of the row, and reports it unless all is well. */
static void
Judge(const Reading *reading, HeapTuple row, AttrNumber column, const Place *place, Datum value)
{
	Owner owner = place->owner;
	const char *problem;

	problem = Examine(place, value, &owner);
	if (problem != NULL && !IsGone(reading, row))
		Report(reading, row, column, &owner, problem);
}

/* JudgeArray examines every element, each bound to its place; name lists the row and the column. */
static void
JudgeArray(const Reading *reading, HeapTuple row, const SealedColumn *column, Place *place,
		   Datum value, StringInfo name)
{
	Datum *elements;
	bool *nulls;
	int count;

	deconstruct_array(DatumGetArrayTypeP(value), column->element, -1, false, TYPALIGN_INT,
					  &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		char at[12];

		if (nulls[i])
			continue;
		pg_ltoa(i + 1, at);
		BindingOf(name, at, place->binding);
		Judge(reading, row, column->number, place, elements[i]);
	}
}

/* JudgeColumn examines what one column of the row holds; row_name lists the row. */
static void
JudgeColumn(const Reading *reading, HeapTuple row, const SealedColumn *column, Place *place,
			StringInfo row_name)
{
	TupleDesc descriptor = RelationGetDescr(reading->relation);
	const char *name = RowColumn(reading->shape, reading->relation, column->number);
	int row_size = row_name->len;
	bool isnull;
	Datum value = heap_getattr(row, column->number, descriptor, &isnull);

	if (isnull)
		return;
	place->kind = column->kind;
	if (!OidIsValid(column->element))
	{
		BindingOf(row_name, name, place->binding);
		Judge(reading, row, column->number, place, value);
		return;
	}
	RowNameAdd(row_name, name);
	JudgeArray(reading, row, column, place, value, row_name);
	row_name->len = row_size;
}

/* JudgeRow examines every sealed column of an ordinary row. */
static void
JudgeRow(const Reading *reading, HeapTuple row)
{
	RowShape *shape = reading->shape;
	Place place = {.is_bound = shape->account != InvalidAttrNumber};
	StringInfoData row_name;

	initStringInfo(&row_name);
	if (place.is_bound)
	{
		place.owner.has_account = UuidAt(reading, row, shape->account, &place.owner.account);
		if (shape->session != InvalidAttrNumber)
			place.owner.has_session = UuidAt(reading, row, shape->session, &place.owner.session);
		RowName(&row_name, shape, reading->relation, row);
	}
	for (int i = 0; i < shape->sealed_count; i++)
		JudgeColumn(reading, row, &shape->sealed[i], &place, &row_name);
}

/* ReadStored reads of such a row as what storage knows the bundle. */
static void
ReadStored(const Reading *reading, HeapTuple row, StoredBundle *stored)
{
	TupleDesc descriptor = RelationGetDescr(reading->relation);
	Oid table = RelationGetRelid(reading->relation);
	bool isnull;
	Datum digest = heap_getattr(row, get_attnum(table, "bundle_digest"), descriptor, &isnull);
	Datum bytes = heap_getattr(row, get_attnum(table, "bundle_bytes"), descriptor, &isnull);

	StorageRead(digest, bytes, stored);
}

/* JudgeArchive examines the bundle of a row of cauce.archived_session, wherever that is. */
static void
JudgeArchive(const Reading *reading, HeapTuple row)
{
	Oid table = RelationGetRelid(reading->relation);
	AttrNumber column = get_attnum(table, "bundle");
	Place place = {.kind = SEALED_BUNDLE, .is_bound = true};
	StoredBundle stored;
	bool isnull;
	Datum bundle = heap_getattr(row, column, RelationGetDescr(reading->relation), &isnull);

	place.owner.has_account =
		UuidAt(reading, row, get_attnum(table, "account_id"), &place.owner.account);
	place.owner.has_session = UuidAt(reading, row, get_attnum(table, "id"), &place.owner.session);
	BundleBinding(&place.owner.account, &place.owner.session, place.binding);
	if (isnull)
	{
		stored.session = place.owner.session;
		ReadStored(reading, row, &stored);
		place.stored = &stored;
	}
	Judge(reading, row, column, &place, bundle);
}

/* ReadTable examines every row that the snapshot shows, one at a time. */
static void
ReadTable(const Reading *reading)
{
	MemoryContext row_context =
		AllocSetContextCreate(CurrentMemoryContext, "cauce verify", ALLOCSET_DEFAULT_SIZES);
	TupleTableSlot *slot = table_slot_create(reading->relation, NULL);
	TableScanDesc scan = table_beginscan(reading->relation, GetActiveSnapshot(), 0, NULL);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		MemoryContext before = MemoryContextSwitchTo(row_context);
		HeapTuple row = ExecFetchSlotHeapTuple(slot, false, NULL);

		CHECK_FOR_INTERRUPTS();
		if (reading->is_archive)
			JudgeArchive(reading, row);
		else
			JudgeRow(reading, row);
		MemoryContextSwitchTo(before);
		MemoryContextReset(row_context);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextDelete(row_context);
}

/* VerifyOne verifies one table; false when it has no sealed column. */
static bool
VerifyOne(ReturnSetInfo *result, Oid table)
{
	Relation relation = table_open(table, NoLock); /* locked by find_all_inheritors() */
	Reading reading = {.result = result, .relation = relation};
	bool has_sealed;

	reading.shape = RowShapeMake(relation, RowShapeTrigger(relation), CurrentMemoryContext);
	reading.is_archive = table == CauceTable("archived_session");
	has_sealed = reading.is_archive || reading.shape->sealed_count > 0;
	if (has_sealed && relation->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ReadTable(&reading);
	table_close(relation, NoLock);
	return has_sealed;
}

/* RequireTable refuses what has no rows of its own to read. */
static void
RequireTable(Oid table)
{
	const char *name = get_rel_name(table);

	switch (get_rel_relkind(table))
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
		case RELKIND_MATVIEW:
			return;
	}
	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table %u does not exist", table)));
	ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is not a table", name),
					errdetail("Tables, partitioned tables and materialized views hold values.")));
}

/* cauce.verify(table): one row for each problem. */
Datum
cauce_verify(PG_FUNCTION_ARGS)
{
	Oid table = PG_GETARG_OID(0);
	bool has_sealed = false;
	List *tables;
	ListCell *cell;

	InitMaterializedSRF(fcinfo, 0);
	RequireTable(table);
	DataKeyCheckKeyring();
	tables = find_all_inheritors(table, AccessShareLock, NULL);
	foreach (cell, tables)
	{
		RequireTable(lfirst_oid(cell));
		has_sealed =
			VerifyOne((ReturnSetInfo *) fcinfo->resultinfo, lfirst_oid(cell)) || has_sealed;
	}
	if (!has_sealed)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("table \"%s\" has no sealed column", get_rel_name(table)),
						errhint("cauce.protect() makes a table one of cauce's.")));
	return (Datum) 0;
}
