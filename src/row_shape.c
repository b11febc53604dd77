/*
 * row_shape.c
 *		Reading the shape of a table whose rows are sealed from the catalog.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/partition.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "binding.h"
#include "row_shape.h"
#include "sealed_type.h"

/* ColumnNamed finds a UUID column or raises. */
static AttrNumber
ColumnNamed(Relation relation, const char *name)
{
	AttrNumber column = get_attnum(RelationGetRelid(relation), name);

	if (column == InvalidAttrNumber ||
		TupleDescAttr(RelationGetDescr(relation), column - 1)->atttypid != UUIDOID)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
						errmsg("table \"%s\" has no column \"%s\" of type uuid",
							   RelationGetRelationName(relation), name),
						errhint("cauce.seal_row() needs account_id and the session's column.")));
	return column;
}

/* PrimaryKeyOf is the index of the primary key; a deferrable one does not identify a row at all times. */
static Oid
PrimaryKeyOf(Relation relation)
{
#if PG_VERSION_NUM >= 180000
	return RelationGetPrimaryKeyIndex(relation, false);
#else
	return RelationGetPrimaryKeyIndex(relation);
#endif
}

/* FindPrimaryKey fills in the columns that identify a row, in the order of the primary key. */
static void
FindPrimaryKey(RowShape *shape, Relation relation, MemoryContext context)
{
	Oid index = PrimaryKeyOf(relation);
	HeapTuple tuple;
	Form_pg_index form;

	if (!OidIsValid(index) && shape->account == InvalidAttrNumber)
		return;
	if (!OidIsValid(index))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has no primary key", RelationGetRelationName(relation)),
				 errhint("Sealed values are bound to their row by its primary key.")));
	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for index %u", index);
	form = (Form_pg_index) GETSTRUCT(tuple);
	for (int i = 0; i < form->indnkeyatts; i++)
	{
		AttrNumber column = form->indkey.values[i];
		Oid out;
		bool is_varlena;

		getTypeOutputInfo(TupleDescAttr(RelationGetDescr(relation), column - 1)->atttypid, &out,
						  &is_varlena);
		fmgr_info_cxt(out, &shape->primary_out[i], context);
		shape->primary[i] = column;
	}
	shape->primary_count = form->indnkeyatts;
	ReleaseSysCache(tuple);
}

/* NameRoot lists schema and table. The shape lives no longer than a lock on the table, so they stay true. */
static void
NameRoot(RowShape *shape, MemoryContext context)
{
	MemoryContext before = MemoryContextSwitchTo(context);

	initStringInfo(&shape->root_name);
	RowNameAdd(&shape->root_name, get_namespace_name(get_rel_namespace(shape->root)));
	RowNameAdd(&shape->root_name, get_rel_name(shape->root));
	MemoryContextSwitchTo(before);
}

/*
 * AddColumn notes a column if it holds sealed values. Inside of a row type they would
 * stay under a key that outlives the session, so there, to be bound, it raises.
 */
static void
AddColumn(RowShape *shape, Form_pg_attribute column, bool binds)
{
	SealedColumn *sealed = &shape->sealed[shape->sealed_count];

	if (column->attisdropped)
		return;
	if (SealedTypeOf(column->atttypid, &sealed->kind, &sealed->element))
	{
		sealed->number = column->attnum;
		shape->sealed_count++;
	}
	else if (binds && TypeHoldsSealed(column->atttypid))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("column \"%s\" holds sealed values inside of a composite type",
							   NameStr(column->attname)),
						errdetail("These cannot be bound to their row."),
						errhint("Make each of them a column, or an array, of its own.")));
}

/* RowShapeMake describes a table. */
RowShape *
RowShapeMake(Relation relation, const Trigger *trigger, MemoryContext context)
{
	TupleDesc descriptor = RelationGetDescr(relation);
	RowShape *shape = MemoryContextAllocZero(context, sizeof(RowShape));

	shape->sealed = MemoryContextAllocZero(context, descriptor->natts * sizeof(SealedColumn));
	shape->relation = RelationGetRelid(relation);
	shape->root = shape->relation;
	if (relation->rd_rel->relispartition)
		shape->root = llast_oid(get_partition_ancestors(shape->relation));
	NameRoot(shape, context);
	shape->columns = descriptor->natts;
	if (trigger == NULL)
		shape->account = InvalidAttrNumber;
	else if (trigger->tgnargs > 0)
	{
		shape->account = ColumnNamed(relation, "account_id");
		shape->session = ColumnNamed(relation, trigger->tgargs[0]);
	}
	else
		shape->account = ColumnNamed(relation, "id");
	FindPrimaryKey(shape, relation, context);
	for (int i = 0; i < descriptor->natts; i++)
		AddColumn(shape, TupleDescAttr(descriptor, i), trigger != NULL);
	return shape;
}

/* RowName lists schema, table and primary key. */
void
RowName(StringInfo name, RowShape *shape, Relation relation, HeapTuple row)
{
	appendBinaryStringInfo(name, shape->root_name.data, shape->root_name.len);
	for (int i = 0; i < shape->primary_count; i++)
	{
		bool isnull;
		Datum value = heap_getattr(row, shape->primary[i], RelationGetDescr(relation), &isnull);

		if (isnull)
			RowNameAdd(name, "");
		else if (shape->primary_out[i].fn_oid == F_UUID_OUT)
			RowNameAddUuid(name, DatumGetUUIDP(value));
		else
			RowNameAdd(name, OutputFunctionCall(&shape->primary_out[i], value));
	}
}
