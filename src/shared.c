/*
 * shared.c
 *		The module's shared memory.
 */
#include "postgres.h"

#include <time.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/timestamp.h"

#include "shared.h"

/* So many databases tell once that the clock is held; any more each time. */
#define TOLD_MAX 64

typedef struct Shared
{
	pg_atomic_uint64 keyring_changes;
	slock_t lock; /* of what follows */
	Latch *launcher;
	bool wake;
	Oid asked; /* the database that is to answer */
	bool answered;
	KeyringNeeds needs;
	TimestampTz no_worker_since; /* 0: the last pass found worker slots */
	TimestampTz clock_began; /* of the calendar clock */
	bool clock_jumped;
	int64 clock_boot; /* the time since boot then, in microseconds */
	int told_count; /* databases that have told of the clock since it began */
	Oid told[TOLD_MAX];
	pg_atomic_uint32 logins[FLEXIBLE_ARRAY_MEMBER]; /* by place in the array of processes */
} Shared;

static Shared *shared = NULL;
static bool wake_at_commit = false;
static shmem_request_hook_type next_request = NULL;
static shmem_startup_hook_type next_startup = NULL;

/* SharedBytes is how much it takes. */
static Size
SharedBytes(void)
{
	return add_size(offsetof(Shared, logins), mul_size(MaxBackends, sizeof(pg_atomic_uint32)));
}

/* SinceBoot is the time since boot, suspension included, in microseconds. */
static int64
SinceBoot(void)
{
	struct timespec time = {0};

	(void) clock_gettime(CLOCK_BOOTTIME, &time);
	return (int64) time.tv_sec * USECS_PER_SEC + time.tv_nsec / 1000;
}

/* RequestMemory reserves it. */
static void
RequestMemory(void)
{
	if (next_request != NULL)
		next_request();
	RequestAddinShmemSpace(MAXALIGN(SharedBytes()));
}

/* PrepareMemory makes it, once for the server, again after a crash. */
static void
PrepareMemory(void)
{
	bool found;

	if (next_startup != NULL)
		next_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("cauce", SharedBytes(), &found);
	if (!found)
	{
		memset(shared, 0, SharedBytes());
		pg_atomic_init_u64(&shared->keyring_changes, 0);
		SpinLockInit(&shared->lock);
		shared->clock_began = GetCurrentTimestamp();
		shared->clock_boot = SinceBoot();
		for (int i = 0; i < MaxBackends; i++)
			pg_atomic_init_u32(&shared->logins[i], 0);
	}
	LWLockRelease(AddinShmemInitLock);
}

/* WakeLauncher sets the flag and the latch. */
static void
WakeLauncher(void)
{
	Latch *launcher;

	SpinLockAcquire(&shared->lock);
	shared->wake = true;
	launcher = shared->launcher;
	SpinLockRelease(&shared->lock);
	if (launcher != NULL)
		SetLatch(launcher);
}

/* EndTransaction wakes the launcher if the transaction wants it. */
static void
EndTransaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT && wake_at_commit)
		WakeLauncher();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		wake_at_commit = false;
}

/* SharedInit asks for the memory. */
void
SharedInit(void)
{
	next_request = shmem_request_hook;
	shmem_request_hook = RequestMemory;
	next_startup = shmem_startup_hook;
	shmem_startup_hook = PrepareMemory;
	RegisterXactCallback(EndTransaction, NULL);
}

/* SharedKeyringChanged counts. */
void
SharedKeyringChanged(void)
{
	pg_atomic_fetch_add_u64(&shared->keyring_changes, 1);
}

/* SharedKeyringChanges reads the counter. */
uint64
SharedKeyringChanges(void)
{
	return pg_atomic_read_u64(&shared->keyring_changes);
}

/* ForgetLauncher: its latch is somebody else's from now on. */
static void
ForgetLauncher(int code, Datum arg)
{
	SpinLockAcquire(&shared->lock);
	shared->launcher = NULL;
	SpinLockRelease(&shared->lock);
}

/* SharedLauncherIs remembers the launcher's latch. */
void
SharedLauncherIs(void)
{
	SpinLockAcquire(&shared->lock);
	shared->launcher = &MyProc->procLatch;
	SpinLockRelease(&shared->lock);
	before_shmem_exit(ForgetLauncher, (Datum) 0);
}

/* SharedWakeAtCommit remembers it. */
void
SharedWakeAtCommit(void)
{
	wake_at_commit = true;
}

/* SharedWakeTaken reads and clears the flag. */
bool
SharedWakeTaken(void)
{
	bool wake;

	SpinLockAcquire(&shared->lock);
	wake = shared->wake;
	shared->wake = false;
	SpinLockRelease(&shared->lock);
	return wake;
}

/* LoginSlot is where a process tells; NULL for one that has no client. */
static pg_atomic_uint32 *
LoginSlot(const PGPROC *process)
{
	ptrdiff_t place = process != NULL ? process - ProcGlobal->allProcs : -1;

	return place >= 0 && place < MaxBackends ? &shared->logins[place] : NULL;
}

/* ForgetLogin: whoever gets this place next is somebody else. */
static void
ForgetLogin(int code, Datum arg)
{
	SharedLoginIs(0);
}

/* SharedLoginIs tells. */
void
SharedLoginIs(int channel)
{
	static bool told = false;
	pg_atomic_uint32 *slot = LoginSlot(MyProc);

	if (slot == NULL || (channel == 0 && !told))
		return;
	if (!told)
		before_shmem_exit(ForgetLogin, (Datum) 0);
	told = true;
	pg_atomic_write_u32(slot, (uint32) channel);
}

/* SharedLoginOf reads. */
int
SharedLoginOf(const PGPROC *leader)
{
	pg_atomic_uint32 *slot = LoginSlot(leader);

	return slot != NULL ? (int) pg_atomic_read_u32(slot) : 0;
}

/* SharedAsk forgets the last answer. */
void
SharedAsk(Oid database)
{
	SpinLockAcquire(&shared->lock);
	shared->asked = database;
	shared->answered = false;
	SpinLockRelease(&shared->lock);
}

/* SharedAnswer leaves the answer, unless it comes too late. */
void
SharedAnswer(Oid database, const KeyringNeeds *needs)
{
	SpinLockAcquire(&shared->lock);
	if (shared->asked == database)
	{
		shared->needs = *needs;
		shared->answered = true;
	}
	SpinLockRelease(&shared->lock);
}

/* SharedAnswered adds it. */
bool
SharedAnswered(KeyringNeeds *needs)
{
	KeyringNeeds answer;
	bool answered;

	SpinLockAcquire(&shared->lock);
	answered = shared->answered;
	answer = shared->needs;
	SpinLockRelease(&shared->lock);
	if (!answered)
		return false;
	needs->everything = needs->everything || answer.everything;
	for (int i = 0; i < answer.epoch_count; i++)
		KeyringNeedsEpoch(needs, answer.epochs[i]);
	for (int i = 0; i < answer.master_count; i++)
		KeyringNeedsMaster(needs, answer.masters[i]);
	return true;
}

/* SharedNoWorker keeps the first time. */
void
SharedNoWorker(bool lacking)
{
	TimestampTz now = GetCurrentTimestamp();

	SpinLockAcquire(&shared->lock);
	if (!lacking)
		shared->no_worker_since = 0;
	else if (shared->no_worker_since == 0)
		shared->no_worker_since = now;
	SpinLockRelease(&shared->lock);
}

/* SharedNoWorkerSince reads it. */
TimestampTz
SharedNoWorkerSince(void)
{
	TimestampTz since;

	SpinLockAcquire(&shared->lock);
	since = shared->no_worker_since;
	SpinLockRelease(&shared->lock);
	return since;
}

/* SharedReadClock compares the calendar with the time since boot. */
void
SharedReadClock(TimestampTz now, SharedClock *clock)
{
	int64 boot = SinceBoot();
	int64 ahead;

	SpinLockAcquire(&shared->lock);
	ahead = now - shared->clock_began - (boot - shared->clock_boot);
	if (ahead > CLOCK_BOUND || ahead < -CLOCK_BOUND)
	{
		shared->clock_began = now;
		shared->clock_jumped = ahead > 0;
		shared->clock_boot = boot;
		shared->told_count = 0;
	}
	clock->began = shared->clock_began;
	clock->jumped = shared->clock_jumped;
	clock->runs = boot - shared->clock_boot;
	SpinLockRelease(&shared->lock);
}

/* SharedTellOfClock notes who has told. */
bool
SharedTellOfClock(Oid database)
{
	bool told = false;

	SpinLockAcquire(&shared->lock);
	for (int i = 0; i < shared->told_count && !told; i++)
		told = shared->told[i] == database;
	if (!told && shared->told_count < TOLD_MAX)
		shared->told[shared->told_count++] = database;
	SpinLockRelease(&shared->lock);
	return !told;
}

/* KeyringNeedsEpoch adds an epoch. */
void
KeyringNeedsEpoch(KeyringNeeds *needs, EpochDay epoch)
{
	if (needs->epoch_count < KEYRING_NEEDS_MAX)
		needs->epochs[needs->epoch_count++] = epoch;
	else
		needs->everything = true;
}

/* KeyringNeedsMaster adds a master key. */
void
KeyringNeedsMaster(KeyringNeeds *needs, uint32 master)
{
	if (needs->master_count < KEYRING_NEEDS_MAX)
		needs->masters[needs->master_count++] = master;
	else
		needs->everything = true;
}

/* KeyringIsNeeded looks. */
bool
KeyringIsNeeded(const KeyringNeeds *needs, const KeyName *name)
{
	if (needs->everything)
		return true;
	for (int i = 0; name->is_epoch && i < needs->epoch_count; i++)
	{
		if (needs->epochs[i] == name->epoch)
			return true;
	}
	for (int i = 0; !name->is_epoch && i < needs->master_count; i++)
	{
		if (needs->masters[i] == name->master)
			return true;
	}
	return false;
}
