/*
 * archive_rows.c
 *		Rows of protected tables, into a bundle and back.
 *
 *		take	locked ──► nothing hangs on them? ──► DELETE … RETURNING ──► JSON
 *		put		JSON ──► names of today ──► values bound to them ──► INSERT ──► foreign keys hold?
 *
 * Moving a row is not the application's deleting or inserting it: its triggers and rules do not
 * fire, but for those that fire always or on replicas, as these say that they want to. So neither do
 * foreign keys', and what these promise is looked after here. Whatever of the table's owner runs all
 * the same (such triggers, checks, defaults, types) runs as that owner, restricted.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "archive_rows.h"
#include "authority.h"
#include "binding.h"
#include "protect.h"
#include "row_shape.h"
#include "sealed_type.h"
#include "secret.h"
#include "spi.h"

/* The members of an array in a bundle. */
#define ARRAY_LOWER "lower"
#define ARRAY_SIZE "size"
#define ARRAY_ITEMS "items"

/* What one column of a table holds, and how it becomes text. */
typedef struct Column
{
	const char *name;
	Oid type;
	bool sealed;
	SealedKind kind;
	Oid element; /* of an array of sealed values */
	FmgrInfo convert; /* to text or from it, where it is not sealed */
	Oid parameter; /* of the type's input function */
} Column;

/* MoveQuietly begins what both directions run under; its end is AtEOXact_GUC of the level that it gives. */
static int
MoveQuietly(void)
{
	int level = NewGUCNestLevel();

	CanonicalSettings();
	(void) set_config_option("lc_monetary", "C", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true,
							 0, false);
	(void) set_config_option("session_replication_role", "replica", PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	return level;
}

/* DescribeColumn fills in what is known of a column from its type. */
static void
DescribeColumn(Column *column, const char *name, Oid type)
{
	column->name = name;
	column->type = type;
	column->sealed = SealedTypeOf(type, &column->kind, &column->element);
}

/*
 * Taking
 */

/* RefuseHanging raises: an archive would not hold the rows of table, which refer to rows of referred. */
static void
RefuseHanging(const char *table, const char *referred)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("a session that rows of another table or session refer to cannot be archived"),
			 errdetail("Rows of table %s refer to rows of it in table %s, and an archive would not "
					   "hold them.",
					   table, referred),
			 errhint("Protect that table, too, or remove these rows first.")));
}

/* RequireNoneHang looks, with the rows locked, for rows of others that refer to them. */
static void
RequireNoneHang(const pg_uuid_t *account, const pg_uuid_t *session)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {UUIDOID, UUIDOID};
	Datum values[] = {UUIDPGetDatum(account), UUIDPGetDatum(session)};
	uint64 count =
		SpiRun(&plan, "SELECT referrer, referred, hold, look FROM cauce.hanging_statements()", 0,
			   NULL, NULL, NULL, true);
	SPITupleTable *found = SPI_tuptable;

	for (uint64 i = 0; i < count; i++)
	{
		char *hold = SPI_getvalue(found->vals[i], found->tupdesc, 3);
		char *look = SPI_getvalue(found->vals[i], found->tupdesc, 4);
		SPIPlanPtr query = SPI_prepare(hold, lengthof(types), types);

		if (query == NULL)
			elog(ERROR, "could not prepare: %s", SPI_result_code_string(SPI_result));
		(void) SpiExecuteLatest(query, values, NULL);
		SPI_freeplan(query);
		query = SPI_prepare(look, lengthof(types), types);
		if (query == NULL)
			elog(ERROR, "could not prepare: %s", SPI_result_code_string(SPI_result));
		if (SpiExecuteLatest(query, values, NULL) > 0)
			RefuseHanging(SPI_getvalue(found->vals[i], found->tupdesc, 1),
						  SPI_getvalue(found->vals[i], found->tupdesc, 2));
		SPI_freeplan(query);
	}
}

/* RefuseAdopting raises: what a table under adoption has of a session may be in the clear, or without account. */
static void
RefuseAdopting(const ProtectedTable *table)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table %s is being adopted", table->shown),
			 errdetail("Sessions with rows in it are neither archived nor restored meanwhile."),
			 errhint("Wait until cauce.protect_gradually() has come to its end.")));
}

/* AppendSealed appends a sealed value as a JSON string. */
static void
AppendSealed(StringInfo json, Datum value)
{
	Sealed *sealed = (Sealed *) PG_DETOAST_DATUM_PACKED(value);
	Size size;
	char *form = SealedToForm(sealed, &size);

	appendStringInfoChar(json, '"');
	appendBinaryStringInfo(json, form, (int) size);
	appendStringInfoChar(json, '"');
	pfree(form);
	if ((Pointer) sealed != DatumGetPointer(value))
		pfree(sealed);
}

/* AppendNumbers appends a member whose value is an array of integers. */
static void
AppendNumbers(StringInfo json, const char *name, const int *numbers, int count)
{
	appendStringInfo(json, "\"%s\":[", name);
	for (int i = 0; i < count; i++)
		appendStringInfo(json, i > 0 ? ",%d" : "%d", numbers[i]);
	appendStringInfoString(json, "],");
}

/* AppendArray appends an array of sealed values: its bounds, and its elements as it stores them. */
static void
AppendArray(StringInfo json, Datum value, Oid element)
{
	ArrayType *array = DatumGetArrayTypeP(value);
	Datum *elements;
	bool *nulls;
	int count;

	deconstruct_array(array, element, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	appendStringInfoChar(json, '{');
	AppendNumbers(json, ARRAY_LOWER, ARR_LBOUND(array), ARR_NDIM(array));
	AppendNumbers(json, ARRAY_SIZE, ARR_DIMS(array), ARR_NDIM(array));
	appendStringInfoString(json, "\"" ARRAY_ITEMS "\":[");
	for (int i = 0; i < count; i++)
	{
		if (i > 0)
			appendStringInfoChar(json, ',');
		if (nulls[i])
			appendStringInfoString(json, "null");
		else
			AppendSealed(json, elements[i]);
	}
	appendStringInfoString(json, "]}");
}

/* AppendValue appends one value. */
static void
AppendValue(StringInfo json, Column *column, Datum value)
{
	if (!column->sealed)
	{
		char *text = OutputFunctionCall(&column->convert, value);

		escape_json(json, text);
		pfree(text);
	}
	else if (OidIsValid(column->element))
		AppendArray(json, value, column->element);
	else
		AppendSealed(json, value);
}

/* AppendRow appends one row as an array. */
static void
AppendRow(StringInfo json, Column *columns, HeapTuple row, TupleDesc descriptor)
{
	appendStringInfoChar(json, '[');
	for (int i = 0; i < descriptor->natts; i++)
	{
		bool isnull;
		Datum value = SPI_getbinval(row, descriptor, i + 1, &isnull);

		if (i > 0)
			appendStringInfoChar(json, ',');
		if (isnull)
			appendStringInfoString(json, "null");
		else
			AppendValue(json, &columns[i], value);
	}
	appendStringInfoChar(json, ']');
}

/* AppendNames appends a member whose value is an array of names: of all columns, or of the sealed ones. */
static void
AppendNames(StringInfo json, const char *member, const Column *columns, int count, bool sealed)
{
	bool first = true;

	appendStringInfo(json, "\"%s\":[", member);
	for (int i = 0; i < count; i++)
	{
		if (sealed && !columns[i].sealed)
			continue;
		if (!first)
			appendStringInfoChar(json, ',');
		escape_json(json, columns[i].name);
		first = false;
	}
	appendStringInfoString(json, "],");
}

/* AppendPrimaryKey appends the member that says which columns identify a row, as bindings have them. */
static void
AppendPrimaryKey(StringInfo json, Relation relation)
{
	RowShape *shape = RowShapeMake(relation, RowShapeTrigger(relation), CurrentMemoryContext);

	appendStringInfoString(json, "\"primary_key\":[");
	for (int i = 0; i < shape->primary_count; i++)
	{
		if (i > 0)
			appendStringInfoChar(json, ',');
		escape_json(
			json,
			NameStr(TupleDescAttr(RelationGetDescr(relation), shape->primary[i] - 1)->attname));
	}
	appendStringInfoString(json, "],");
}

/* StoredColumns is the list of a table's columns, but for those that are computed from others. */
static char *
StoredColumns(Relation relation)
{
	TupleDesc descriptor = RelationGetDescr(relation);
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < descriptor->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(descriptor, i);

		if (!column->attisdropped && column->attgenerated == '\0')
			appendStringInfo(&list, "%s%s", list.len > 0 ? ", " : "",
							 quote_identifier(NameStr(column->attname)));
	}
	return list.data;
}

/* DescribeResult describes the columns of the last result, and how each becomes text. */
static Column *
DescribeResult(TupleDesc descriptor)
{
	Column *columns = palloc0(descriptor->natts * sizeof(Column));

	for (int i = 0; i < descriptor->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(descriptor, i);
		Oid out;
		bool is_varlena;

		DescribeColumn(&columns[i], NameStr(column->attname), column->atttypid);
		if (columns[i].sealed)
			continue;
		getTypeOutputInfo(column->atttypid, &out, &is_varlena);
		fmgr_info(out, &columns[i].convert);
	}
	return columns;
}

/* AppendTable appends one table with the rows that were deleted from it, which are in SPI_tuptable. */
static void
AppendTable(StringInfo json, Relation relation, uint64 count)
{
	SPITupleTable *rows = SPI_tuptable;
	Column *columns = DescribeResult(rows->tupdesc);

	appendStringInfoString(json, json->len > 1 ? ",{\"schema\":" : "{\"schema\":");
	escape_json(json, get_namespace_name(RelationGetNamespace(relation)));
	appendStringInfoString(json, ",\"table\":");
	escape_json(json, RelationGetRelationName(relation));
	appendStringInfoChar(json, ',');
	AppendPrimaryKey(json, relation);
	AppendNames(json, "columns", columns, rows->tupdesc->natts, false);
	AppendNames(json, "sealed", columns, rows->tupdesc->natts, true);
	appendStringInfoString(json, "\"rows\":[");
	for (uint64 i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (i > 0)
			appendStringInfoChar(json, ',');
		AppendRow(json, columns, rows->vals[i], rows->tupdesc);
	}
	appendStringInfoString(json, "]}");
	SPI_freetuptable(rows);
}

/* TakeTable deletes a session's rows from one table, as its owner, and appends them. */
static void
TakeTable(const ProtectedTable *table, const pg_uuid_t *account, const pg_uuid_t *session,
		  StringInfo json)
{
	Oid types[] = {UUIDOID, UUIDOID};
	Datum values[] = {UUIDPGetDatum(account), UUIDPGetDatum(session)};
	Relation relation = table_open(table->table, RowExclusiveLock);
	SpiActor before;
	SPIPlanPtr plan;
	uint64 count;

	ProtectedFireAtOnce(table);
	SpiBecome(table->owner, true, &before);
	plan = SPI_prepare(psprintf("DELETE FROM %s WHERE %s RETURNING %s", table->name,
								ProtectedRowsOf(table), StoredColumns(relation)),
					   lengthof(types), types);
	if (plan == NULL)
		elog(ERROR, "could not prepare: %s", SPI_result_code_string(SPI_result));
	count = SpiExecuteLatest(plan, values, NULL);
	if (SPI_tuptable == NULL)
		ProtectedRefuseLeft(table); /* a rule did something else instead */
	if (count > 0)
		AppendTable(json, relation, count);
	SPI_freeplan(plan);
	SpiReturn(&before);
	table_close(relation, NoLock);
}

/* ArchiveRowsTake takes. */
char *
ArchiveRowsTake(const pg_uuid_t *account, const pg_uuid_t *session)
{
	StringInfoData json;
	List *tables;
	ListCell *cell;
	int level;

	if (!ProtectedMayHang())
		return "[]";
	tables = ProtectedTables();
	foreach (cell, tables)
	{
		const ProtectedTable *table = lfirst(cell);

		if (table->adopting && ProtectedCount(table, account, session) > 0)
			RefuseAdopting(table);
	}
	RequireNoneHang(account, session);
	initStringInfo(&json);
	appendStringInfoChar(&json, '[');
	level = MoveQuietly();
	foreach (cell, tables)
		TakeTable(lfirst(cell), account, session, &json);
	foreach (cell, tables)
	{
		if (ProtectedCount(lfirst(cell), account, session) > 0)
			ProtectedRefuseLeft(lfirst(cell));
	}
	AtEOXact_GUC(true, level);
	appendStringInfoChar(&json, ']');
	return json.data;
}

/*
 * Reading what a bundle holds
 */

/* One table in a bundle. */
typedef struct Held
{
	char *schema; /* names as they were */
	char *table;
	int count;
	char **columns;
	bool *sealed;
	uint64 rows;
	SPITupleTable *found; /* one column, text[]: a row's values */
} Held;

/* TextsOf reads a text[]; NULLs among them are NULL. */
static char **
TextsOf(Datum value, int *count)
{
	Datum *elements;
	bool *nulls;
	char **texts;

	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT, &elements,
					  &nulls, count);
	texts = palloc0((*count + 1) * sizeof(char *));
	for (int i = 0; i < *count; i++)
		texts[i] = nulls[i] ? NULL : TextDatumGetCString(elements[i]);
	return texts;
}

/* IsAmong tells whether a list of names has one. */
static bool
IsAmong(char **names, int count, const char *name)
{
	for (int i = 0; i < count; i++)
	{
		if (strcmp(names[i], name) == 0)
			return true;
	}
	return false;
}

/* CountHeld counts a bundle's tables. */
static int
CountHeld(Datum bundle)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {JSONOID};
	Datum values[] = {bundle};
	bool isnull;

	SpiRunGeneric(&plan, "SELECT coalesce(json_array_length($1->'protected'), 0)", 1, types, values,
				  true);
	return DatumGetInt32(SpiValue(0, 1, &isnull));
}

/* ReadHeld reads one table, at from 0. Its rows are kept by SPI until the scope ends. */
static Held
ReadHeld(Datum bundle, int at)
{
	static SPIPlanPtr names = NULL;
	static SPIPlanPtr rows = NULL;
	Oid types[] = {JSONOID, INT4OID};
	Datum values[] = {bundle, Int32GetDatum(at)};
	Held held = {0};
	char **sealed;
	int sealed_count;
	bool isnull;

	SpiRunGeneric(
		&names,
		"SELECT t->>'schema', t->>'table', ARRAY(SELECT json_array_elements_text(t->'columns')),"
		" ARRAY(SELECT json_array_elements_text(t->'sealed'))"
		" FROM (SELECT $1->'protected'->$2 AS t) x",
		2, types, values, true);
	held.schema = TextDatumGetCString(SpiValue(0, 1, &isnull));
	held.table = TextDatumGetCString(SpiValue(0, 2, &isnull));
	held.columns = TextsOf(SpiValue(0, 3, &isnull), &held.count);
	sealed = TextsOf(SpiValue(0, 4, &isnull), &sealed_count);
	held.sealed = palloc0(held.count * sizeof(bool));
	for (int i = 0; i < held.count; i++)
		held.sealed[i] = IsAmong(sealed, sealed_count, held.columns[i]);
	held.rows = SpiRunGeneric(&rows,
							  "SELECT ARRAY(SELECT json_array_elements_text(r))"
							  " FROM json_array_elements($1->'protected'->$2->'rows') r",
							  2, types, values, true);
	held.found = SPI_tuptable;
	return held;
}

/* HeldRow reads the values of one row. */
static char **
HeldRow(const Held *held, uint64 row)
{
	bool isnull;
	int count;
	char **values =
		TextsOf(SPI_getbinval(held->found->vals[row], held->found->tupdesc, 1, &isnull), &count);

	if (count != held->count)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED), errmsg("the archive is damaged"),
				 errdetail("A row has not the number of values that its table has columns.")));
	return values;
}

/* An array of sealed values in a bundle. */
typedef struct HeldArray
{
	int dimensions;
	int lower[MAXDIM];
	int size[MAXDIM];
	int count;
	char **items; /* sealed forms */
} HeldArray;

/* NumbersOf reads at most MAXDIM integers. */
static int
NumbersOf(Datum value, int *into)
{
	int count;
	char **texts = TextsOf(value, &count);

	if (count > MAXDIM)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("the archive is damaged"),
						errdetail("An array has too many dimensions.")));
	for (int i = 0; i < count; i++)
		into[i] = pg_strtoint32(texts[i]);
	return count;
}

/* ReadArray reads one. */
static HeldArray
ReadArray(const char *json)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(json)};
	HeldArray array = {0};
	int elements = 1;
	bool isnull;

	SpiRun(&plan,
		   "SELECT ARRAY(SELECT json_array_elements_text(a->'" ARRAY_LOWER "')),"
		   " ARRAY(SELECT json_array_elements_text(a->'" ARRAY_SIZE "')),"
		   " ARRAY(SELECT json_array_elements_text(a->'" ARRAY_ITEMS "'))"
		   " FROM (SELECT $1::json AS a) x",
		   1, types, values, NULL, true);
	array.dimensions = NumbersOf(SpiValue(0, 1, &isnull), array.lower);
	if (NumbersOf(SpiValue(0, 2, &isnull), array.size) != array.dimensions)
		elements = -1;
	array.items = TextsOf(SpiValue(0, 3, &isnull), &array.count);
	if (elements > 0)
		elements = ArrayGetNItems(array.dimensions, array.size);
	if (elements != array.count)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("the archive is damaged"),
						errdetail("An array has not as many elements as its dimensions say.")));
	return array;
}

/*
 * Putting back
 */

/* Where values of a row lie, and where they lay under the names that the bundle has. */
typedef struct Place
{
	const pg_uuid_t *account;
	const pg_uuid_t *session;
	StringInfoData name;
	StringInfoData former;
} Place;

/* A table that rows are being put back into. */
typedef struct Target
{
	const ProtectedTable *table;
	Relation relation;
	RowShape *shape;
	FormerNames former;
	int count; /* of columns, as the bundle has them */
	Column *columns; /* by their names of today */
	AttrNumber *numbers;
	SPIPlanPtr insert;
} Target;

/* NotThere raises 55000. */
static void
NotThere(const Held *held)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table %s is not a protected table here",
					quote_qualified_identifier(held->schema, held->table)),
			 errdetail("The archive holds " UINT64_FORMAT " rows of it.", held->rows),
			 errhint("Protect it, make it anew if it was dropped, or tell of its new name with "
					 "cauce.rebind(); then restore. The archive stays as it is meanwhile.")));
}

/* NoColumn raises 42703. */
static void
NoColumn(const Target *target, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("table %s has no column \"%s\" that could take what the archive holds",
					target->table->shown, name),
			 errhint("Add it again, or tell of its new name with cauce.rebind(); then restore. The "
					 "archive stays as it is meanwhile.")));
}

/*
 * NamesOfToday follows what cauce.rebind() was told of renamings since the bundle was made; columns of
 * held change, and the table's name is given.
 */
static void
NamesOfToday(Held *held, Datum since, char **schema, char **table)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {TEXTOID, TEXTOID, TEXTARRAYOID, TIMESTAMPTZOID};
	Datum *elements = palloc(held->count * sizeof(Datum));
	Datum values[4];
	bool isnull;
	int count;

	for (int i = 0; i < held->count; i++)
		elements[i] = CStringGetTextDatum(held->columns[i]);
	values[0] = CStringGetTextDatum(held->schema);
	values[1] = CStringGetTextDatum(held->table);
	values[2] =
		PointerGetDatum(construct_array(elements, held->count, TEXTOID, -1, false, TYPALIGN_INT));
	values[3] = since;
	SpiRun(&plan, "SELECT schema, \"table\", columns FROM cauce.names_of_today($1, $2, $3, $4)", 4,
		   types, values, NULL, true);
	*schema = TextDatumGetCString(SpiValue(0, 1, &isnull));
	*table = TextDatumGetCString(SpiValue(0, 2, &isnull));
	held->columns = TextsOf(SpiValue(0, 3, &isnull), &count);
}

/* FindTable finds the protected table that has a name, or NULL. */
static const ProtectedTable *
FindTable(List *tables, const char *schema, const char *name)
{
	const char *full = quote_qualified_identifier(schema, name);
	ListCell *cell;

	foreach (cell, tables)
	{
		const ProtectedTable *table = lfirst(cell);

		if (strcmp(table->name, full) == 0)
			return table;
	}
	return NULL;
}

/* FindColumns finds each column of the bundle, and how its text becomes a value. */
static void
FindColumns(Target *target, const Held *held, const char *const *former)
{
	TupleDesc descriptor = RelationGetDescr(target->relation);

	target->count = held->count;
	target->columns = palloc0(held->count * sizeof(Column));
	target->numbers = palloc0(held->count * sizeof(AttrNumber));
	for (int i = 0; i < held->count; i++)
	{
		AttrNumber number = get_attnum(target->table->table, held->columns[i]);
		Column *column = &target->columns[i];
		Form_pg_attribute attribute;
		Oid in;

		if (number <= 0)
			NoColumn(target, former[i]);
		attribute = TupleDescAttr(descriptor, number - 1);
		if (attribute->attgenerated != '\0')
			NoColumn(target, former[i]);
		target->numbers[i] = number;
		DescribeColumn(column, held->columns[i], attribute->atttypid);
		if (held->sealed[i] && !column->sealed)
			ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
							errmsg("column \"%s\" of table %s is not sealed any more",
								   held->columns[i], target->table->shown),
							errdetail("The archive holds sealed values of it."),
							errhint("Protect it, then restore.")));
		if (column->sealed && !held->sealed[i] && OidIsValid(column->element) &&
			getBaseType(column->element) != column->element)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of table %s was not sealed when the archive was made",
							held->columns[i], target->table->shown),
					 errdetail("By now it is an array of a domain of sealed values.")));
		getTypeInputInfo(attribute->atttypid, &in, &column->parameter);
		fmgr_info(in, &column->convert);
	}
}

/* PrepareInsert prepares, as the table's owner, the statement that puts one row back. */
static void
PrepareInsert(Target *target)
{
	StringInfoData names;
	StringInfoData values;
	Oid *types = palloc(target->count * sizeof(Oid));
	SpiActor before;

	initStringInfo(&names);
	initStringInfo(&values);
	for (int i = 0; i < target->count; i++)
	{
		types[i] = target->columns[i].type;
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "",
						 quote_identifier(target->columns[i].name));
		appendStringInfo(&values, "%s$%d", i > 0 ? ", " : "", i + 1);
	}
	SpiBecome(target->table->owner, true, &before);
	target->insert = SPI_prepare(psprintf("INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE VALUES (%s)",
										  target->table->name, names.data, values.data),
								 target->count, types);
	if (target->insert == NULL)
		elog(ERROR, "could not prepare: %s", SPI_result_code_string(SPI_result));
	SpiReturn(&before);
}

/*
 * Settle gives a value that lies in its place, under its key's newest generation: rotation has not
 * seen what was in the bundle. What lay there under the names of the bundle, or comes in the clear,
 * is sealed anew; what lay elsewhere stays as it is, for cauce.verify() to find.
 */
static Sealed *
Settle(Place *place, SealedKind kind, Sealed *sealed, const char *last, const char *former_last)
{
	uint8 binding[SEALED_BINDING_BYTES];
	uint8 former[SEALED_BINDING_BYTES];
	bool is_input = SealedIsInput(sealed);
	Sealed *fresh;
	char *bytes = NULL;
	Size size = 0;
	uint8 form;

	BindingOf(&place->name, last, binding);
	if (SealedIsBoundTo(sealed, binding))
		return SealedRenew(sealed);
	BindingOf(&place->former, former_last, former);
	if (!is_input && !SealedIsBoundTo(sealed, former))
		return SealedRenew(sealed);
	CustodyBegin(place->account, place->session);
	if (SealedOpenToReseal(sealed, kind, place->account, &form, &bytes, &size) != OPEN_OK)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED), errmsg("a value in the archive cannot be opened"),
				 errdetail("Its key is not there, or not this session's.")));
	CustodyEnd();
	fresh = SealForSession(form, bytes, size, place->account, place->session, binding);
	SecretWipe(bytes, size);
	pfree(bytes);
	return fresh;
}

/* SettleArray settles each element, bound to its position. */
static Datum
SettleArray(Place *place, const Column *column, const char *former_name, Datum *elements,
			bool *nulls, HeldArray *array)
{
	int size = place->name.len;
	int former_size = place->former.len;

	RowNameAdd(&place->name, column->name);
	RowNameAdd(&place->former, former_name);
	for (int i = 0; i < array->count; i++)
	{
		char at[12];

		if (nulls[i])
			continue;
		pg_ltoa(i + 1, at);
		elements[i] = PointerGetDatum(
			Settle(place, column->kind, (Sealed *) PG_DETOAST_DATUM_PACKED(elements[i]), at, at));
	}
	place->name.len = size;
	place->former.len = former_size;
	if (array->dimensions == 0)
		return PointerGetDatum(construct_empty_array(column->element));
	return PointerGetDatum(construct_md_array(elements, nulls, array->dimensions, array->size,
											  array->lower, column->element, -1, false,
											  TYPALIGN_INT));
}

/* ArrayFromForms gives the value of an array that the bundle holds sealed. */
static Datum
ArrayFromForms(Place *place, const Column *column, const char *former_name, const char *json)
{
	HeldArray array = ReadArray(json);
	Datum *elements = palloc0((array.count + 1) * sizeof(Datum));
	bool *nulls = palloc0((array.count + 1) * sizeof(bool));

	for (int i = 0; i < array.count; i++)
	{
		nulls[i] = array.items[i] == NULL;
		if (!nulls[i])
			elements[i] = PointerGetDatum(
				SealedFromForm(column->kind, array.items[i], strlen(array.items[i])));
	}
	return SettleArray(place, column, former_name, elements, nulls, &array);
}

/*
 * FromText seals what was not sealed yet when the bundle was made, by the input function of the type
 * below any domain: no code of the table's owner runs. In custody, text that looks like a sealed
 * value is text.
 */
static Datum
FromText(Place *place, const Column *column, char *text)
{
	Oid base = getBaseType(column->type);
	Oid in;
	Oid parameter;
	Datum value;

	getTypeInputInfo(base, &in, &parameter);
	CustodyBegin(place->account, place->session);
	value = OidInputFunctionCall(in, text, parameter, -1);
	CustodyEnd();
	return value;
}

/* SettleText settles an array that FromText has sealed. */
static Datum
SettleText(Place *place, const Column *column, Datum value)
{
	ArrayType *sealed = DatumGetArrayTypeP(value);
	HeldArray array = {.dimensions = ARR_NDIM(sealed)};
	Datum *elements;
	bool *nulls;

	memcpy(array.size, ARR_DIMS(sealed), array.dimensions * sizeof(int));
	memcpy(array.lower, ARR_LBOUND(sealed), array.dimensions * sizeof(int));
	deconstruct_array(sealed, column->element, -1, false, TYPALIGN_INT, &elements, &nulls,
					  &array.count);
	return SettleArray(place, column, column->name, elements, nulls, &array);
}

/* SealedValue gives the value of a sealed column. */
static Datum
SealedValue(Place *place, const Column *column, const char *former_name, char *text,
			bool was_sealed)
{
	Datum value;

	if (was_sealed && OidIsValid(column->element))
		return ArrayFromForms(place, column, former_name, text);
	if (was_sealed)
		value = PointerGetDatum(SealedFromForm(column->kind, text, strlen(text)));
	else
		value = FromText(place, column, text);
	if (OidIsValid(column->element))
		return SettleText(place, column, value);
	return PointerGetDatum(Settle(place, column->kind, (Sealed *) PG_DETOAST_DATUM_PACKED(value),
								  column->name, former_name));
}

/* NamePlace says where a row lies, from the values of its primary key. */
static void
NamePlace(Place *place, const Target *target, const Datum *values, const char *nulls)
{
	TupleDesc descriptor = RelationGetDescr(target->relation);
	Datum *columns = palloc0(descriptor->natts * sizeof(Datum));
	bool *isnull = palloc(descriptor->natts * sizeof(bool));
	HeapTuple row;

	memset(isnull, true, descriptor->natts * sizeof(bool));
	for (int i = 0; i < target->count; i++)
	{
		int at = target->numbers[i] - 1;

		if (nulls[i] == 'n' || target->columns[i].sealed)
			continue;
		columns[at] = values[i];
		isnull[at] = false;
	}
	row = heap_form_tuple(descriptor, columns, isnull);
	resetStringInfo(&place->name);
	resetStringInfo(&place->former);
	RowName(&place->name, target->shape, target->relation, row);
	RowFormerName(&place->former, target->shape, target->relation, row);
}

/* PlainValues converts what is not sealed, as the table's owner: the types may be the owner's. */
static void
PlainValues(Target *target, char **texts, Datum *values, char *nulls)
{
	SpiActor before;

	SpiBecome(target->table->owner, true, &before);
	for (int i = 0; i < target->count; i++)
	{
		Column *column = &target->columns[i];

		nulls[i] = texts[i] == NULL ? 'n' : ' ';
		if (texts[i] != NULL && !column->sealed)
			values[i] = InputFunctionCall(&column->convert, texts[i], column->parameter, -1);
	}
	SpiReturn(&before);
}

/* PutRow puts one row back. */
static void
PutRow(Target *target, const Held *held, const char *const *former, Place *place, char **texts)
{
	Datum *values = palloc0(target->count * sizeof(Datum));
	char *nulls = palloc0(target->count + 1);
	SpiActor before;

	PlainValues(target, texts, values, nulls);
	NamePlace(place, target, values, nulls);
	for (int i = 0; i < target->count; i++)
	{
		if (target->columns[i].sealed && texts[i] != NULL)
			values[i] =
				SealedValue(place, &target->columns[i], former[i], texts[i], held->sealed[i]);
	}
	SpiBecome(target->table->owner, true, &before);
	for (int i = 0; i < target->count; i++)
	{
		if (target->columns[i].sealed && get_typtype(target->columns[i].type) == TYPTYPE_DOMAIN)
			domain_check(values[i], nulls[i] == 'n', target->columns[i].type, NULL, NULL);
	}
	if (SPI_execute_plan(target->insert, values, nulls, false, 0) != SPI_OK_INSERT ||
		SPI_processed != 1)
		ereport(ERROR, (errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
						errmsg("a row of table %s could not be put back", target->table->shown),
						errhint("Does a trigger or a rule of the table stand in the way?")));
	SpiReturn(&before);
}

/* NameTable is an error context: which table is being restored. */
static void
NameTable(void *argument)
{
	errcontext("restoring rows of table %s", (const char *) argument);
}

/* PutTable puts back the rows of one table, which is given. */
static const ProtectedTable *
PutTable(Held *held, List *tables, const pg_uuid_t *account, const pg_uuid_t *session, Datum since)
{
	const char *const *former = (const char *const *) held->columns;
	ErrorContextCallback context = {.previous = error_context_stack, .callback = NameTable};
	MemoryContext row_context;
	MemoryContext outer;
	Target target = {0};
	Place place = {.account = account, .session = session};
	char *schema;
	char *name;

	NamesOfToday(held, since, &schema, &name);
	target.table = FindTable(tables, schema, name);
	if (target.table == NULL)
		NotThere(held);
	if (target.table->adopting)
		RefuseAdopting(target.table);
	context.arg = target.table->shown;
	error_context_stack = &context;
	target.relation = table_open(target.table->table, RowExclusiveLock);
	target.shape =
		RowShapeMake(target.relation, RowShapeTrigger(target.relation), CurrentMemoryContext);
	target.former = (FormerNames){.schema = held->schema, .table = held->table};
	target.shape->former = &target.former;
	FindColumns(&target, held, former);
	ProtectedFireAtOnce(target.table);
	PrepareInsert(&target);
	initStringInfo(&place.name);
	initStringInfo(&place.former);
	row_context = AllocSetContextCreate(CurrentMemoryContext, "cauce row", ALLOCSET_DEFAULT_SIZES);
	for (uint64 i = 0; i < held->rows; i++)
	{
		CHECK_FOR_INTERRUPTS();
		outer = MemoryContextSwitchTo(row_context);
		PutRow(&target, held, former, &place, HeldRow(held, i));
		MemoryContextSwitchTo(outer);
		MemoryContextReset(row_context);
	}
	MemoryContextDelete(row_context);
	SPI_freeplan(target.insert);
	SPI_freetuptable(held->found);
	table_close(target.relation, NoLock);
	error_context_stack = context.previous;
	return target.table;
}

/* CountWith runs one of a foreign key's queries with the latest snapshot. */
static int64
CountWith(const char *sql, const pg_uuid_t *account, const pg_uuid_t *session)
{
	Oid types[] = {UUIDOID, UUIDOID};
	Datum values[] = {UUIDPGetDatum(account), UUIDPGetDatum(session)};
	SPIPlanPtr plan = SPI_prepare(sql, lengthof(types), types);
	bool isnull;

	if (plan == NULL || SpiExecuteLatest(plan, values, NULL) != 1)
		elog(ERROR, "could not check a foreign key");
	SPI_freeplan(plan);
	return DatumGetInt64(SpiValue(0, 1, &isnull));
}

/* RequireKept raises unless what foreign keys, and unique constraints that wait, promise holds for a table's rows. */
static void
RequireKept(const ProtectedTable *table, const pg_uuid_t *account, const pg_uuid_t *session)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {OIDOID};
	Datum values[] = {ObjectIdGetDatum(table->table)};
	uint64 count = SpiRun(&plan, "SELECT name, code, rows, found FROM cauce.kept_statements($1)", 1,
						  types, values, NULL, false);
	SPITupleTable *keys = SPI_tuptable;

	for (uint64 i = 0; i < count; i++)
	{
		char *name = SPI_getvalue(keys->vals[i], keys->tupdesc, 1);
		char *code = SPI_getvalue(keys->vals[i], keys->tupdesc, 2);
		char *rows = SPI_getvalue(keys->vals[i], keys->tupdesc, 3);
		char *found = SPI_getvalue(keys->vals[i], keys->tupdesc, 4);

		if (CountWith(found, account, session) != CountWith(rows, account, session))
			ereport(ERROR,
					(errcode(MAKE_SQLSTATE(code[0], code[1], code[2], code[3], code[4])),
					 errmsg("rows that the archive holds violate constraint \"%s\" of table %s",
							name, table->shown),
					 errdetail("What they refer to is gone, or what they are is there already."),
					 errhint("Put that right, then restore. The archive stays as it is "
							 "meanwhile.")));
	}
}

/* ArchiveRowsPut puts back. */
void
ArchiveRowsPut(Datum bundle, const pg_uuid_t *account, const pg_uuid_t *session, Datum since)
{
	int count = CountHeld(bundle);
	List *filled = NIL;
	List *tables;
	ListCell *cell;
	int level;

	if (count == 0)
		return;
	tables = ProtectedTables();
	level = MoveQuietly();
	for (int i = 0; i < count; i++)
	{
		Held held = ReadHeld(bundle, i);

		filled = lappend(
			filled, unconstify(ProtectedTable *, PutTable(&held, tables, account, session, since)));
	}
	AtEOXact_GUC(true, level);
	foreach (cell, filled)
		RequireKept(lfirst(cell), account, session);
}

/*
 * Showing
 */

/* ShowSealed appends what a sealed form opens to, as JSON. */
static void
ShowSealed(StringInfo json, SealedKind kind, const char *form)
{
	Sealed *sealed = SealedFromForm(kind, form, strlen(form));
	char *bytes = NULL;
	Size size = 0;

	OpenOrRaise(sealed, kind, &bytes, &size);
	if (kind == SEALED_BYTEA)
	{
		char *hex = palloc(2 * size + 1);

		hex[hex_encode(bytes, size, hex)] = '\0';
		appendStringInfo(json, "\"\\\\x%s\"", hex);
		SecretWipe(hex, 2 * size);
	}
	else
	{
		bytes = TextFromUtf8(bytes, size, &size);
		if (kind == SEALED_JSONB)
			appendBinaryStringInfo(json, bytes, (int) size);
		else
			escape_json(json, bytes);
	}
	SecretWipe(bytes, size);
}

/* ShowArray appends an array's elements from at on, nested as its dimensions are; gives where it ends. */
static int
ShowArray(StringInfo json, SealedKind kind, const HeldArray *array, int dimension, int at)
{
	appendStringInfoChar(json, '[');
	for (int i = 0; dimension < array->dimensions && i < array->size[dimension]; i++)
	{
		if (i > 0)
			appendStringInfoChar(json, ',');
		if (dimension + 1 < array->dimensions)
			at = ShowArray(json, kind, array, dimension + 1, at);
		else if (array->items[at++] == NULL)
			appendStringInfoString(json, "null");
		else
			ShowSealed(json, kind, array->items[at - 1]);
	}
	appendStringInfoChar(json, ']');
	return at;
}

/* KindOfForm reads from a sealed form what kind of value it is, as its column may be of another type by now. */
static SealedKind
KindOfForm(const char *form)
{
	return SealedKindOf(SealedFromForm(0, form, strlen(form)));
}

/* KindOfArray is that of its elements; of an array without any it does not matter. */
static SealedKind
KindOfArray(const HeldArray *array)
{
	for (int i = 0; i < array->count; i++)
	{
		if (array->items[i] != NULL)
			return KindOfForm(array->items[i]);
	}
	return SEALED_TEXT;
}

/* ShowValue appends one value. */
static void
ShowValue(StringInfo json, const char *text, bool sealed)
{
	if (text == NULL)
		appendStringInfoString(json, "null");
	else if (!sealed)
		escape_json(json, text);
	else if (*text == '{')
	{
		HeldArray array = ReadArray(text);

		(void) ShowArray(json, KindOfArray(&array), &array, 0, 0);
	}
	else
		ShowSealed(json, KindOfForm(text), text);
}

/* ShowTable appends one table: its name, and its rows as objects. */
static void
ShowTable(StringInfo json, const Held *held)
{
	escape_json(json, quote_qualified_identifier(held->schema, held->table));
	appendStringInfoString(json, ":[");
	for (uint64 i = 0; i < held->rows; i++)
	{
		char **texts = HeldRow(held, i);

		CHECK_FOR_INTERRUPTS();
		appendStringInfoString(json, i > 0 ? ",{" : "{");
		for (int column = 0; column < held->count; column++)
		{
			if (column > 0)
				appendStringInfoChar(json, ',');
			escape_json(json, held->columns[column]);
			appendStringInfoChar(json, ':');
			ShowValue(json, texts[column], held->sealed[column]);
		}
		appendStringInfoChar(json, '}');
	}
	appendStringInfoChar(json, ']');
	SPI_freetuptable(held->found);
}

/* ArchiveRowsShow shows. */
char *
ArchiveRowsShow(Datum bundle)
{
	int count = CountHeld(bundle);
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	for (int i = 0; i < count; i++)
	{
		Held held = ReadHeld(bundle, i);

		if (i > 0)
			appendStringInfoChar(&json, ',');
		ShowTable(&json, &held);
	}
	appendStringInfoChar(&json, '}');
	return json.data;
}
