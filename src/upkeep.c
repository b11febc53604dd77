/*
 * upkeep.c
 *		The worker that visits one database.
 *
 *		connect ─► no extension? answer "nothing needed", leave
 *		        ─► standby? answer what is needed, leave
 *		        ─► what time is it? ─► retention until nothing is due ─► epoch keys ahead ─► keys out of ended epochs
 *		        ─► keys under the master key in use ─► rotation of data keys ─► answer
 *		        ─► archives to and from storage, leave
 *
 * Each step is a transaction of its own, or several; one that fails is a warning and
 * tried again on the next visit.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "audit.h"
#include "clock.h"
#include "duty.h"
#include "handover.h"
#include "injection.h"
#include "retention.h"
#include "rewrap.h"
#include "rotation.h"
#include "shared.h"
#include "upkeep.h"

static int retention_batch = 100;

/* UpkeepInit defines the setting. */
void
UpkeepInit(void)
{
	DefineCustomIntVariable("cauce.retention_batch", "Sessions that one transaction processes.",
							NULL, &retention_batch, 100, 1, 10000, PGC_SIGHUP, 0, NULL, NULL, NULL);
}

/* UpkeepHasExtension tells whether there is anything to do in this database. */
bool
UpkeepHasExtension(void)
{
	bool found;

	StartTransactionCommand();
	found = OidIsValid(get_extension_oid("cauce", true));
	CommitTransactionCommand();
	return found;
}

/* RunBatch is one transaction of retention; gives the number of sessions it took care of. */
static int
RunBatch(void)
{
	RetentionResult result = {0};

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, "cauce retention");
	RetentionRun(retention_batch, &result);
	CAUCE_POINT("batch_done");
	PopActiveSnapshot();
	CommitTransactionCommand();
	CAUCE_POINT("batch_committed");
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	if (result.archived + result.deleted + result.failed > 0)
		ereport(LOG, (errmsg("cauce retention: %d archived, %d deleted, %d failed", result.archived,
							 result.deleted, result.failed)));
	/* what failed is put off, so that this comes to an end */
	return result.archived + result.deleted + result.failed;
}

/*
 * Rest leaves the server to others for a quarter of the time that a batch took, a second at most.
 */
static void
Rest(const instr_time *since)
{
	instr_time took;
	long rest;

	INSTR_TIME_SET_CURRENT(took);
	INSTR_TIME_SUBTRACT(took, *since);
	rest = Min((long) INSTR_TIME_GET_MILLISEC(took) / 4, 1000);
	if (rest > 0)
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, rest,
						 PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* RunBatches runs until nothing is due. */
static void
RunBatches(void)
{
	instr_time began;

	INSTR_TIME_SET_CURRENT(began);
	while (RunBatch() > 0)
	{
		Rest(&began);
		INSTR_TIME_SET_CURRENT(began);
	}
}

/* Extend is the duty to have epoch keys ahead. There is a year to mend what stands in its way. */
static void
Extend(void *argument)
{
	TimestampTz now;

	if (ClockIsTrusted(&now))
		RewrapExtendKeyring();
}

/* GoesByVisit tells whether the clock is trusted, and was not ahead of itself when the launcher read it. */
static bool
GoesByVisit(const Visit *visit, TimestampTz *now)
{
	return ClockIsTrusted(now) && visit->today <= KeyringDayOf(*now);
}

/*
 * MoveOverdue is the duty to have no live key under an epoch that has ended: by the launcher's
 * clock and by now, as it may have been set back in between.
 */
static void
MoveOverdue(void *argument)
{
	const Visit *visit = argument;
	TimestampTz now;

	if (GoesByVisit(visit, &now))
		RewrapOverdue(visit->today, now);
	CAUCE_POINT("epoch_keys_moved");
}

/* MoveMasters is the duty to have every key under the master key in use. */
static void
MoveMasters(void *argument)
{
	uint64 moved = RewrapMasters();

	if (moved > 0)
		ereport(LOG,
				(errmsg("cauce: " UINT64_FORMAT " data keys wrapped under the master key in use",
						moved)));
}

/* NoteClock is the duty to remember what time it is. */
static void
NoteClock(void *argument)
{
	ClockNote();
}

/*
 * Report is the duty to tell what this database needs of the keyring: all of it while its clock
 * is not trusted, or is not the one that the launcher went by.
 */
static void
Report(void *argument)
{
	const Visit *visit = argument;
	TimestampTz now;
	KeyringNeeds needs = {.everything = !GoesByVisit(visit, &now)};

	RewrapNeeds(visit->today, &needs);
	CAUCE_POINT("epoch_needs_known");
	SharedAnswer(MyDatabaseId, &needs);
}

/* WatchServer is the duty to note what has changed in the server's settings and keys. */
static void
WatchServer(void *argument)
{
	AuditServer();
}

/* PruneAudit is the duty to remove what the audit log need not keep any more. */
static void
PruneAudit(void *argument)
{
	uint64 *pruned = argument;
	TimestampTz now;

	*pruned = ClockIsTrusted(&now) ? AuditPrune(now) : 0;
	if (*pruned > 0)
		ereport(LOG,
				(errmsg("cauce: " UINT64_FORMAT " entries of the audit log were pruned", *pruned)));
}

/* LookForPublisher is the duty to find out whether another database's worker does all this. */
static void
LookForPublisher(void *argument)
{
	*(bool *) argument = FollowsPublisher();
}

/*
 * LookAfterKeys does what keys need. A subscriber's are its publisher's: new epoch keys under
 * old names would be other keys, and what is wrapped anew here would be overwritten.
 */
static void
LookAfterKeys(Visit *visit)
{
	bool follows = true;
	uint64 pruned = 0;

	if (!AttemptDuty(LookForPublisher, &follows, WARNING, "look for subscriptions") || follows)
		return;
	(void) AttemptDuty(WatchServer, NULL, WARNING, "note the server's settings and keys");
	while (AttemptDuty(PruneAudit, &pruned, WARNING, "prune the audit log") && pruned > 0)
		CHECK_FOR_INTERRUPTS();
	pgstat_report_activity(STATE_RUNNING, "cauce keys");
	(void) AttemptDuty(Extend, NULL, WARNING, "extend the keyring");
	(void) AttemptDuty(MoveOverdue, visit, WARNING, "move data keys out of ended epochs");
	(void) AttemptDuty(MoveMasters, NULL, WARNING, "wrap data keys under the master key in use");
	RotationRun(retention_batch);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/*
 * UpkeepHoldSettings keeps settings of the database or the role, which its owner may make, from
 * standing in the way.
 */
void
UpkeepHoldSettings(void)
{
	SetConfigOption("default_transaction_read_only", "off", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_isolation", "read committed", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_deferrable", "off", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("statement_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("lock_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("row_security", "on", PGC_SUSET, PGC_S_OVERRIDE);
}

/* cauce_retention_main is the worker of one database. */
void
cauce_retention_main(Datum argument)
{
	static const KeyringNeeds nothing = {0};
	Visit visit;

	memcpy(&visit, MyBgworkerEntry->bgw_extra, sizeof(visit));
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(argument), InvalidOid, 0);
	UpkeepHoldSettings();
	if (!UpkeepHasExtension())
	{
		SharedAnswer(DatumGetObjectId(argument), &nothing);
		return;
	}
	if (!RecoveryInProgress())
	{
		(void) AttemptDuty(NoteClock, NULL, WARNING, "look at the clock");
		RunBatches();
		LookAfterKeys(&visit);
	}
	if (visit.report)
		(void) AttemptDuty(Report, &visit, LOG, "tell which keys of the keyring are needed");
	if (!RecoveryInProgress())
		HandoverRun(); /* the last: storage may take its time, and the launcher has its answer */
}
