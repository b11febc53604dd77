/*
 * witness.c
 *		The process that writes audit entries in transactions of its own.
 *
 *		backend   free slot ─► ASKED ───────────────────────────────► WRITTEN or FAILED ─► free
 *		writer            ASKED ─► all of this database in one transaction ─┘
 *
 * A slot whose backend does not wait, or has stopped waiting, is freed by the writer. The
 * writer may fail on many together because of one of them: it then tries one by one.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "libpq/libpq-be.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "tcop/tcopprot.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "duty.h"
#include "identity.h"
#include "upkeep.h"
#include "witness.h"

/* Entries under way at once, in all databases; who finds none free waits. Refusals take half of them at most. */
#define SLOTS 128
#define SLOTS_OF_REFUSALS (SLOTS / 2)
#define WRITERS 64

/* How long a backend waits for its entry to be committed, and a writer for entries. */
#define PATIENCE_MS 10000
#define IDLE_MS 4000 /* DROP DATABASE waits for five seconds */
#define RETRY_MS 20

/* Refusals in a minute that are written one by one. */
#define REFUSALS_A_MINUTE 30

typedef enum SlotState
{
	SLOT_FREE,
	SLOT_ASKED,
	SLOT_WRITTEN,
	SLOT_FAILED
} SlotState;

typedef struct Slot
{
	SlotState state;
	bool awaited;
	Oid database;
	ConditionVariable settled;
	AuditEntry entry;
} Slot;

/* A database's writer; pid is 0 while it starts. */
typedef struct Writer
{
	Oid database; /* InvalidOid: nobody's */
	pid_t pid;
	TimestampTz asked_for; /* when it was last asked to start */
} Writer;

typedef struct Witness
{
	LWLock *lock;
	ConditionVariable work;
	TimestampTz minute; /* that refusals are counted in */
	int refusals;
	uint64 unwritten;
	Writer writers[WRITERS];
	Slot slots[SLOTS];
} Witness;

static Witness *witness = NULL;
static shmem_request_hook_type next_request = NULL;
static shmem_startup_hook_type next_startup = NULL;

/* RequestMemory reserves it, and a lock. */
static void
RequestMemory(void)
{
	if (next_request != NULL)
		next_request();
	RequestAddinShmemSpace(MAXALIGN(sizeof(Witness)));
	RequestNamedLWLockTranche("cauce witness", 1);
}

/* PrepareMemory makes it, once for the server, again after a crash. */
static void
PrepareMemory(void)
{
	bool found;

	if (next_startup != NULL)
		next_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	witness = ShmemInitStruct("cauce witness", sizeof(Witness), &found);
	if (!found)
	{
		memset(witness, 0, sizeof(*witness));
		witness->lock = &GetNamedLWLockTranche("cauce witness")->lock;
		ConditionVariableInit(&witness->work);
		for (int i = 0; i < SLOTS; i++)
			ConditionVariableInit(&witness->slots[i].settled);
	}
	LWLockRelease(AddinShmemInitLock);
}

/* WitnessInit asks for shared memory. */
void
WitnessInit(void)
{
	next_request = shmem_request_hook;
	shmem_request_hook = RequestMemory;
	next_startup = shmem_startup_hook;
	shmem_startup_hook = PrepareMemory;
}

/* IsVacant tells a place that is nobody's, or whose writer was asked for and never came. With the lock held. */
static bool
IsVacant(const Writer *writer)
{
	return writer->database == InvalidOid ||
		   (writer->pid == 0 &&
			TimestampDifferenceExceeds(writer->asked_for, GetCurrentTimestamp(), PATIENCE_MS));
}

/* FindWriter is the place of a database's writer, or of a new one; NULL when there are too many. With the lock held. */
static Writer *
FindWriter(Oid database)
{
	Writer *vacant = NULL;

	for (int i = 0; i < WRITERS; i++)
	{
		if (witness->writers[i].database == database)
			return &witness->writers[i];
		if (vacant == NULL && IsVacant(&witness->writers[i]))
			vacant = &witness->writers[i];
	}
	if (vacant != NULL)
	{
		memset(vacant, 0, sizeof(*vacant));
		vacant->database = database;
	}
	return vacant;
}

/* NeedsWriter tells whether the caller is the one to start the database's writer. */
static bool
NeedsWriter(void)
{
	TimestampTz now = GetCurrentTimestamp();
	Writer *writer;
	bool needed;

	LWLockAcquire(witness->lock, LW_EXCLUSIVE);
	writer = FindWriter(MyDatabaseId);
	needed = writer != NULL && writer->pid == 0 &&
			 TimestampDifferenceExceeds(writer->asked_for, now, PATIENCE_MS / 10);
	if (needed)
		writer->asked_for = now;
	LWLockRelease(witness->lock);
	return needed;
}

/* StartWriter starts this database's writer unless it is there; false when there is no room for it. */
static bool
StartWriter(void)
{
	BackgroundWorker worker = {0};
	BackgroundWorkerHandle *handle;

	if (!NeedsWriter())
		return true;
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = ObjectIdGetDatum(MyDatabaseId);
	strlcpy(worker.bgw_library_name, "cauce", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "cauce_witness_main", BGW_MAXLEN);
	snprintf(worker.bgw_name, BGW_MAXLEN, "cauce audit writer for database %u", MyDatabaseId);
	strlcpy(worker.bgw_type, "cauce audit writer", BGW_MAXLEN);
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		return false;
	pfree(handle);
	return true;
}

/* TakeSlot hands an entry over; NULL when no slot is free. */
static Slot *
TakeSlot(const AuditEntry *entry, bool awaited)
{
	int room = awaited ? SLOTS : SLOTS_OF_REFUSALS;
	Slot *slot = NULL;

	LWLockAcquire(witness->lock, LW_EXCLUSIVE);
	for (int i = 0; i < room && slot == NULL; i++)
	{
		if (witness->slots[i].state == SLOT_FREE)
			slot = &witness->slots[i];
	}
	if (slot != NULL)
	{
		slot->state = SLOT_ASKED;
		slot->awaited = awaited;
		slot->database = MyDatabaseId;
		slot->entry = *entry;
	}
	LWLockRelease(witness->lock);
	if (slot != NULL)
		ConditionVariableBroadcast(&witness->work);
	return slot;
}

/* LeaveSlot frees a slot, or leaves it to the writer; gives its state. */
static SlotState
LeaveSlot(Slot *slot)
{
	SlotState state;

	LWLockAcquire(witness->lock, LW_EXCLUSIVE);
	state = slot->state;
	slot->awaited = false;
	if (state != SLOT_ASKED)
		slot->state = SLOT_FREE;
	LWLockRelease(witness->lock);
	return state;
}

/* AbandonSlot is LeaveSlot where the backend does not come back: an error, or its end. */
static void
AbandonSlot(int code, Datum slot)
{
	(void) LeaveSlot((Slot *) DatumGetPointer(slot));
}

/* IsSettled reads a slot's state. */
static bool
IsSettled(Slot *slot)
{
	bool settled;

	LWLockAcquire(witness->lock, LW_SHARED);
	settled = slot->state != SLOT_ASKED;
	LWLockRelease(witness->lock);
	return settled;
}

/* RefuseUnwritten raises: without its entry nothing may happen. */
static void
RefuseUnwritten(int sqlstate, const char *detail, const char *hint)
{
	ereport(ERROR, (errcode(sqlstate), errmsg("the audit log could not be written"),
					errdetail("%s", detail), errhint("%s", hint)));
}

/* RequireWriter starts the writer, or raises. */
static void
RequireWriter(void)
{
	if (!StartWriter())
		RefuseUnwritten(ERRCODE_INSUFFICIENT_RESOURCES,
						"No background worker slot is free for its writer.",
						"Raise max_worker_processes.");
}

/* AwaitSlot waits until the entry is committed, or for so long. */
static void
AwaitSlot(Slot *slot, TimestampTz deadline)
{
	ConditionVariablePrepareToSleep(&slot->settled);
	while (!IsSettled(slot) && GetCurrentTimestamp() < deadline)
	{
		RequireWriter(); /* it may have left, or died */
		(void) ConditionVariableTimedSleep(&slot->settled, PATIENCE_MS / 10, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

/* TakeSlotPatiently waits for a free slot. */
static Slot *
TakeSlotPatiently(const AuditEntry *entry, TimestampTz deadline)
{
	Slot *slot;

	while ((slot = TakeSlot(entry, true)) == NULL && GetCurrentTimestamp() < deadline)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, RETRY_MS,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return slot;
}

/* WitnessCommit has an entry written, and waits for it. */
void
WitnessCommit(const AuditEntry *entry)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PATIENCE_MS);
	SlotState state = SLOT_ASKED;
	Slot *slot;

	if (RecoveryInProgress())
		RefuseUnwritten(ERRCODE_READ_ONLY_SQL_TRANSACTION, "This server is a standby.",
						"Read it on the primary.");
	slot = TakeSlotPatiently(entry, deadline);
	if (slot != NULL)
	{
		PG_ENSURE_ERROR_CLEANUP(AbandonSlot, PointerGetDatum(slot));
		{
			AwaitSlot(slot, deadline);
		}
		PG_END_ENSURE_ERROR_CLEANUP(AbandonSlot, PointerGetDatum(slot));
		state = LeaveSlot(slot);
	}
	if (state == SLOT_ASKED)
		RefuseUnwritten(
			ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
			"Its writer has not answered within ten seconds.",
			"Look for \"cauce audit writer\" in the server log and in pg_stat_activity.");
	if (state == SLOT_FAILED)
		RefuseUnwritten(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "Its writer has failed.",
						"The server log says how.");
}

/* MayWrite counts a refusal, and tells whether it is to be written by itself. */
static bool
MayWrite(void)
{
	TimestampTz now = GetCurrentTimestamp();
	bool may;

	LWLockAcquire(witness->lock, LW_EXCLUSIVE);
	if (TimestampDifferenceExceeds(witness->minute, now, SECS_PER_MINUTE * 1000))
	{
		witness->minute = now;
		witness->refusals = 0;
	}
	may = witness->refusals++ < REFUSALS_A_MINUTE;
	if (!may)
		witness->unwritten++;
	LWLockRelease(witness->lock);
	return may;
}

/*
 * CopySubject copies a subject, which is UTF-8. A database of another encoding gets its ASCII: to
 * convert what it may not know would raise.
 */
static void
CopySubject(const char *subject, char *into)
{
	strlcpy(into, subject, AUDIT_MAX_ACTOR);
	for (char *c = into; *c != '\0' && GetDatabaseEncoding() != PG_UTF8; c++)
		*c = IS_HIGHBIT_SET(*c) ? '?' : *c;
}

/*
 * WitnessRefusal hands a refusal on. Where no process can be started the entry waits for the
 * next one that is.
 */
void
WitnessRefusal(const char *subject, const char *reason)
{
	AuditEntry entry;

	if (witness == NULL || !OidIsValid(MyDatabaseId) || RecoveryInProgress() || !MayWrite())
		return;
	AuditFill(&entry, NULL, NULL, NULL, "refuse", reason);
	if (subject == NULL && MyProcPort != NULL)
		strlcpy(entry.actor, MyProcPort->user_name, AUDIT_MAX_ACTOR);
	if (subject != NULL)
		CopySubject(subject, entry.actor);
	strlcpy(entry.role, subject != NULL ? "subject" : "role", AUDIT_MAX_ROLE);
	if (TakeSlot(&entry, false) == NULL)
	{
		LWLockAcquire(witness->lock, LW_EXCLUSIVE);
		witness->unwritten++;
		LWLockRelease(witness->lock);
	}
	(void) StartWriter();
}

/* What the writer took on. */
typedef struct Batch
{
	int count;
	int slots[SLOTS];
	uint64 unwritten; /* refusals that are only counted */
	AuditEntry entries[SLOTS + 1];
} Batch;

/*
 * TakeBatch reads what is asked for in this database; at a minute's end, or before the writer
 * leaves, how many refusals were not written.
 */
static void
TakeBatch(Batch *batch, bool late)
{
	LWLockAcquire(witness->lock, LW_EXCLUSIVE);
	batch->count = 0;
	for (int i = 0; i < SLOTS; i++)
	{
		if (witness->slots[i].state != SLOT_ASKED || witness->slots[i].database != MyDatabaseId)
			continue;
		batch->entries[batch->count] = witness->slots[i].entry;
		batch->slots[batch->count++] = i;
	}
	batch->unwritten = 0;
	if (witness->unwritten > 0 &&
		(late || TimestampDifferenceExceeds(witness->minute, GetCurrentTimestamp(),
											SECS_PER_MINUTE * 1000)))
	{
		batch->unwritten = witness->unwritten;
		witness->unwritten = 0;
	}
	LWLockRelease(witness->lock);
}

/* Settle tells a backend what became of its entry. */
static void
Settle(int slot, SlotState state)
{
	Slot *settled = &witness->slots[slot];

	LWLockAcquire(witness->lock, LW_EXCLUSIVE);
	settled->state = settled->awaited ? state : SLOT_FREE;
	LWLockRelease(witness->lock);
	ConditionVariableBroadcast(&settled->settled);
}

/* Entries that one transaction writes. */
typedef struct Share
{
	AuditEntry *entries;
	int count;
} Share;

/* WriteShare is the duty to write them. */
static void
WriteShare(void *argument)
{
	Share *share = argument;

	AuditAppend(share->entries, share->count);
}

/* AttemptShare writes entries in one transaction. */
static bool
AttemptShare(AuditEntry *entries, int count, int elevel)
{
	Share share = {entries, count};

	return AttemptDuty(WriteShare, &share, elevel, "write the audit log");
}

/* WriteBatch writes all that was taken on, together or else one by one. */
static void
WriteBatch(Batch *batch)
{
	bool together = batch->count > 1 && AttemptShare(batch->entries, batch->count, DEBUG1);

	for (int i = 0; i < batch->count; i++)
	{
		bool written = together || AttemptShare(&batch->entries[i], 1, WARNING);

		Settle(batch->slots[i], written ? SLOT_WRITTEN : SLOT_FAILED);
	}
}

/* WriteUnwritten tells of refusals that were only counted. */
static void
WriteUnwritten(uint64 unwritten)
{
	AuditEntry entry;
	char reason[AUDIT_MAX_REASON];

	snprintf(reason, sizeof(reason), UINT64_FORMAT " more identities were refused on this server",
			 unwritten);
	AuditFill(&entry, NULL, NULL, NULL, "refuse", reason);
	AuditActor(&entry);
	(void) AttemptShare(&entry, 1, WARNING);
}

/* Leave gives the place of the database's writer up. */
static void
Leave(int code, Datum arg)
{
	LWLockAcquire(witness->lock, LW_EXCLUSIVE);
	for (int i = 0; i < WRITERS; i++)
	{
		if (witness->writers[i].pid == MyProcPid)
			memset(&witness->writers[i], 0, sizeof(Writer));
	}
	LWLockRelease(witness->lock);
}

/* Begin takes the place of this database's writer; false when there is one. */
static bool
Begin(void)
{
	Writer *writer;
	bool mine;

	LWLockAcquire(witness->lock, LW_EXCLUSIVE);
	writer = FindWriter(MyDatabaseId);
	mine = writer != NULL && writer->pid == 0;
	if (mine)
		writer->pid = MyProcPid;
	LWLockRelease(witness->lock);
	if (mine)
		before_shmem_exit(Leave, (Datum) 0);
	return mine;
}

/* MayLeave gives the place up unless somebody has asked for something meanwhile. */
static bool
MayLeave(void)
{
	bool idle = true;

	LWLockAcquire(witness->lock, LW_EXCLUSIVE);
	for (int i = 0; i < SLOTS && idle; i++)
		idle = witness->slots[i].state != SLOT_ASKED || witness->slots[i].database != MyDatabaseId;
	for (int i = 0; i < WRITERS && idle; i++)
	{
		if (witness->writers[i].pid == MyProcPid)
			memset(&witness->writers[i], 0, sizeof(Writer));
	}
	LWLockRelease(witness->lock);
	return idle;
}

/* Write writes until nothing has been asked for in a while. */
static void
Write(void)
{
	static Batch batch;
	bool late = false;

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		TakeBatch(&batch, late);
		if (batch.count == 0 && batch.unwritten == 0)
		{
			if (late && MayLeave())
				return;
			late = ConditionVariableTimedSleep(&witness->work, IDLE_MS, PG_WAIT_EXTENSION);
			continue;
		}
		pgstat_report_activity(STATE_RUNNING, "cauce audit");
		WriteBatch(&batch);
		if (batch.unwritten > 0)
			WriteUnwritten(batch.unwritten);
		pgstat_report_stat(true);
		pgstat_report_activity(STATE_IDLE, NULL);
		late = false;
	}
}

/* DropBatch frees the slots of a database that has no audit log. */
static void
DropBatch(void)
{
	static Batch batch;

	TakeBatch(&batch, false);
	for (int i = 0; i < batch.count; i++)
		Settle(batch.slots[i], SLOT_FAILED);
}

/* cauce_witness_main is the writer. */
void
cauce_witness_main(Datum argument)
{
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(argument), InvalidOid, 0);
	UpkeepHoldSettings();
	if (!Begin())
		return;
	if (UpkeepHasExtension())
		Write();
	else
		DropBatch();
	ConditionVariableCancelSleep();
}
