/*
 * sandbox.c
 *	  Enters the layers, in the order in which each can still be entered.
 */
#include "sandbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "landlock.h"
#include "report.h"
#include "syscalls.h"
#include "trials.h"

static int landlockAbi = 0;
static bool resident = false;

int
SandboxLandlock(void)
{
	return landlockAbi;
}

bool
SandboxIsResident(void)
{
	return resident;
}

/* MayLockAll tells whether no limit of locked memory holds, and lifts the one there is if it can. */
static bool
MayLockAll(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};
	struct rlimit any = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};

	if (syscall(SYS_capget, &header, data) == 0 &&
		(data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective & CAP_TO_MASK(CAP_IPC_LOCK)) != 0)
		return true;
	return setrlimit(RLIMIT_MEMLOCK, &any) == 0;
}

/*
 * KeepResident has the kernel swap nothing out. Under a limit it would have memory refused that exceeds it, and so is
 * left out there. Stacks and heaps are mapped far larger than they are used: a page is locked when it is touched.
 */
static void
KeepResident(void)
{
	resident = MayLockAll() && mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0;
}

static bool
ForbidResource(int resource, const char *name)
{
	struct rlimit limit = {.rlim_cur = 0, .rlim_max = 0};

	if (setrlimit(resource, &limit) != 0 || getrlimit(resource, &limit) != 0)
	{
		Report("cannot set %s to 0: %s", name, strerror(errno));
		return false;
	}
	if (limit.rlim_cur != 0 || limit.rlim_max != 0)
	{
		Report("%s is not 0 after it was set to 0", name);
		return false;
	}
	return true;
}

/*
 * A write to a file then fails with EFBIG. The signal that comes with it would end the process
 * and take recognised text along, only because some library tried to log: it is ignored, and
 * the write fails all the same.
 */
static bool
IgnoreFileSizeSignal(void)
{
	struct sigaction action = {.sa_handler = SIG_IGN};

	if (sigaction(SIGXFSZ, &action, NULL) != 0)
	{
		Report("cannot ignore SIGXFSZ: %s", strerror(errno));
		return false;
	}
	return true;
}

static bool
ForbidInspection(void)
{
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
	{
		Report("cannot make the process undumpable: %s", strerror(errno));
		return false;
	}
	return true;
}

/* MayStayOpen tells whether nothing can be kept by way of a descriptor. */
static bool
MayStayOpen(int descriptor)
{
	struct stat status;
	int flags = fcntl(descriptor, F_GETFL);

	if (flags < 0 || fstat(descriptor, &status) != 0)
		return false;
	if ((flags & O_ACCMODE) == O_RDONLY)
		return true;
	if (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode) || S_ISBLK(status.st_mode))
		return false;
	return true;
}

/* CallForEach calls a function with each name in a directory that is a number; false stops. */
static bool
CallForEach(const char *path, bool (*take)(int number, int directory))
{
	DIR *directory = opendir(path);
	struct dirent *entry;
	bool taken = directory != NULL;

	while (taken && (entry = readdir(directory)) != NULL)
	{
		if (entry->d_name[0] != '.')
			taken = take(atoi(entry->d_name), dirfd(directory));
	}
	if (directory != NULL)
		closedir(directory);
	return taken;
}

static bool
AuditDescriptor(int number, int directory)
{
	if (number == directory || MayStayOpen(number))
		return true;
	Report("descriptor %d is a file that could be written; it must not be inherited", number);
	return false;
}

static int threadCount;

static bool
CountThread(int number, int directory)
{
	(void) number;
	(void) directory;
	threadCount++;
	return true;
}

/* IsSingle makes sure that there is no thread which would stay outside. */
static bool
IsSingle(void)
{
	threadCount = 0;
	if (CallForEach("/proc/self/task", CountThread) && threadCount == 1)
		return true;
	Report("the sandbox cannot be entered: there are %d threads", threadCount);
	return false;
}

static bool
EnterLandlock(void)
{
	landlockAbi = LandlockEnter();
	if (landlockAbi == 0)
		Report("event=sandbox landlock=none: this kernel has none; seccomp forbids the same");
	return landlockAbi >= 0;
}

bool
SandboxEnter(bool print)
{
	KeepResident();
	return IsSingle() && CallForEach("/proc/self/fd", AuditDescriptor) && IgnoreFileSizeSignal() &&
		   ForbidResource(RLIMIT_FSIZE, "RLIMIT_FSIZE") &&
		   ForbidResource(RLIMIT_CORE, "RLIMIT_CORE") && ForbidInspection() && EnterLandlock() &&
		   TrialsRun(TRIALS_LANDLOCK, landlockAbi, print) && SyscallsRestrict() &&
		   TrialsRun(TRIALS_ALL, landlockAbi, print);
}
