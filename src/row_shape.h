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

#include "sealed.h"

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
 * RowShapeMake describes a table as its sealing trigger sees it, in context. It raises
 * 42703 where the trigger's columns are missing, 55000 where there is no primary key,
 * 0A000 for sealed values inside of composite types, which cannot be bound.
 * Without a trigger neither is asked for.
 */
extern RowShape *RowShapeMake(Relation relation, const Trigger *trigger, MemoryContext context);

/* RowName lists schema, table and primary key: what every binding of the row begins with. */
extern void RowName(StringInfo name, RowShape *shape, Relation relation, HeapTuple row);

#endif
