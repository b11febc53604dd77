/*
 * owned.c
 *		What DROP OWNED BY of a role of cauce's would take along.
 *
 * cauce's roles own nothing, but its policies are made TO them. PostgreSQL lets every
 * member of a role drop what that role owns, and counts the policies with it, whoever owns
 * their tables: 15.18 and 18.6 take the role out of each and drop those that are for
 * nobody else, so that an application could leave all others without a row. 15.20 and
 * 17.12 ask who owns the table. Here only a superuser may.
 */
#include "postgres.h"

#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"

#include "owned.h"

static const char *const roles[] = {"cauce_app", "cauce_stream", "cauce_operator", "cauce_auditor",
									"cauce_support"};

static ProcessUtility_hook_type next_utility = NULL;

/* CheckOwner raises an error where one of cauce's roles is named. */
static void
CheckOwner(const RoleSpec *owner)
{
	Oid named = get_rolespec_oid(owner, true);

	for (Size i = 0; OidIsValid(named) && i < lengthof(roles); i++)
		if (named == get_role_oid(roles[i], true))
			ereport(
				ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("only a superuser may drop what is owned by role \"%s\"", roles[i]),
				 errdetail("Row-level security policies that are made for it could go as well."),
				 errhint("REVOKE takes the role from a member.")));
}

/* NoticeDropOwned is the hook. Where there is no cauce, there are no policies of its. */
static void
NoticeDropOwned(PlannedStmt *statement, const char *text, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo parameters,
				QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	ProcessUtility_hook_type next = next_utility != NULL ? next_utility : standard_ProcessUtility;
	ListCell *cell;

	if (IsA(statement->utilityStmt, DropOwnedStmt) && !superuser() &&
		OidIsValid(get_extension_oid("cauce", true)))
	{
		foreach (cell, ((const DropOwnedStmt *) statement->utilityStmt)->roles)
			CheckOwner(lfirst_node(RoleSpec, cell));
	}
	next(statement, text, read_only_tree, context, parameters, environment, dest, completion);
}

/* OwnedInit installs the hook. */
void
OwnedInit(void)
{
	next_utility = ProcessUtility_hook;
	ProcessUtility_hook = NoticeDropOwned;
}
