/*
 * redact.c
 *		The log hook, and what pg_stat_statements may keep.
 *
 * A message that arises in a transaction under an identity, while a statement
 * that names the schema cauce runs, or that looks as if it held a token, goes to the client as it is and to the server log as a line that says
 * what happened (severity, SQLSTATE, duration) without what was said. It stands
 * in for statement text, parameters, DETAIL rows and plans of auto_explain.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "parser/analyze.h"
#include "replication/logicalworker.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/elog.h"
#include "utils/guc.h"

#include "identity.h"
#include "redact.h"

static bool redact_logs = true;
static emit_log_hook_type next_hook = NULL;
static post_parse_analyze_hook_type next_analyze = NULL;
static ProcessUtility_hook_type next_utility = NULL;
static bool redacting = false;
static bool declaring = false; /* DECLARE CURSOR is at its query */

/* How EXECUTE's line in the log tells the statement's text: errdetail_execute() in postgres.c. */
static const char PreparedPrefix[] = "prepare: ";

static void RedactLog(ErrorData *error);
static void WithholdStatement(ParseState *state, Query *query, JumbleState *jumble);
static void NoticeDeclare(PlannedStmt *statement, const char *text, bool read_only_tree,
						  ProcessUtilityContext context, ParamListInfo parameters,
						  QueryEnvironment *environment, DestReceiver *dest,
						  QueryCompletion *completion);

/* RedactInit installs the hook. */
void
RedactInit(void)
{
	DefineCustomBoolVariable("cauce.redact_logs",
							 "Keep statements that run under an identity out of the server log.",
							 NULL, &redact_logs, true, PGC_SUSET, 0, NULL, NULL, NULL);
	next_hook = emit_log_hook;
	emit_log_hook = RedactLog;
	next_analyze = post_parse_analyze_hook;
	post_parse_analyze_hook = WithholdStatement;
	next_utility = ProcessUtility_hook;
	ProcessUtility_hook = NoticeDeclare;
}

/*
 * IdentifiedBlock tells whether the transaction ran under an identity, also when
 * it has failed since: SET LOCAL is undone at once, yet the client may go on
 * sending statements until it hears of it.
 */
static bool
IdentifiedBlock(void)
{
	static bool identified = false;

	if (StatementIdentified())
		identified = true;
	else if (!IsAbortedTransactionBlockState())
		identified = false;
	return identified;
}

/*
 * IsTelling tells whether text names something of cauce's, or contains what every
 * JSON Web Token begins with.
 */
static bool
IsTelling(const char *text)
{
	return text != NULL && (strstr(text, "cauce.") != NULL || strstr(text, "eyJ") != NULL);
}

/*
 * WithholdStatement takes the query identifier from a utility statement that the log
 * would not show: pg_stat_statements keeps the text of such statements as it is, in a file,
 * and passes over what has no identifier. Of other statements it replaces the constants, but
 * for a cursor's query: from PostgreSQL 18 on that has an identifier of its own, and ends
 * with the transaction, where pg_stat_statements takes it for a statement that it has not seen
 * parsed.
 */
static void
WithholdStatement(ParseState *state, Query *query, JumbleState *jumble)
{
	if (next_analyze != NULL)
		next_analyze(state, query, jumble);
	if (redact_logs && (query->commandType == CMD_UTILITY || declaring) &&
		(IdentifiedBlock() || IsTelling(state->p_sourcetext)))
		query->queryId = 0;
}

/* NoticeDeclare is the hook that tells WithholdStatement of a cursor's query. */
static void
NoticeDeclare(PlannedStmt *statement, const char *text, bool read_only_tree,
			  ProcessUtilityContext context, ParamListInfo parameters,
			  QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	ProcessUtility_hook_type next = next_utility != NULL ? next_utility : standard_ProcessUtility;
	bool before = declaring;

	declaring = IsA(statement->utilityStmt, DeclareCursorStmt);
	PG_TRY();
	{
		next(statement, text, read_only_tree, context, parameters, environment, dest, completion);
	}
	PG_FINALLY();
	{
		declaring = before;
	}
	PG_END_TRY();
}

/*
 * IsSensitive decides about one message. What a logical replication worker has in hand is
 * sealed, and nobody could resolve a conflict that the log does not name.
 */
static bool
IsSensitive(const ErrorData *error)
{
	if (IsLogicalWorker())
		return IdentifiedBlock();
	return IdentifiedBlock() || IsTelling(debug_query_string) || IsTelling(error->message) ||
		   IsTelling(error->detail) || IsTelling(error->detail_log) || IsTelling(error->context);
}

/*
 * WithholdOthers drops what a message says of other statements: the victims of a
 * deadlock, what a killed process was running, how a statement was prepared. Nobody
 * can know here whether these had an identity.
 */
static void
WithholdOthers(ErrorData *error)
{
	if (error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED)
		error->detail_log = NULL;
	if (!IsUnderPostmaster || (error->detail != NULL &&
							   strncmp(error->detail, PreparedPrefix, strlen(PreparedPrefix)) == 0))
		error->detail = NULL;
}

/* DurationOf reads the milliseconds that log_min_duration_statement reports; negative for none. */
static double
DurationOf(const ErrorData *error)
{
	double duration;

	if (error->message != NULL && sscanf(error->message, "duration: %lf ms", &duration) == 1)
		return duration;
	return -1;
}

/* LogLine writes one line of cauce's own, as it is, with nothing of the statement around it. */
void
LogLine(int sqlerrcode, const char *line)
{
	redacting = true;
	PG_TRY();
	{
		/* callbacks would add QUERY, CONTEXT and a position; PG_TRY brings them back */
		error_context_stack = NULL;
		ereport(LOG_SERVER_ONLY, (errcode(sqlerrcode), errmsg_internal("%s", line),
								  errhidestmt(true), errhidecontext(true)));
	}
	PG_FINALLY();
	{
		redacting = false;
	}
	PG_END_TRY();
}

/* StandIn logs that there was a message, and nothing of its text. */
static void
StandIn(const ErrorData *error)
{
	double duration = DurationOf(error);
	char line[256];

	snprintf(line, sizeof(line), "cauce: %s with SQLSTATE %s, its text withheld",
			 error_severity(error->elevel), unpack_sql_state(error->sqlerrcode));
	if (duration >= 0)
		snprintf(line + strlen(line), sizeof(line) - strlen(line), "; duration: %.3f ms", duration);
	LogLine(error->sqlerrcode, line);
}

/* RedactLog stands in for what the log would have shown. */
static void
RedactLog(ErrorData *error)
{
	if (redact_logs && !redacting && error->output_to_server)
	{
		WithholdOthers(error);
		if (error->elevel < PANIC && CritSectionCount == 0 && IsSensitive(error))
		{
			error->output_to_server = false;
			StandIn(error);
		}
	}
	if (next_hook != NULL)
		next_hook(error);
}
