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
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "binding.h"
#include "row_shape.h"
#include "sealed_type.h"
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
	if (trigger != NULL)
	{
		ReadMode(shape, trigger, context);
		FindOwner(shape, relation, trigger);
	}
	FindPrimaryKey(shape, relation, context);
	for (int i = 0; i < descriptor->natts; i++)
		AddColumn(shape, TupleDescAttr(descriptor, i), trigger != NULL);
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
const char *
RowColumn(const RowShape *shape, Relation relation, AttrNumber column)
{
	const char *name = NameStr(TupleDescAttr(RelationGetDescr(relation), column - 1)->attname);
	int rest = (int) strlen(name) - (int) strlen(ADOPTING_SUFFIX);

	if (shape->is_adopting && rest > 0 && strcmp(name + rest, ADOPTING_SUFFIX) == 0)
		return pnstrdup(name, rest);
	return name;
}

/* CanonicalSettings sets them. */
void
CanonicalSettings(void)
{
	static const char *const settings[][2] = {{"DateStyle", "ISO, YMD"},
											  {"IntervalStyle", "postgres"},
											  {"TimeZone", "UTC"},
											  {"bytea_output", "hex"},
											  {"extra_float_digits", "1"}};

	for (Size i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
}

/* CanonicalText is a value's text under fixed settings. */
static char *
CanonicalText(FmgrInfo *out, Datum value)
{
	int level = NewGUCNestLevel();
	char *text;

	CanonicalSettings();
	text = OutputFunctionCall(out, value);
	AtEOXact_GUC(true, level);
	return text;
}

/* AddField adds one value of the primary key as text; the usual types without a call of their output function. */
static void
AddField(StringInfo name, FmgrInfo *out, Datum value)
{
	char text[MAXINT8LEN + 1];

	switch (out->fn_oid)
	{
		case F_UUID_OUT:
			RowNameAddUuid(name, DatumGetUUIDP(value));
			break;
		case F_INT4OUT:
			pg_ltoa(DatumGetInt32(value), text);
			RowNameAdd(name, text);
			break;
		case F_INT8OUT:
			pg_lltoa(DatumGetInt64(value), text);
			RowNameAdd(name, text);
			break;
		case F_TEXTOUT:
		case F_VARCHAROUT:
			RowNameAdd(name, OutputFunctionCall(out, value));
			break;
		default:
			RowNameAdd(name, CanonicalText(out, value));
	}
}

/* NamePrimaryKey lists the values that identify the row. */
static void
NamePrimaryKey(StringInfo name, RowShape *shape, Relation relation, HeapTuple row)
{
	for (int i = 0; i < shape->primary_count; i++)
	{
		bool isnull;
		Datum value = heap_getattr(row, shape->primary[i], RelationGetDescr(relation), &isnull);

		if (isnull)
			RowNameAdd(name, "");
		else
			AddField(name, &shape->primary_out[i], value);
	}
}

/* RowName lists schema, table and primary key. */
void
RowName(StringInfo name, RowShape *shape, Relation relation, HeapTuple row)
{
	appendBinaryStringInfo(name, shape->root_name.data, shape->root_name.len);
	NamePrimaryKey(name, shape, relation, row);
}

/* RowFormerName lists what they were. */
void
RowFormerName(StringInfo name, RowShape *shape, Relation relation, HeapTuple row)
{
	RowNameAdd(name, shape->former->schema);
	RowNameAdd(name, shape->former->table);
	NamePrimaryKey(name, shape, relation, row);
}

/* RowFormerColumn looks a name up. */
const char *
RowFormerColumn(const RowShape *shape, const char *column)
{
	return strcmp(column, shape->former->column) == 0 ? shape->former->former_column : column;
}
