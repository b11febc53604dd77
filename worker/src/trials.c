/*
 * trials.c
 *	  Each trial does what the worker must not be able to do.
 *
 * A trial passes only if the kernel says that it is not allowed: another error, of a file that is not
 * there or an argument that makes no sense, would mean that the rule did not hold and the trial failed
 * for a reason of its own. What a trial works on is therefore often nothing: no harm is done where there is
 * no rule.
 */
#include "trials.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "report.h"

#define NOTHING "/tmp/.cauce-worker-trial"
#define PAGE 4096

/* Each returns -1 and sets errno, or something else if it was let. */

static long
Unlock(void)
{
	return munlockall();
}

static long
CreateIn(const char *path)
{
	int descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (descriptor < 0)
		return -1;
	close(descriptor);
	unlink(path);
	return 0;
}

static long
CreateInTmp(void)
{
	return CreateIn(NOTHING);
}

static long
CreateInShm(void)
{
	return CreateIn("/dev/shm/.cauce-worker-trial");
}

static long
CreateHere(void)
{
	return CreateIn(".cauce-worker-trial");
}

static long
CreateNameless(void)
{
	int descriptor = open("/tmp", O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600);

	if (descriptor >= 0)
		close(descriptor);
	return descriptor;
}

/* A file that everybody may write whose it is. */
static long
OpenForWriting(void)
{
	int descriptor = open("/proc/self/comm", O_WRONLY | O_CLOEXEC);

	if (descriptor >= 0)
		close(descriptor);
	return descriptor;
}

static long
MakeDirectory(void)
{
	int made = mkdir(NOTHING, 0700);

	if (made == 0)
		rmdir(NOTHING);
	return made;
}

static long
MakePipe(void)
{
	int made = mkfifo(NOTHING, 0600);

	if (made == 0)
		unlink(NOTHING);
	return made;
}

static long
MakeLink(void)
{
	int made = symlink("nowhere", NOTHING);

	if (made == 0)
		unlink(NOTHING);
	return made;
}

static long
MakeSocket(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = NOTHING};
	int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int made = bind(descriptor, (struct sockaddr *) &address, sizeof(address));
	int problem = errno;

	close(descriptor);
	if (made == 0)
		unlink(NOTHING);
	errno = problem;
	return made;
}

static long
Truncate(void)
{
	return truncate(NOTHING, 0);
}

static long
TruncateOpen(void)
{
	return ftruncate(-1, 0);
}

static long
Allocate(void)
{
	return syscall(SYS_fallocate, -1, 0, 0L, 1L);
}

static long
SetAttribute(void)
{
	return syscall(SYS_setxattr, NOTHING, "user.x", "x", 1, 0);
}

static long
SetMode(void)
{
	return chmod(NOTHING, 0600);
}

static long
SetTime(void)
{
	return utimensat(AT_FDCWD, NOTHING, NULL, 0);
}

static long
Rename(void)
{
	return rename(NOTHING, NOTHING "2");
}

static long
Link(void)
{
	return link(NOTHING, NOTHING "2");
}

static long
Remove(void)
{
	return unlink(NOTHING);
}

static long
MakeMemoryFile(void)
{
	int descriptor = (int) syscall(SYS_memfd_create, "trial", MFD_CLOEXEC);

	if (descriptor >= 0)
		close(descriptor);
	return descriptor;
}

static long
ShareMemory(void)
{
	return syscall(SYS_shmget, 0, 0UL, 0);
}

static long
QueueMessages(void)
{
	return syscall(SYS_msgget, 1, 0);
}

static long
QueuePosixMessages(void)
{
	return syscall(SYS_mq_open, "trial", O_RDONLY, 0, NULL);
}

static long
UseRing(void)
{
	return syscall(SYS_io_uring_setup, 0, NULL);
}

static long
Splice(void)
{
	return syscall(SYS_splice, -1, NULL, -1, NULL, 1UL, 0);
}

static long
CopyRange(void)
{
	return syscall(SYS_copy_file_range, -1, NULL, -1, NULL, 1UL, 0);
}

static long
SendFile(void)
{
	return syscall(SYS_sendfile, -1, -1, NULL, 1UL);
}

static long
RunProgram(void)
{
	return execve(NOTHING, (char *[]){NULL}, (char *[]){NULL});
}

static long
Fork(void)
{
	long child = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);

	if (child == 0)
		_exit(0);
	if (child > 0)
		waitpid((pid_t) child, NULL, 0);
	return child;
}

static long
Trace(void)
{
	return syscall(SYS_ptrace, 0x4206L /* PTRACE_SEIZE */, 0, NULL, NULL);
}

static long
WriteElsewhere(void)
{
	return syscall(SYS_process_vm_writev, 0, NULL, 0UL, NULL, 0UL, 0UL);
}

static long
SendSignal(void)
{
	return kill(getppid(), 0);
}

static long
MapCode(void)
{
	void *code = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (code == MAP_FAILED)
		return -1;
	munmap(code, PAGE);
	return 0;
}

static long
OpenPort(void)
{
	struct sockaddr_storage address = {.ss_family = AF_INET};
	int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int bound = bind(descriptor, (struct sockaddr *) &address, sizeof(address));
	int problem = errno;

	close(descriptor);
	errno = problem;
	return bound;
}

static long
OpenRawSocket(void)
{
	int descriptor = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (descriptor >= 0)
		close(descriptor);
	return descriptor;
}

static long
RaiseLimit(void)
{
	struct rlimit limit = {.rlim_cur = 0, .rlim_max = 0};

	return setrlimit(RLIMIT_FSIZE, &limit);
}

static long
BeDumpable(void)
{
	return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

/* The limits themselves: a core that is dumped would end the process, so that they are only looked at. */
static long
DumpCore(void)
{
	struct rlimit core;
	struct rlimit size;

	errno = EPERM;
	if (getrlimit(RLIMIT_CORE, &core) != 0 || getrlimit(RLIMIT_FSIZE, &size) != 0)
		return 0;
	return core.rlim_max != 0 || size.rlim_max != 0 || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0 ? 0
																							   : -1;
}

typedef struct Trial
{
	const char *name;
	long (*run)(void);
	int abi; /* Landlock's version that forbids it, or 0 */
} Trial;

static const Trial trials[] = {{"create a file in /tmp", CreateInTmp, 1},
							   {"create a file in /dev/shm", CreateInShm, 1},
							   {"create a file in the working directory", CreateHere, 1},
							   {"create a file without a name", CreateNameless, 1},
							   {"open a file for writing", OpenForWriting, 1},
							   {"make a directory", MakeDirectory, 1},
							   {"make a named pipe", MakePipe, 1},
							   {"make a symbolic link", MakeLink, 1},
							   {"make a socket in the file system", MakeSocket, 1},
							   {"listen at another port", OpenPort, 4},
							   {"truncate a file", Truncate, 0},
							   {"truncate an open file", TruncateOpen, 0},
							   {"allocate room in a file", Allocate, 0},
							   {"set an attribute of a file", SetAttribute, 0},
							   {"set the mode of a file", SetMode, 0},
							   {"set the time of a file", SetTime, 0},
							   {"rename a file", Rename, 0},
							   {"link a file", Link, 0},
							   {"remove a file", Remove, 0},
							   {"make a file in memory", MakeMemoryFile, 0},
							   {"share memory (System V)", ShareMemory, 0},
							   {"queue messages (System V)", QueueMessages, 0},
							   {"queue messages (POSIX)", QueuePosixMessages, 0},
							   {"use io_uring", UseRing, 0},
							   {"splice to a file", Splice, 0},
							   {"copy a range of a file", CopyRange, 0},
							   {"send a file to a file", SendFile, 0},
							   {"run a program", RunProgram, 0},
							   {"fork", Fork, 0},
							   {"trace a process", Trace, 0},
							   {"write another process's memory", WriteElsewhere, 0},
							   {"send a signal to another process", SendSignal, 0},
							   {"map memory that can be executed", MapCode, 0},
							   {"open a raw socket", OpenRawSocket, 0},
							   {"change the limit of files", RaiseLimit, 0},
							   {"become dumpable", BeDumpable, 0},
							   {"let its memory be swapped out", Unlock, 0},
							   {"dump core, or write a file's end", DumpCore, 0}};

/*
 * IsDenial tells whether an error is that of a layer. Landlock says EACCES, and a file system that is
 * read-only for all comes before it; seccomp says EPERM, before any file system or Landlock is asked.
 */
static bool
IsDenial(TrialsLayer layer, int problem)
{
	if (layer == TRIALS_ALL)
		return problem == EPERM;
	return problem == EACCES || problem == EPERM || problem == EROFS;
}

/* Try runs one; returns whether it was denied. */
static bool
Try(const Trial *trial, TrialsLayer layer, bool print)
{
	const char *name = layer == TRIALS_LANDLOCK ? "landlock" : "seccomp";
	long result;
	int problem;
	bool denied;

	errno = 0;
	result = trial->run();
	problem = errno;
	denied = result == -1 && IsDenial(layer, problem);
	if (print)
		printf("%-9s  %-40s  %s\n", trial->run == DumpCore ? "limits" : name, trial->name,
			   denied		  ? "denied"
			   : result == -1 ? strerror(problem)
							  : "DONE");
	if (!denied)
		Report("the sandbox has a hole: the worker can %s (%s)", trial->name,
			   result == -1 ? strerror(problem) : "it did");
	return denied;
}

bool
TrialsRun(TrialsLayer layer, int abi, bool print)
{
	bool held = true;
	size_t i;

	if (print && layer == TRIALS_LANDLOCK && abi == 0)
		printf("landlock   this kernel has none\n");
	for (i = 0; i < sizeof(trials) / sizeof(trials[0]); i++)
	{
		const Trial *trial = &trials[i];

		if (layer == TRIALS_LANDLOCK && (trial->abi == 0 || trial->abi > abi))
			continue;
		held = Try(trial, layer, print) && held;
	}
	return held && (!print || fflush(stdout) == 0);
}
