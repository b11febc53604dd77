/*
 * schedule.c
 *		Calls of pg_cron in the one database of the server that it lives in.
 *
 * pg_cron keeps its jobs in cron.database_name and nowhere else. From another database, which has cauce,
 * a background worker goes there, makes or ends the job, and leaves what came of it in a shared
 * segment. Its transaction is its own: what it did outlives a rollback here.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "schedule.h"

PG_FUNCTION_INFO_V1(cauce_schedule_elsewhere);

#define CRON_BYTES 256
#define MESSAGE_BYTES 512

/* What is asked of the worker, and its answer. */
typedef struct Call
{
	char home[NAMEDATALEN]; /* where pg_cron lives */
	char database[NAMEDATALEN]; /* where retention is to run */
	bool ends; /* rather than makes */
	char cron[CRON_BYTES];
	bool done;
	int64 job; /* its id; of one that ended, 1 when there was one */
	int sqlerrcode; /* of what went wrong */
	char message[MESSAGE_BYTES];
} Call;

/* Only what CREATE EXTENSION pg_cron made: anybody might call a schema cron. */
static const char HasCron[] =
	"SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid"
	" WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass AND e.extname = 'pg_cron'"
	" AND d.classid = 'pg_proc'::regclass"
	" AND d.objid = to_regprocedure("
	"'cron.schedule_in_database(text, text, text, text, text, boolean)')";

static const char Schedule[] = "SELECT cron.schedule_in_database('cauce-retention in ' || $1, $2,"
							   " 'SELECT cauce.run_retention()', $1)";

static const char Unschedule[] =
	"SELECT count(cron.unschedule(jobid)) FROM cron.job"
	" WHERE jobname = 'cauce-retention in ' || $1 AND database = $1 AND $2 IS NOT NULL";

/* Perform does what is asked, in the worker's transaction. */
static void
Perform(Call *call)
{
	Oid types[] = {TEXTOID, TEXTOID};
	Datum values[] = {CStringGetTextDatum(call->database), CStringGetTextDatum(call->cron)};
	bool isnull;

	if (SPI_execute(HasCron, true, 0) != SPI_OK_SELECT || SPI_processed == 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("pg_cron is not installed in database \"%s\"", call->home)));
	if (SPI_execute_with_args(call->ends ? Unschedule : Schedule, lengthof(types), types, values,
							  NULL, false, 0) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "pg_cron gave no answer");
	call->job =
		DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/* cauce_schedule_main is the worker. */
void
cauce_schedule_main(Datum argument)
{
	MemoryContext context;
	dsm_segment *segment;
	Call *call;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	segment = dsm_attach(DatumGetUInt32(argument));
	if (segment == NULL)
		return; /* whoever asked has left */
	dsm_pin_mapping(segment);
	call = dsm_segment_address(segment);
	BackgroundWorkerInitializeConnection(call->home, NULL, 0);
	context = AllocSetContextCreate(TopMemoryContext, "cauce schedule", ALLOCSET_DEFAULT_SIZES);
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	pgstat_report_activity(STATE_RUNNING, "cauce schedule");
	PG_TRY();
	{
		SPI_connect();
		Perform(call);
		SPI_finish();
		PopActiveSnapshot();
		CommitTransactionCommand();
		call->done = true;
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		call->sqlerrcode = error->sqlerrcode;
		strlcpy(call->message, error->message, sizeof(call->message));
		FlushErrorState();
		AbortCurrentTransaction();
	}
	PG_END_TRY();
}

/* RunWorker has a worker answer. */
static void
RunWorker(dsm_segment *segment)
{
	BackgroundWorker worker = {0};
	BackgroundWorkerHandle *handle;
	BgwHandleStatus status;
	pid_t pid;

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = UInt32GetDatum(dsm_segment_handle(segment));
	worker.bgw_notify_pid = MyProcPid;
	strlcpy(worker.bgw_library_name, "cauce", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "cauce_schedule_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "cauce schedule worker", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "cauce schedule worker", BGW_MAXLEN);
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
						errmsg("no background worker slot is free to reach pg_cron"),
						errhint("Raise max_worker_processes, or try again later.")));
	status = WaitForBackgroundWorkerStartup(handle, &pid);
	if (status == BGWH_STARTED)
		status = WaitForBackgroundWorkerShutdown(handle);
	if (status == BGWH_POSTMASTER_DIED)
		proc_exit(1);
}

/* Home is the database that pg_cron lives in. Raises 55000 where it is not loaded. */
static const char *
Home(void)
{
	const char *home = GetConfigOption("cron.database_name", true, false);

	/* a setting that nobody has defined stands for a library that is not loaded */
	if (home == NULL || *home == '\0' ||
		(GetConfigOptionFlags("cron.database_name", true) & GUC_CUSTOM_PLACEHOLDER) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pg_cron is not installed on this server"),
				 errhint("Add pg_cron to shared_preload_libraries, or leave it to the retention "
						 "worker, which runs every cauce.retention_naptime.")));
	return home;
}

/* cauce.schedule_elsewhere(cron): has pg_cron run retention here from its own database; with NULL, no more. */
Datum
cauce_schedule_elsewhere(PG_FUNCTION_ARGS)
{
	char *cron = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	dsm_segment *segment;
	Call *call;
	Call answer;

	if (cron != NULL && strlen(cron) >= CRON_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the schedule is too long")));
	segment = dsm_create(sizeof(Call), 0);
	call = dsm_segment_address(segment);
	memset(call, 0, sizeof(*call));
	strlcpy(call->home, Home(), NAMEDATALEN);
	strlcpy(call->database, get_database_name(MyDatabaseId), NAMEDATALEN);
	call->ends = cron == NULL;
	strlcpy(call->cron, cron != NULL ? cron : "", CRON_BYTES);
	RunWorker(segment);
	answer = *call;
	dsm_detach(segment);
	if (!answer.done)
		ereport(ERROR,
				(errcode(answer.sqlerrcode != 0 ? answer.sqlerrcode
												: ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pg_cron in database \"%s\" could not be told", answer.home),
				 errdetail("%s", answer.message[0] != '\0' ? answer.message
														   : "The database could not be reached."),
				 errhint("CREATE EXTENSION pg_cron there, or leave it to the retention worker.")));
	PG_RETURN_INT64(answer.job);
}
