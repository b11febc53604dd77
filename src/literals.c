/*
 * literals.c
 *		Parsing cached plans anew for a new identity.
 *
 * A literal such as 'text' in INSERT … VALUES ('text') is sealed when the statement
 * is parsed, for whoever is asking then, or nobody, and the plan keeps it. The trigger
 * rightly refuses it to another identity over the same connection, which is what a
 * pooler makes of a prepared statement or a PL/pgSQL function. So a process that
 * has parsed such a literal drops its plans when another subject is asking.
 * Literals that a catalog keeps (column defaults, views) cannot be parsed anew:
 * write them as 'text'::text, which is sealed when it is evaluated.
 */
#include "postgres.h"

#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "utils/plancache.h"

#include "identity.h"
#include "literals.h"
#include "sealed_type.h"

static post_parse_analyze_hook_type next_hook = NULL;

/* Whether this process has parsed sealed literals, and for whom last; empty for no identity. */
static bool parsed = false;
static char parsed_for[TOKEN_MAX_SUBJECT];

/* HasLiteral tells whether a parse tree holds a constant with sealed values in it. */
static bool
HasLiteral(Node *node, void *unused)
{
	if (node == NULL)
		return false;
	if (IsA(node, Const))
		return !((Const *) node)->constisnull && TypeHoldsSealed(((Const *) node)->consttype);
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, HasLiteral, unused, 0);
	return expression_tree_walker(node, HasLiteral, unused);
}

/* NoticeLiterals is the hook: it remembers for whom literals were sealed. */
static void
NoticeLiterals(ParseState *state, Query *query, JumbleState *jumble)
{
	const char *subject = IdentitySubject();

	if (next_hook != NULL)
		next_hook(state, query, jumble);
	if (subject == NULL)
		subject = "";
	if (query->commandType == CMD_UTILITY || (parsed && strcmp(parsed_for, subject) == 0))
		return; /* what a utility statement holds is parsed by itself */
	if (!HasLiteral((Node *) query, NULL))
		return;
	parsed = true;
	strlcpy(parsed_for, subject, sizeof(parsed_for));
}

/* LiteralsInit installs the hook. */
void
LiteralsInit(void)
{
	next_hook = post_parse_analyze_hook;
	post_parse_analyze_hook = NoticeLiterals;
}

/* LiteralsForget drops plans that hold literals of another subject. */
void
LiteralsForget(const char *subject)
{
	if (!parsed || strcmp(parsed_for, subject) == 0)
		return;
	ResetPlanCache();
	parsed = false;
}
