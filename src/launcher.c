/*
 * launcher.c
 *		A launcher that visits every database once a naptime.
 *
 *		launcher:  sleep -> list databases -> one worker after the other -> sleep
 *		worker:    connect -> no extension? leave -> batches until nothing is due -> leave
 *
 * Workers are short-lived, so that the launcher needs one free worker slot,
 * whatever the number of databases, and a database can be dropped or renamed.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "datakey.h"
#include "launcher.h"
#include "retention.h"

static int retention_naptime = 5 * SECS_PER_MINUTE;
static int retention_batch = 100;

/* LauncherInit defines the settings and registers the launcher. */
void
LauncherInit(void)
{
	BackgroundWorker worker = {0};

	DefineCustomIntVariable("cauce.retention_naptime", "Time between two retention runs.", NULL,
							&retention_naptime, 5 * SECS_PER_MINUTE, 1, SECS_PER_DAY, PGC_SIGHUP,
							GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("cauce.retention_batch", "Sessions that one transaction processes.",
							NULL, &retention_batch, 100, 1, 10000, PGC_SIGHUP, 0, NULL, NULL, NULL);

	if (IsBinaryUpgrade)
		return; /* pg_upgrade runs this server: nothing may be archived or erased now */
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 10;
	strlcpy(worker.bgw_library_name, "cauce", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "cauce_launcher_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "cauce retention launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "cauce retention launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

/* ListDatabases gives the OIDs of the databases that can be connected to. */
static List *
ListDatabases(MemoryContext context)
{
	List *databases = NIL;
	Relation catalog;
	TableScanDesc scan;
	HeapTuple tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	catalog = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(catalog, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext before;

		if (!database->datallowconn || database->datistemplate)
			continue;
		before = MemoryContextSwitchTo(context);
		databases = lappend_oid(databases, database->oid);
		MemoryContextSwitchTo(before);
	}
	table_endscan(scan);
	table_close(catalog, AccessShareLock);
	CommitTransactionCommand();
	return databases;
}

/* VisitDatabase runs one worker and waits until it has left. */
static void
VisitDatabase(Oid database)
{
	BackgroundWorker worker = {0};
	BackgroundWorkerHandle *handle;
	BgwHandleStatus status;
	pid_t pid;

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	worker.bgw_notify_pid = MyProcPid;
	strlcpy(worker.bgw_library_name, "cauce", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "cauce_retention_main", BGW_MAXLEN);
	snprintf(worker.bgw_name, BGW_MAXLEN, "cauce retention worker for database %u", database);
	strlcpy(worker.bgw_type, "cauce retention worker", BGW_MAXLEN);
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
	{
		ereport(
			WARNING,
			(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
			 errmsg("no background worker slot is free for retention"),
			 errhint(
				 "Raise max_worker_processes; the next run is after cauce.retention_naptime.")));
		return;
	}
	status = WaitForBackgroundWorkerStartup(handle, &pid);
	if (status == BGWH_STARTED)
		status = WaitForBackgroundWorkerShutdown(handle);
	if (status == BGWH_POSTMASTER_DIED)
		proc_exit(1);
	pfree(handle);
}

/* Nap sleeps until the naptime is over, a signal arrives or the postmaster dies. */
static void
Nap(void)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 retention_naptime * 1000L, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

/* cauce_launcher_main is the launcher. */
void
cauce_launcher_main(Datum argument)
{
	MemoryContext context;
	TimestampTz last = GetCurrentTimestamp();

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	context = AllocSetContextCreate(TopMemoryContext, "cauce launcher", ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		List *databases;
		ListCell *cell;

		Nap();
		if (!TimestampDifferenceExceeds(last, GetCurrentTimestamp(), retention_naptime * 1000))
			continue;
		databases = ListDatabases(context);
		foreach (cell, databases)
		{
			CHECK_FOR_INTERRUPTS();
			VisitDatabase(lfirst_oid(cell));
		}
		MemoryContextReset(context);
		last = GetCurrentTimestamp();
	}
}

/* RunBatch is one transaction; gives the number of sessions it took care of. */
static int
RunBatch(void)
{
	RetentionResult result = {0};

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (OidIsValid(get_extension_oid("cauce", true)))
	{
		pgstat_report_activity(STATE_RUNNING, "cauce retention");
		RetentionRun(retention_batch, &result);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	if (result.archived + result.deleted + result.failed > 0)
		ereport(LOG, (errmsg("cauce retention: %d archived, %d deleted, %d failed", result.archived,
							 result.deleted, result.failed)));
	return result.archived + result.deleted;
}

/*
 * ExtendKeyring adds epoch keys when they run short. What stands in its way is a
 * warning: there is a year to mend it, and retention has to go on. It leaves alone
 * a keyring that is older than the database's keys, such as a promoted standby's:
 * new keys under old names would be other keys. So it does a subscriber's.
 */
static void
ExtendKeyring(void)
{
	MemoryContext context = CurrentMemoryContext;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	PG_TRY();
	{
		if (!FollowsPublisher())
			DataKeyExtendKeyring();
		PopActiveSnapshot();
		CommitTransactionCommand();
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
		ereport(WARNING, (errcode(error->sqlerrcode),
						  errmsg("could not extend the keyring: %s", error->message)));
		FreeErrorData(error);
	}
	PG_END_TRY();
}

/* HasExtension tells whether there is anything to do in this database. */
static bool
HasExtension(void)
{
	bool found;

	StartTransactionCommand();
	found = OidIsValid(get_extension_oid("cauce", true));
	CommitTransactionCommand();
	return found;
}

/* cauce_retention_main is the worker of one database. */
void
cauce_retention_main(Datum argument)
{
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(argument), InvalidOid, 0);
	if (!HasExtension())
		return;
	ExtendKeyring();
	while (RunBatch() > 0)
		CHECK_FOR_INTERRUPTS();
}
