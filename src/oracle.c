/*
 * oracle.c
 *		What PostgreSQL would tell about rows that a policy hides.
 *
 * Row-level security decides which rows come out. Three things beside them tell of
 * the others, to any SQL of the same login:
 *
 * - The planner's estimates. A condition whose operator is leakproof, as equality and
 *   order are of nearly all plain types, is estimated from the most common values and the
 *   histogram of the whole table: EXPLAIN says which languages, speakers and moments
 *   others have, value by value. Under a policy the planner here sees how many values
 *   there are, and none of them.
 * - EXPLAIN ANALYZE. The same conditions are tried before the policy's, and by whatever index
 *   there is; "Rows Removed by Filter" or an InitPlan that was "never executed" tells
 *   whether somebody has a session of that id. It is refused.
 * - pg_stat_activity, which shows a login the statements of all its connections: an
 *   application's are those of all its users.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_statistic.h"
#include "commands/defrem.h"
#include "executor/executor.h"
#include "tcop/utility.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/selfuncs.h"
#include "utils/syscache.h"

#include "oracle.h"

static get_relation_stats_hook_type next_stats = NULL;
static ExecutorStart_hook_type next_start = NULL;
static ProcessUtility_hook_type next_utility = NULL;
static bool hide_activity = true;
static bool analyzing = false; /* EXPLAIN ANALYZE is at its statement */

/* IsOurs tells whether a table is one of cauce's, or one that cauce.protect() adopted; it is locked. */
static bool
IsOurs(Oid table)
{
	Oid schema = get_namespace_oid("cauce", true);
	Relation relation;
	bool ours = false;

	if (!OidIsValid(schema))
		return false;
	if (get_rel_namespace(table) == schema)
		return true;
	relation = RelationIdGetRelation(table);
	if (!RelationIsValid(relation))
		return false;
	for (int i = 0; relation->trigdesc != NULL && i < relation->trigdesc->numtriggers; i++)
		ours = ours || get_func_namespace(relation->trigdesc->triggers[i].tgfoid) == schema;
	RelationClose(relation);
	return ours;
}

/* IsGuarded tells whether a policy of ours holds for whoever is asking. */
static bool
IsGuarded(const RangeTblEntry *entry)
{
	return entry->rtekind == RTE_RELATION &&
		   check_enable_rls(entry->relid, InvalidOid, true) == RLS_ENABLED && IsOurs(entry->relid);
}

/* WithholdValues gives the statistics of a guarded table's column without any value of it. */
static bool
WithholdValues(PlannerInfo *root, RangeTblEntry *entry, AttrNumber column, VariableStatData *result)
{
	HeapTuple tuple;
	Form_pg_statistic statistic;

	if (!IsGuarded(entry))
		return next_stats != NULL && next_stats(root, entry, column, result);
	tuple = SearchSysCacheCopy3(STATRELATTINH, ObjectIdGetDatum(entry->relid),
								Int16GetDatum(column), BoolGetDatum(entry->inh));
	result->statsTuple = tuple;
	result->freefunc = heap_freetuple;
	result->acl_ok = false;
	if (!HeapTupleIsValid(tuple))
		return true;
	/* number of values, share of NULL, width and order on disk stay; the other slots hold values */
	statistic = (Form_pg_statistic) GETSTRUCT(tuple);
	for (int slot = 0; slot < STATISTIC_NUM_SLOTS; slot++)
	{
		int16 *kind = &statistic->stakind1 + slot; /* as get_attstatsslot() goes through them */

		if (*kind != STATISTIC_KIND_CORRELATION)
			*kind = 0;
	}
	return true;
}

/* ReadsGuarded tells whether a statement has a guarded table among its own. */
static bool
ReadsGuarded(const PlannedStmt *statement)
{
	ListCell *cell;

	foreach (cell, statement->rtable)
	{
		if (IsGuarded(lfirst_node(RangeTblEntry, cell)))
			return true;
	}
	return false;
}

/* StartStatement refuses to count for EXPLAIN ANALYZE what a policy hides. */
static void
StartStatement(QueryDesc *query, int flags)
{
	if (analyzing && query->instrument_options != 0 && ReadsGuarded(query->plannedstmt))
		ereport(
			ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("EXPLAIN ANALYZE would count rows of others"),
			 errdetail("Row-level security hides rows that the statement's plan comes across."),
			 errhint(
				 "EXPLAIN without ANALYZE shows the plan. A superuser, or a role with BYPASSRLS, "
				 "may use ANALYZE.")));
	if (next_start != NULL)
		next_start(query, flags);
	else
		standard_ExecutorStart(query, flags);
}

/* IsAnalyze tells EXPLAIN with the option ANALYZE. */
static bool
IsAnalyze(const Node *statement)
{
	bool analyze = false;
	ListCell *cell;

	if (!IsA(statement, ExplainStmt))
		return false;
	foreach (cell, ((const ExplainStmt *) statement)->options)
	{
		DefElem *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, "analyze") == 0)
			analyze = defGetBoolean(option);
	}
	return analyze;
}

/* NoticeAnalyze is the hook that tells StartStatement of EXPLAIN ANALYZE. */
static void
NoticeAnalyze(PlannedStmt *statement, const char *text, bool read_only_tree,
			  ProcessUtilityContext context, ParamListInfo parameters,
			  QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	ProcessUtility_hook_type next = next_utility != NULL ? next_utility : standard_ProcessUtility;
	bool before = analyzing;

	analyzing = analyzing || IsAnalyze(statement->utilityStmt);
	PG_TRY();
	{
		next(statement, text, read_only_tree, context, parameters, environment, dest, completion);
	}
	PG_FINALLY();
	{
		analyzing = before;
	}
	PG_END_TRY();
}

/* OracleInit installs the hooks. */
void
OracleInit(void)
{
	DefineCustomBoolVariable("cauce.hide_activity",
							 "Whether connections that were told a token show their statements.",
							 "They do so in pg_stat_activity, to whoever has the same login.",
							 &hide_activity, true, PGC_SUSET, 0, NULL, NULL, NULL);
	next_stats = get_relation_stats_hook;
	get_relation_stats_hook = WithholdValues;
	next_start = ExecutorStart_hook;
	ExecutorStart_hook = StartStatement;
	next_utility = ProcessUtility_hook;
	ProcessUtility_hook = NoticeAnalyze;
}

/*
 * OracleHideActivity: the text is in shared memory before anything of ours sees the
 * statement, so that it cannot be replaced in time; reporting ends altogether.
 */
void
OracleHideActivity(void)
{
	if (!hide_activity || !pgstat_track_activities)
		return;
	pgstat_track_activities = false;
	pgstat_report_activity(STATE_DISABLED, NULL);
}
