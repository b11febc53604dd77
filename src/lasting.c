/*
 * lasting.c
 *		Refusing tokens that would outlast their transaction.
 *
 * A pooler in transaction mode gives the connection to somebody else after COMMIT, with all that is set in it.
 * Neither a check nor an assign hook is told whether a value is set LOCAL; the stack of values that the
 * transaction has changed (guc.c, AtEOXact_GUC) knows what will be left of them.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/guc_tables.h"

#include "lasting.h"

static bool transaction_only = false;

/* FindToken finds the record of cauce.token. */
static const struct config_string *
FindToken(void)
{
	static const char name[] = "cauce.token";
#if PG_VERSION_NUM >= 160000
	return (const struct config_string *) find_option(name, false, true, LOG);
#else
	struct config_generic **all = get_guc_variables();
	int count = GetNumConfigOptions();

	for (int i = 0; i < count; i++)
	{
		if (strcmp(all[i]->name, name) == 0)
			return (const struct config_string *) all[i];
	}
	return NULL;
#endif
}

/* WillLast tells whether the transaction leaves a token behind that it has set. */
static bool
WillLast(void)
{
	static const struct config_string *record = NULL;
	const char *left = NULL;

	if (record == NULL)
		record = FindToken();
	if (record == NULL || record->gen.stack == NULL)
		return false;
	if (record->gen.stack->state == GUC_SET)
		left = *record->variable;
	else if (record->gen.stack->state == GUC_SET_LOCAL)
		left = record->gen.stack->masked.val.stringval;
	return left != NULL && left[0] != '\0';
}

/* BeforeCommit refuses, and so takes the token back. */
static void
BeforeCommit(XactEvent event, void *arg)
{
	if ((event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE) || !transaction_only ||
		!WillLast())
		return;
	ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
					errmsg("the identity token is refused"),
					errdetail("It was set for the whole session, and "
							  "cauce.token_transaction_only is on."),
					errhint("Set it in each transaction: set_config('cauce.token', $1, true).")));
}

/* LastingInit installs it. */
void
LastingInit(void)
{
	DefineCustomBoolVariable("cauce.token_transaction_only",
							 "Refuse tokens that are set for longer than a transaction.",
							 "For servers behind a pooler in transaction mode.", &transaction_only,
							 false, PGC_SIGHUP, 0, NULL, NULL, NULL);
	RegisterXactCallback(BeforeCommit, NULL);
}

/* LastingRefused gives the setting. */
bool
LastingRefused(void)
{
	return transaction_only;
}
