/*
 * derived.c
 *		No statistics, index or generated column of content.
 *
 * What these compute from a sealed column would lie in the catalog, or beside the
 * column, in the clear. PostgreSQL refuses indexes and generated columns whose
 * functions are not IMMUTABLE, and no cast of ours is; a function that wraps one and
 * says that it is would pass. Statistics it does not refuse at all. So whatever
 * mentions a sealed column, other than to ask whether it is NULL, is refused here,
 * when it is made. That nothing opens while ANALYZE runs, whichever function hides
 * the column, is authority.c's to see to.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_statistic_ext.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "derived.h"
#include "sealed_type.h"

PG_FUNCTION_INFO_V1(cauce_no_statistics);

#define MAX_EXPRESSIONS 2

/* A kind of object, and where the catalog keeps its expressions. */
typedef struct Derived
{
	Oid class; /* as the hook names it */
	const char *what;
	Oid catalog;
	Oid index;
	AttrNumber key; /* the column that the index looks the object up by */
	AttrNumber expressions[MAX_EXPRESSIONS];
} Derived;

static const Derived kinds[] = {
	{StatisticExtRelationId,
	 "statistics",
	 StatisticExtRelationId,
	 StatisticExtOidIndexId,
	 Anum_pg_statistic_ext_oid,
	 {Anum_pg_statistic_ext_stxexprs}},
	{RelationRelationId,
	 "an index",
	 IndexRelationId,
	 IndexRelidIndexId,
	 Anum_pg_index_indexrelid,
	 {Anum_pg_index_indexprs, Anum_pg_index_indpred}},
	/* the hook gives the table, for a default and for a generated column */
	{AttrDefaultRelationId,
	 "a generated column",
	 AttrDefaultRelationId,
	 AttrDefaultIndexId,
	 Anum_pg_attrdef_adrelid,
	 {Anum_pg_attrdef_adbin}},
};

static object_access_hook_type next_hook = NULL;

/* MentionsSealed tells whether an expression needs more of a sealed column than that it is NULL. */
static bool
MentionsSealed(Node *node, void *unused)
{
	if (node == NULL)
		return false;
	if (IsA(node, NullTest) && IsA(((NullTest *) node)->arg, Var))
		return false;
	if (IsA(node, Var))
		return TypeHoldsSealed(((Var *) node)->vartype);
	return expression_tree_walker(node, MentionsSealed, unused);
}

/* RowMentionsSealed reads the expressions of one row of the catalog. */
static bool
RowMentionsSealed(const Derived *kind, HeapTuple row, TupleDesc descriptor)
{
	for (int i = 0; i < MAX_EXPRESSIONS && kind->expressions[i] != 0; i++)
	{
		bool isnull;
		Datum expression = heap_getattr(row, kind->expressions[i], descriptor, &isnull);

		if (!isnull && MentionsSealed(stringToNode(TextDatumGetCString(expression)), NULL))
			return true;
	}
	return false;
}

/* IsOfContent looks a new object up, which only this command can see yet. */
static bool
IsOfContent(const Derived *kind, Oid object)
{
	Relation catalog = table_open(kind->catalog, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple row;
	bool found = false;

	ScanKeyInit(&key, kind->key, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(object));
	scan = systable_beginscan(catalog, kind->index, true, SnapshotSelf, 1, &key);
	while (!found && HeapTupleIsValid(row = systable_getnext(scan)))
		found = RowMentionsSealed(kind, row, RelationGetDescr(catalog));
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

/* RefuseDerived is the hook. */
static void
RefuseDerived(ObjectAccessType access, Oid class, Oid object, int part, void *argument)
{
	if (next_hook != NULL)
		next_hook(access, class, object, part, argument);
	if (access != OAT_POST_CREATE)
		return;
	for (Size i = 0; i < lengthof(kinds); i++)
		if (kinds[i].class == class && IsOfContent(&kinds[i], object))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("%s cannot be made of sealed columns", kinds[i].what),
					 errdetail("It would hold content in the clear."),
					 errhint("Leave the sealed columns out; whether one IS NULL may be asked.")));
}

/* DerivedInit installs the hook. */
void
DerivedInit(void)
{
	next_hook = object_access_hook;
	object_access_hook = RefuseDerived;
}

/* no_statistics(internal): ANALYZE collects nothing about sealed columns */
Datum
cauce_no_statistics(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(false);
}
