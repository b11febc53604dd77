/*
 * row_shape.h
 *		What cauce must know of a table whose rows are sealed: whose a row is, how it
 *		is named, and where its sealed columns are.
 */
#ifndef CAUCE_ROW_SHAPE_H
#define CAUCE_ROW_SHAPE_H

#include "access/htup.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/rel.h"
#include "utils/reltrigger.h"
#include "utils/uuid.h"

#include "sealed.h"

/* What a table, and one of its columns, were called when their values were bound. */
typedef struct FormerNames
{
	char *schema;
	char *table;
	char *column; /* as it is called now */
	char *former_column;
} FormerNames;

/* A column that holds sealed values: one, or an array of them. */
typedef struct SealedColumn
{
	AttrNumber number;
	SealedKind kind;
	Oid element; /* the type of an array's elements, else InvalidOid */
} SealedColumn;

typedef struct RowShape
{
	Oid relation;
	Oid root; /* the partitioned table above, or the table itself */
	bool is_adopting; /* cauce.protect_gradually() is at work: see RowColumn() */
	const FormerNames *former; /* cauce.rebind() is at work; else NULL */
	StringInfoData root_name; /* its schema and name, as every binding begins with them */
	int columns; /* of the tuple descriptor that this was made for */
	AttrNumber account; /* 0: no trigger binds the rows */
	AttrNumber session; /* 0: the row belongs to its account */
	int primary_count;
	AttrNumber primary[INDEX_MAX_KEYS];
	FmgrInfo primary_out[INDEX_MAX_KEYS];
	int sealed_count;
	SealedColumn *sealed;
} RowShape;

/*
 * What the name of a sealed column ends with until it takes the place of the plain one:
 * its values are bound to the name that it will have.
 */
#define ADOPTING_SUFFIX "$cauce"

/* RowShapeTrigger finds the trigger that seals a table's rows, or NULL. */
extern const Trigger *RowShapeTrigger(Relation relation);

/*
 * RowShapeMake describes a table as its sealing trigger sees it, in context. It raises
 * 42703 where the trigger's columns are missing, 55000 where there is no primary key,
 * 0A000 for sealed values inside of composite types, which cannot be bound.
 * Without a trigger neither is asked for.
 */
extern RowShape *RowShapeMake(Relation relation, const Trigger *trigger, MemoryContext context);

/* RowOwner reads whose a row is, session all zero where it belongs to its account; false for NULL. */
extern bool RowOwner(const RowShape *shape, Relation relation, HeapTuple row, pg_uuid_t *account,
					 pg_uuid_t *session);

/* RowColumn is the name of a column as bindings have it, good as long as the relation is open. */
extern const char *RowColumn(const RowShape *shape, Relation relation, AttrNumber column);

/* RowFormerName and RowFormerColumn are RowName and RowColumn before the renaming that shape->former tells. */
extern void RowFormerName(StringInfo name, RowShape *shape, Relation relation, HeapTuple row);
extern const char *RowFormerColumn(const RowShape *shape, const char *column);

/*
 * CanonicalSettings sets what values look like as text, until the end of the caller's GUC nest
 * level: that depends neither on who writes nor on who looks. docs/format.md lists the settings.
 */
extern void CanonicalSettings(void);

/* RowName lists schema, table and primary key: what every binding of the row begins with. */
extern void RowName(StringInfo name, RowShape *shape, Relation relation, HeapTuple row);

#endif
