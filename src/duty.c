/*
 * duty.c
 *		Running one duty of a background process.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/snapmgr.h"

#include "duty.h"

/* Complain logs what stood in a duty's way. */
static void
Complain(const ErrorData *error, int elevel, const char *what)
{
	ereport(elevel, (errcode(error->sqlerrcode), errmsg("could not %s: %s", what, error->message),
					 error->hint != NULL ? errhint("%s", error->hint) : 0));
}

/* AttemptDuty runs. */
bool
AttemptDuty(void (*duty)(void *argument), void *argument, int elevel, const char *what)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool done = false;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	PG_TRY();
	{
		duty(argument);
		PopActiveSnapshot();
		CommitTransactionCommand();
		done = true;
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN ||
			error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			PG_RE_THROW();
		FlushErrorState();
		AbortCurrentTransaction();
		Complain(error, elevel, what);
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return done;
}
