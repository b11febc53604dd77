/*
 * row_shape.c
 *		Reading the shape of a table whose rows are sealed from the catalog.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/partition.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "nodes/pg_list.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "binding.h"
#include "row_shape.h"
#include "spi.h"

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

/* FindPrimaryKey fills in the columns that identify a row, in the order of the primary key. */
static void
FindPrimaryKey(RowShape *shape, Relation relation, MemoryContext context)
{
	Oid index = RelationGetPrimaryKeyIndex(relation);
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

/* RowShapeTrigger finds the trigger by its function; whoever writes a row may not know schema cauce. */
const Trigger *
RowShapeTrigger(Relation relation)
{
	TriggerDesc *triggers = relation->trigdesc;
	Oid schema = CauceSchema();

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Oid function = triggers->triggers[i].tgfoid;

		if (get_func_namespace(function) == schema &&
			strcmp(get_func_name(function), "seal_row") == 0)
			return &triggers->triggers[i];
	}
	return NULL;
}

/*
 * FindOwner fills in the columns that say whose a row is. A foreign key to cauce.session
 * tells them whatever they are called by now; else the trigger's argument does.
 */
static void
FindOwner(RowShape *shape, Relation relation, const Trigger *trigger)
{
	Oid sessions = CauceTable("session");
	AttrNumber id = get_attnum(sessions, "id");
	ListCell *cell;

	if (trigger->tgnargs == 0)
	{
		shape->account = ColumnNamed(relation, "id");
		return;
	}
	foreach (cell, RelationGetFKeyList(relation))
	{
		const ForeignKeyCacheInfo *key = lfirst(cell);

		if (key->confrelid == sessions && key->nkeys == 2)
		{
			int at = key->confkey[0] == id ? 0 : 1;

			shape->session = key->conkey[at];
			shape->account = key->conkey[1 - at];
			return;
		}
	}
	shape->account = ColumnNamed(relation, "account_id");
	shape->session = ColumnNamed(relation, trigger->tgargs[0]);
}

/* ReadMode tells from the arguments behind the session's column what is being done to the table. */
static void
ReadMode(RowShape *shape, const Trigger *trigger, MemoryContext context)
{
	FormerNames *former;

	shape->is_adopting = trigger->tgnargs == 2 && strcmp(trigger->tgargs[1], "adopting") == 0;
	if (trigger->tgnargs != 6 || strcmp(trigger->tgargs[1], "rebinding") != 0)
		return;
	former = MemoryContextAlloc(context, sizeof(FormerNames));
	former->schema = MemoryContextStrdup(context, trigger->tgargs[2]);
	former->table = MemoryContextStrdup(context, trigger->tgargs[3]);
	former->column = MemoryContextStrdup(context, trigger->tgargs[4]);
	former->former_column = MemoryContextStrdup(context, trigger->tgargs[5]);
	shape->former = former;
}

/* RowShapeMake describes a table. */
RowShape *
RowShapeMake(Relation relation, const Trigger *trigger, MemoryContext context)
{
	TupleDesc descriptor = RelationGetDescr(relation);
	Oid sealed_type =
		GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("encrypted_text"),
						ObjectIdGetDatum(CauceSchema()));
	RowShape *shape = MemoryContextAllocZero(context, sizeof(RowShape));

	shape->sealed = MemoryContextAllocZero(context, descriptor->natts * sizeof(AttrNumber));
	shape->relation = RelationGetRelid(relation);
	shape->root = shape->relation;
	if (relation->rd_rel->relispartition)
		shape->root = llast_oid(get_partition_ancestors(shape->relation));
	shape->columns = descriptor->natts;
	if (trigger != NULL)
	{
		ReadMode(shape, trigger, context);
		FindOwner(shape, relation, trigger);
	}
	FindPrimaryKey(shape, relation, context);
	for (int i = 0; i < descriptor->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(descriptor, i);

		if (!column->attisdropped && getBaseType(column->atttypid) == sealed_type)
			shape->sealed[shape->sealed_count++] = column->attnum;
	}
	return shape;
}

/* RowOwner reads the row. */
bool
RowOwner(const RowShape *shape, Relation relation, HeapTuple row, pg_uuid_t *account,
		 pg_uuid_t *session)
{
	bool isnull;
	Datum value = heap_getattr(row, shape->account, RelationGetDescr(relation), &isnull);

	memset(session, 0, sizeof(*session));
	if (isnull)
		return false;
	*account = *DatumGetUUIDP(value);
	if (shape->session == InvalidAttrNumber)
		return true;
	value = heap_getattr(row, shape->session, RelationGetDescr(relation), &isnull);
	if (!isnull)
		*session = *DatumGetUUIDP(value);
	return !isnull;
}

/* RowColumn takes off what is there during an adoption only. */
char *
RowColumn(const RowShape *shape, Relation relation, AttrNumber column)
{
	char *name = pstrdup(NameStr(TupleDescAttr(RelationGetDescr(relation), column - 1)->attname));
	int rest = (int) strlen(name) - (int) strlen(ADOPTING_SUFFIX);

	if (shape->is_adopting && rest > 0 && strcmp(name + rest, ADOPTING_SUFFIX) == 0)
		name[rest] = '\0';
	return name;
}

/* NameRow lists a schema, a table and the row's primary key. */
static void
NameRow(StringInfo name, const char *schema, const char *table, RowShape *shape, Relation relation,
		HeapTuple row)
{
	RowNameAdd(name, schema);
	RowNameAdd(name, table);
	for (int i = 0; i < shape->primary_count; i++)
	{
		bool isnull;
		Datum value = heap_getattr(row, shape->primary[i], RelationGetDescr(relation), &isnull);

		RowNameAdd(name, isnull ? "" : OutputFunctionCall(&shape->primary_out[i], value));
	}
}

/* RowFormerBinding computes it. */
void
RowFormerBinding(RowShape *shape, Relation relation, HeapTuple row, AttrNumber column,
				 uint8 *binding)
{
	const FormerNames *former = shape->former;
	char *name = RowColumn(shape, relation, column);
	StringInfoData row_name;

	initStringInfo(&row_name);
	NameRow(&row_name, former->schema, former->table, shape, relation, row);
	BindingOf(&row_name, strcmp(name, former->column) == 0 ? former->former_column : name, binding);
	pfree(row_name.data);
	pfree(name);
}

/* RowName lists the names as they are. */
void
RowName(StringInfo name, RowShape *shape, Relation relation, HeapTuple row)
{
	NameRow(name, get_namespace_name(get_rel_namespace(shape->root)), get_rel_name(shape->root),
			shape, relation, row);
}
