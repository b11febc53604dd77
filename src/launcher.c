/*
 * launcher.c
 *		A launcher that visits every database once a naptime, and thins out the keyring.
 *
 *		sleep -> list databases -> one worker after the other -> every one has answered?
 *		destroy the epoch keys that have ended and that nobody needs -> sleep
 *
 * Workers are short-lived, so that the launcher needs one free worker slot,
 * whatever the number of databases, and a database can be dropped or renamed.
 * On a standby it runs as well: each server destroys its own copy of an epoch key.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogrecovery.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "portability/instr_time.h"
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

#include "duty.h"
#include "injection.h"
#include "keyring_edit.h"
#include "keyring_store.h"
#include "launcher.h"
#include "shared.h"
#include "upkeep.h"

PG_FUNCTION_INFO_V1(cauce_no_worker_since);

static int retention_naptime = 5 * SECS_PER_MINUTE;

/* LauncherInit defines the settings and registers the launcher. */
void
LauncherInit(void)
{
	BackgroundWorker worker = {0};

	DefineCustomIntVariable("cauce.retention_naptime", "Time between two retention runs.", NULL,
							&retention_naptime, 5 * SECS_PER_MINUTE, 1, SECS_PER_DAY, PGC_SIGHUP,
							GUC_UNIT_S, NULL, NULL, NULL);

	if (IsBinaryUpgrade)
		return; /* pg_upgrade runs this server: nothing may be archived or erased now */
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = 10;
	strlcpy(worker.bgw_library_name, "cauce", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "cauce_launcher_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "cauce retention launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "cauce retention launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

/* IsTemplate0 knows the one database that nobody can have put anything into. */
static bool
IsTemplate0(Form_pg_database database)
{
	return database->datistemplate && !database->datallowconn &&
		   strcmp(NameStr(database->datname), "template0") == 0;
}

/*
 * ListDatabases gives the OIDs of the databases that may hold keys, in a fixed order. Templates,
 * which CREATE DATABASE wants for itself, are among them only for a pass that asks everybody;
 * unreachable tells whether one of the others takes no connections.
 */
static List *
ListDatabases(MemoryContext context, bool everybody, bool *unreachable)
{
	List *databases = NIL;
	Relation catalog;
	TableScanDesc scan;
	HeapTuple tuple;
	MemoryContext before;

	*unreachable = false;
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	catalog = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(catalog, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);

		if (IsTemplate0(database) || database->datconnlimit == DATCONNLIMIT_INVALID_DB ||
			(!everybody && database->datistemplate))
			continue;
		if (!database->datallowconn)
		{
			*unreachable = true;
			continue;
		}
		before = MemoryContextSwitchTo(context);
		databases = lappend_oid(databases, database->oid);
		MemoryContextSwitchTo(before);
	}
	table_endscan(scan);
	table_close(catalog, AccessShareLock);
	CommitTransactionCommand();
	list_sort(databases, list_oid_cmp);
	return databases;
}

/* VisitDatabase runs one worker and waits until it has left; false, and noted in lacking, when it found no room. */
static bool
VisitDatabase(Oid database, const Visit *visit, bool *lacking)
{
	BackgroundWorker worker = {0};
	BackgroundWorkerHandle *handle;
	BgwHandleStatus status;
	pid_t pid;

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	worker.bgw_notify_pid = MyProcPid;
	memcpy(worker.bgw_extra, visit, sizeof(*visit));
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
		*lacking = true;
		return false;
	}
	status = WaitForBackgroundWorkerStartup(handle, &pid);
	if (status == BGWH_STARTED)
		status = WaitForBackgroundWorkerShutdown(handle);
	if (status == BGWH_POSTMASTER_DIED)
		proc_exit(1);
	pfree(handle);
	return true;
}

/*
 * Today is the day before which an epoch has ended. What a program keeps is shared with standbys,
 * which may be promoted without the last that was wrapped anew: a day more. A standby counts the days by the last
 * commit that it has replayed, less one: it may still have to replay keys that the primary
 * has wrapped anew.
 */
static EpochDay
Today(bool shared)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!RecoveryInProgress())
		return KeyringDayOf(now) - (shared ? 1 : 0);
	return KeyringDayOf(Min(now, GetLatestXTime())) - 1;
}

/* LookForEnded is the duty to find out whether the keyring has anything to destroy. */
static void
LookForEnded(void *argument)
{
	Visit *visit = argument;

	visit->today = Today(KeyringStoreIsCommand());
	visit->report = KeyringEnded(visit->today);
}

/* What a pass over all databases has found, and how many keys were destroyed upon it. */
typedef struct Pass
{
	Visit visit;
	KeyringNeeds needs;
	int destroyed;
} Pass;

/*
 * FlushWal puts on disk what was wrapped anew, however it was committed: a crash must not bring
 * back what lies under a destroyed key. At the beginning of a page the insert position is
 * behind a header that nobody has written yet.
 */
static void
FlushWal(void)
{
	XLogRecPtr end = GetXLogInsertRecPtr();

	if (XLogSegmentOffset(end, wal_segment_size) == SizeOfXLogLongPHD)
		end -= SizeOfXLogLongPHD;
	else if (end % XLOG_BLCKSZ == SizeOfXLogShortPHD)
		end -= SizeOfXLogShortPHD;
	XLogFlush(end);
}

/*
 * DestroyEnded is the duty to destroy what nobody needs. A clock that was set back since the pass
 * began is one that the databases trust again, while the day of the pass is still to come.
 */
static void
DestroyEnded(void *argument)
{
	Pass *pass = argument;

	if (Today(KeyringStoreIsCommand()) < pass->visit.today)
		return;
	if (!RecoveryInProgress())
		FlushWal();
	CAUCE_POINT("epoch_wal_flushed");
	pass->destroyed = KeyringDestroy(pass->visit.today, &pass->needs);
	CAUCE_POINT("epoch_destroyed");
}

/* VisitAll visits the databases; false unless every one has told what it needs. */
static bool
VisitAll(const List *databases, Pass *pass)
{
	bool complete = true;
	bool lacking = false;
	ListCell *cell;

	foreach (cell, databases)
	{
		CHECK_FOR_INTERRUPTS();
		SharedAsk(lfirst_oid(cell));
		complete = VisitDatabase(lfirst_oid(cell), &pass->visit, &lacking) &&
				   SharedAnswered(&pass->needs) && complete;
	}
	SharedNoWorker(lacking);
	return complete;
}

/*
 * MakePass visits every database. Where the keyring holds what has ended, each must answer, and
 * there must be no database that was not asked: one that takes no connections, or one that was
 * made meanwhile from a template that was asked before.
 */
static void
MakePass(MemoryContext context)
{
	Pass pass = {0};
	List *databases;
	bool unreachable;
	bool complete;

	pass.visit.today = Today(true);
	(void) AttemptDuty(LookForEnded, &pass.visit, DEBUG1, "look at the keyring");
	databases = ListDatabases(context, pass.visit.report, &unreachable);
	complete = VisitAll(databases, &pass);
	if (!pass.visit.report)
		return;
	if (unreachable)
		ereport(LOG, (errmsg("cauce: epoch keys that have ended are kept"),
					  errdetail("A database that takes no connections may need them."),
					  errhint("ALTER DATABASE … ALLOW_CONNECTIONS true, or drop it.")));
	if (complete && !unreachable && equal(databases, ListDatabases(context, true, &unreachable)) &&
		!unreachable)
		(void) AttemptDuty(DestroyEnded, &pass, WARNING, "destroy keys that have ended");
	if (pass.destroyed > 0)
		ereport(LOG, (errmsg("cauce: %d keys that had ended were destroyed", pass.destroyed)));
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

/* NapIsOver tells by a clock that nobody sets: one that is set back would have it sleep until it has caught up. */
static bool
NapIsOver(const instr_time *since)
{
	instr_time now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, *since);
	return INSTR_TIME_GET_DOUBLE(now) >= retention_naptime;
}

/* cauce.no_worker_since(): since when there was no worker slot for retention; NULL when there is. */
Datum
cauce_no_worker_since(PG_FUNCTION_ARGS)
{
	TimestampTz since = SharedNoWorkerSince();

	if (since == 0)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(since);
}

/* cauce_launcher_main is the launcher. */
void
cauce_launcher_main(Datum argument)
{
	MemoryContext context;
	instr_time last;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	SharedLauncherIs();
	context = AllocSetContextCreate(TopMemoryContext, "cauce launcher", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	INSTR_TIME_SET_CURRENT(last);
	for (;;)
	{
		bool wake = SharedWakeTaken();

		if (!wake)
		{
			Nap();
			wake = SharedWakeTaken();
		}
		if (!wake && !NapIsOver(&last))
			continue;
		pgstat_report_activity(STATE_RUNNING, "cauce visits databases");
		MakePass(context);
		pgstat_report_activity(STATE_IDLE, NULL);
		MemoryContextReset(context);
		INSTR_TIME_SET_CURRENT(last);
	}
}
