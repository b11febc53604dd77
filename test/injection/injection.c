/*
 * injection.c
 *		For test builds only: kill -9 at a point that a file names.
 *
 * The file cauce_injection in the data directory holds a point, who is to be killed (process, or
 * postmaster with the process that is there) and how often the point is passed before. It is
 * removed before the kill, so that it strikes once. dev/injection builds the library.
 */
#include "postgres.h"

#include <signal.h>
#include <unistd.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/ipc.h"

#include "injection.h"

#define ORDER_FILE "cauce_injection"
#define NAME_BYTES 64

static int passed = 0;

/* ReadOrder reads the file; false when there is none. The server's working directory is its data directory. */
static bool
ReadOrder(char *point, char *who, int *skip)
{
	FILE *file = fopen(ORDER_FILE, "r");
	int fields;

	if (file == NULL)
		return false;
	fields = fscanf(file, "%63s %63s %d", point, who, skip);
	(void) fclose(file);
	return fields == 3;
}

/* CaucePoint strikes. */
void
CaucePoint(const char *point)
{
	char wanted[NAME_BYTES];
	char who[NAME_BYTES];
	int skip;

	if (!ReadOrder(wanted, who, &skip) || strcmp(point, wanted) != 0 || passed++ < skip)
		return;
	if (unlink(ORDER_FILE) != 0)
		return; /* somebody else was faster */
	if (strcmp(who, "postmaster") == 0)
		(void) kill(PostmasterPid, SIGKILL);
	(void) kill(MyProcPid, SIGKILL);
}

/* EndTransaction is before and after a commit of what cauce does in a transaction of its own, or of anybody's. */
static void
EndTransaction(XactEvent event, void *argument)
{
	if (event == XACT_EVENT_PRE_COMMIT)
		CaucePoint("before_commit");
	else if (event == XACT_EVENT_COMMIT)
		CaucePoint("after_commit");
}

/* InjectionInit registers what strikes at commits. */
void
InjectionInit(void)
{
	RegisterXactCallback(EndTransaction, NULL);
}
