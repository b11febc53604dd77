/*
 * bundle.c
 *		A bundle's JSON, written while its rows are deleted.
 *
 * It is what row_to_json() gives of each row, which looks each column's type up anew and copies its
 * text a few times.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "common/jsonapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "bundle.h"
#include "erase.h"
#include "quiet.h"
#include "sealed_type.h"
#include "secret.h"
#include "spi.h"

/* The longest text of an integer of 64 bits, with its sign and the zero behind. */
#define INTEGER_BYTES 21

/* How the rows of one table become JSON. */
typedef struct Shape
{
	int count;
	char **labels; /* what stands before a value; NULL for a dropped column */
	bool *sealed;
	Datum *values; /* room for a row */
	bool *nulls;
} Shape;

/* A row whose place is known when all of them are. */
typedef struct Part
{
	int64 order;
	pg_uuid_t id;
	int from;
	int size;
} Part;

/* The rows of one table, while they are taken. */
typedef struct Rows
{
	Shape *shape;
	StringInfoData json;
	const char *ordered_by; /* a column of 64 bits; NULL where rows come in their order */
	Part *parts;
	int count;
	int room;
} Rows;

/*
 * Writing JSON
 */

/* NeedsEscape tells characters that JSON strings do not hold as they are. */
static inline bool
NeedsEscape(unsigned char c)
{
	return c < ' ' || c == '"' || c == '\\';
}

/* AppendEscaped appends one of them as escape_json() does. */
static void
AppendEscaped(StringInfo json, unsigned char c)
{
	static const char shorts[] = "btn?fr"; /* from \b, 8, on; 11 has none */

	if (c == '"' || c == '\\')
	{
		appendStringInfoChar(json, '\\');
		appendStringInfoChar(json, (char) c);
	}
	else if (c >= '\b' && c <= '\r' && c != '\v')
	{
		appendStringInfoChar(json, '\\');
		appendStringInfoChar(json, shorts[c - '\b']);
	}
	else
		appendStringInfo(json, "\\u%04x", c);
}

/* AppendString appends a JSON string; runs of what it holds as it is go at once. */
static void
AppendString(StringInfo json, const char *text, Size size)
{
	Size from = 0;

	enlargeStringInfo(json, (int) size + 2);
	appendStringInfoCharMacro(json, '"');
	for (Size at = 0; at < size; at++)
	{
		if (!NeedsEscape((unsigned char) text[at]))
			continue;
		appendBinaryStringInfo(json, text + from, (int) (at - from));
		AppendEscaped(json, (unsigned char) text[at]);
		from = at + 1;
	}
	appendBinaryStringInfo(json, text + from, (int) (size - from));
	appendStringInfoChar(json, '"');
}

/* AppendUuid appends a UUID's canonical text. */
static void
AppendUuid(StringInfo json, const pg_uuid_t *uuid)
{
	static const char digits[] = "0123456789abcdef";
	char text[UUID_LEN * 2 + 6];
	char *at = text;

	*at++ = '"';
	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*at++ = '-';
		*at++ = digits[uuid->data[i] >> 4];
		*at++ = digits[uuid->data[i] & 0xf];
	}
	*at++ = '"';
	appendBinaryStringInfo(json, text, (int) (at - text));
}

/* AppendInteger appends an integer. */
static void
AppendInteger(StringInfo json, int64 number)
{
	char text[INTEGER_BYTES];

	appendBinaryStringInfo(json, text, pg_lltoa(number, text));
}

/* AppendReal appends a number, or as a string what JSON has no number for. */
static void
AppendReal(StringInfo json, Datum value)
{
	char *text = DatumGetCString(DirectFunctionCall1(float4out, value));
	Size size = strlen(text);

	if (IsValidJsonNumber(text, (int) size))
		appendBinaryStringInfo(json, text, (int) size);
	else
		AppendString(json, text, size);
	pfree(text);
}

/* AppendMoment appends a timestamp with time zone. */
static void
AppendMoment(StringInfo json, Datum value)
{
	char text[MAXDATELEN + 1];

	JsonEncodeDateTime(text, value, TIMESTAMPTZOID, NULL);
	AppendString(json, text, strlen(text));
}

/* AppendText appends a text. */
static void
AppendText(StringInfo json, Datum value)
{
	text *plain = DatumGetTextPP(value);

	AppendString(json, VARDATA_ANY(plain), VARSIZE_ANY_EXHDR(plain));
	if ((Pointer) plain != DatumGetPointer(value))
		pfree(plain);
}

/* AppendOpened opens a sealed text and appends it. */
static void
AppendOpened(StringInfo json, Datum value)
{
	Sealed *sealed = (Sealed *) PG_DETOAST_DATUM_PACKED(value);
	char *plain;
	Size size;

	if (!OpenToShow(sealed, SEALED_TEXT, &plain, &size))
		elog(ERROR, "custody of a session was lost");
	plain = TextFromUtf8(plain, size, &size);
	AppendString(json, plain, size);
	SecretWipe(plain, size);
	pfree(plain);
	if ((Pointer) sealed != DatumGetPointer(value))
		pfree(sealed);
}

/* IsKnown tells the types whose values AppendValue appends. */
static bool
IsKnown(Oid type)
{
	switch (type)
	{
		case UUIDOID:
		case TEXTOID:
		case BOOLOID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case TIMESTAMPTZOID:
			return true;
		default:
			return false;
	}
}

/* AppendValue appends a value that is not sealed. */
static void
AppendValue(StringInfo json, Oid type, Datum value)
{
	switch (type)
	{
		case UUIDOID:
			AppendUuid(json, DatumGetUUIDP(value));
			break;
		case TEXTOID:
			AppendText(json, value);
			break;
		case BOOLOID:
			appendStringInfoString(json, DatumGetBool(value) ? "true" : "false");
			break;
		case INT4OID:
			AppendInteger(json, DatumGetInt32(value));
			break;
		case INT8OID:
			AppendInteger(json, DatumGetInt64(value));
			break;
		case FLOAT4OID:
			AppendReal(json, value);
			break;
		case TIMESTAMPTZOID:
			AppendMoment(json, value);
			break;
	}
}

/*
 * Shapes
 */

/* LabelOf is a column's name as a member begins with it. */
static char *
LabelOf(const char *name, bool first)
{
	StringInfoData label;

	initStringInfo(&label);
	if (!first)
		appendStringInfoChar(&label, ',');
	AppendString(&label, name, strlen(name));
	appendStringInfoChar(&label, ':');
	return label.data;
}

/* IsSealedText tells a column of type encrypted_text. */
static bool
IsSealedText(Oid type)
{
	SealedKind kind;
	Oid element;

	return SealedTypeOf(type, &kind, &element) && kind == SEALED_TEXT && !OidIsValid(element);
}

/* ShapeOf describes a table; NULL where it has a column of another type. */
static Shape *
ShapeOf(const char *name)
{
	Relation table = table_open(CauceTable(name), RowExclusiveLock);
	TupleDesc descriptor = RelationGetDescr(table);
	Shape *shape = palloc0(sizeof(Shape));
	bool first = true;

	shape->labels = palloc0(descriptor->natts * sizeof(char *));
	shape->sealed = palloc0(descriptor->natts * sizeof(bool));
	shape->values = palloc(descriptor->natts * sizeof(Datum));
	shape->nulls = palloc(descriptor->natts * sizeof(bool));
	for (shape->count = 0; shape->count < descriptor->natts; shape->count++)
	{
		Form_pg_attribute column = TupleDescAttr(descriptor, shape->count);

		if (column->attisdropped)
			continue;
		shape->sealed[shape->count] = IsSealedText(column->atttypid);
		if (!shape->sealed[shape->count] && !IsKnown(column->atttypid))
			break;
		shape->labels[shape->count] = LabelOf(NameStr(column->attname), first);
		first = false;
	}
	if (shape->count < descriptor->natts)
		shape = NULL;
	table_close(table, NoLock);
	return shape;
}

/* AppendRow appends a row as an object. */
static void
AppendRow(StringInfo json, Shape *shape, HeapTuple row, TupleDesc descriptor)
{
	heap_deform_tuple(row, descriptor, shape->values, shape->nulls);
	appendStringInfoChar(json, '{');
	for (int i = 0; i < shape->count; i++)
	{
		if (shape->labels[i] == NULL)
			continue;
		appendStringInfoString(json, shape->labels[i]);
		if (shape->nulls[i])
			appendStringInfoString(json, "null");
		else if (shape->sealed[i])
			AppendOpened(json, shape->values[i]);
		else
			AppendValue(json, TupleDescAttr(descriptor, i)->atttypid, shape->values[i]);
	}
	appendStringInfoChar(json, '}');
}

/*
 * Taking
 */

/* ReadInteger reads a column of 64 bits; NULL comes last. */
static int64
ReadInteger(HeapTuple row, TupleDesc descriptor, const char *column)
{
	bool isnull;
	Datum value = heap_getattr(row, SPI_fnumber(descriptor, column), descriptor, &isnull);

	return isnull ? PG_INT64_MAX : DatumGetInt64(value);
}

/* ReadUuid reads a column that is never NULL. */
static pg_uuid_t
ReadUuid(HeapTuple row, TupleDesc descriptor, const char *column)
{
	bool isnull;

	return *DatumGetUUIDP(heap_getattr(row, SPI_fnumber(descriptor, column), descriptor, &isnull));
}

/* NotePart notes the row that was appended last, and where it belongs. */
static void
NotePart(Rows *rows, int from, HeapTuple row, TupleDesc descriptor)
{
	Part *part;

	if (rows->count == rows->room)
	{
		rows->room = rows->room == 0 ? 8 : 2 * rows->room;
		rows->parts = rows->parts == NULL ? palloc(rows->room * sizeof(Part))
										  : repalloc(rows->parts, rows->room * sizeof(Part));
	}
	part = &rows->parts[rows->count++];
	part->order = ReadInteger(row, descriptor, rows->ordered_by);
	part->id = ReadUuid(row, descriptor, "id");
	part->from = from;
	part->size = rows->json.len - from;
}

/* TakeRow is the QuietVisitor of rows that hang on a session. */
static void
TakeRow(HeapTuple row, TupleDesc descriptor, void *argument)
{
	Rows *rows = argument;
	int from;

	if (rows->ordered_by == NULL && rows->json.len > 0)
		appendStringInfoChar(&rows->json, ',');
	from = rows->json.len;
	AppendRow(&rows->json, rows->shape, row, descriptor);
	if (rows->ordered_by != NULL)
		NotePart(rows, from, row, descriptor);
}

/* CompareParts is qsort's comparison. */
static int
CompareParts(const void *a, const void *b)
{
	const Part *one = a;
	const Part *other = b;

	if (one->order != other->order)
		return one->order < other->order ? -1 : 1;
	return memcmp(&one->id, &other->id, UUID_LEN);
}

/* AppendOrdered appends the rows of a table in their order, or as they came. */
static void
AppendOrdered(StringInfo bundle, Rows *rows)
{
	if (rows->ordered_by == NULL)
		appendBinaryStringInfo(bundle, rows->json.data, rows->json.len);
	if (rows->count > 1)
		qsort(rows->parts, (size_t) rows->count, sizeof(Part), CompareParts);
	for (int i = 0; i < rows->count; i++)
	{
		if (i > 0)
			appendStringInfoChar(bundle, ',');
		appendBinaryStringInfo(bundle, rows->json.data + rows->parts[i].from, rows->parts[i].size);
	}
}

/* TakeTable takes the rows of one table, and appends them as a member. */
static void
TakeTable(StringInfo bundle, const char *table, const char *ordered_by, const pg_uuid_t *account,
		  const pg_uuid_t *session)
{
	Rows rows = {.shape = ShapeOf(table), .ordered_by = ordered_by};

	initStringInfo(&rows.json);
	(void) QuietDelete(table, account, session, TakeRow, &rows);
	appendStringInfo(bundle, ",\"%s\":[", table);
	AppendOrdered(bundle, &rows);
	appendStringInfoChar(bundle, ']');
	SecretWipe(rows.json.data, (Size) rows.json.maxlen);
	pfree(rows.json.data);
}

/* A session, while its row is taken. */
typedef struct Taking
{
	StringInfo bundle;
	Shape *shape;
	TakenSession *taken;
} Taking;

/* TakeSession is the QuietVisitor of the session's own row. */
static void
TakeSession(HeapTuple row, TupleDesc descriptor, void *argument)
{
	Taking *taking = argument;
	TakenSession *taken = taking->taken;
	bool isnull;

	RequireNotHeld(row, descriptor);
	AppendRow(taking->bundle, taking->shape, row, descriptor);
	taken->started_at = ReadInteger(row, descriptor, "started_at");
	(void) heap_getattr(row, SPI_fnumber(descriptor, "organization_id"), descriptor, &isnull);
	taken->has_organization = !isnull;
	if (taken->has_organization)
		taken->organization = ReadUuid(row, descriptor, "organization_id");
}

/* BundleMay asks. */
bool
BundleMay(List *protected)
{
	return QuietMay(protected) && QuietCanSessions() && ShapeOf("session") != NULL &&
		   ShapeOf("transcript_segment") != NULL && ShapeOf("report") != NULL &&
		   ShapeOf("alert") != NULL;
}

/* BundleTake takes. */
char *
BundleTake(const pg_uuid_t *account, const pg_uuid_t *session, const char *rows,
		   TakenSession *taken, Size *size)
{
	StringInfoData bundle;
	Taking taking = {&bundle, ShapeOf("session"), taken};

	initStringInfo(&bundle);
	appendStringInfoString(&bundle, "{\"version\":" BUNDLE_VERSION ",\"session\":");
	if (QuietDelete("session", account, session, TakeSession, &taking) == 0)
		return NULL;
	TakeTable(&bundle, "transcript_segment", NULL, account, session);
	TakeTable(&bundle, "report", "created_at", account, session);
	TakeTable(&bundle, "alert", "at_ms", account, session);
	appendStringInfo(&bundle, ",\"protected\":");
	appendStringInfoString(&bundle, rows);
	appendStringInfoChar(&bundle, '}');
	*size = (Size) bundle.len;
	return bundle.data;
}
