/*
 * syscalls.c
 *	  An allow-list for seccomp, made with libseccomp.
 */
#include "syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "report.h"

/* With any argument. */
static const int freely[] = {
	/* what is open already: sockets, pipes, events, files for reading */
	SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(pread64), SCMP_SYS(write), SCMP_SYS(writev),
	SCMP_SYS(close), SCMP_SYS(lseek), SCMP_SYS(fstat), SCMP_SYS(fcntl), SCMP_SYS(poll),
	SCMP_SYS(ppoll), SCMP_SYS(select), SCMP_SYS(pselect6), SCMP_SYS(epoll_create1),
	SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(eventfd2),
	SCMP_SYS(pipe2), SCMP_SYS(dup), SCMP_SYS(getdents64),
	/* the network */
	SCMP_SYS(connect), SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(sendto), SCMP_SYS(sendmsg),
	SCMP_SYS(sendmmsg), SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(recvmmsg),
	SCMP_SYS(shutdown), SCMP_SYS(getsockname), SCMP_SYS(getpeername), SCMP_SYS(getsockopt),
	SCMP_SYS(setsockopt),
	/* looking at files */
	SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(access),
	SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(readlink), SCMP_SYS(readlinkat),
	SCMP_SYS(getcwd), SCMP_SYS(fstatfs), SCMP_SYS(statfs), SCMP_SYS(fadvise64),
	/* memory */
	SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(mlock),
	SCMP_SYS(munlock), SCMP_SYS(mincore), SCMP_SYS(membarrier),
	/* threads and time */
	SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(sched_yield),
	SCMP_SYS(sched_getaffinity), SCMP_SYS(sched_getparam), SCMP_SYS(sched_getscheduler),
	SCMP_SYS(getcpu), SCMP_SYS(nanosleep), SCMP_SYS(clock_nanosleep), SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_getres), SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(exit),
	SCMP_SYS(exit_group), SCMP_SYS(restart_syscall), SCMP_SYS(wait4),
	/* signals, to itself only */
	SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
	SCMP_SYS(rt_sigtimedwait), SCMP_SYS(sigaltstack),
	/* who and where it is */
	SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getppid), SCMP_SYS(getuid), SCMP_SYS(geteuid),
	SCMP_SYS(getgid), SCMP_SYS(getegid), SCMP_SYS(uname), SCMP_SYS(sysinfo), SCMP_SYS(getrandom),
	SCMP_SYS(getrlimit), SCMP_SYS(getrusage)};

/* Families of sockets: the database, clients, names; netlink tells the C library of addresses. */
static const int families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};

static const unsigned long ioctls[] = {FIONREAD, FIONBIO, TCGETS, TIOCGWINSZ};

/* What an open for reading has not. */
#define OPEN_TO_CHANGE                                                                             \
	(O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND | (O_TMPFILE & ~O_DIRECTORY))

#define ALLOW(filter, name, ...)                                                                   \
	(seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(name), __VA_ARGS__) == 0)

static bool
AllowFreely(scmp_filter_ctx filter)
{
	size_t i;

	for (i = 0; i < sizeof(freely) / sizeof(freely[0]); i++)
	{
		if (seccomp_rule_add(filter, SCMP_ACT_ALLOW, freely[i], 0) != 0)
			return false;
	}
	return true;
}

/* AllowByArgument allows those that do harm only with certain arguments. */
static bool
AllowByArgument(scmp_filter_ctx filter, int self)
{
	bool allowed =
		ALLOW(filter, open, 1, SCMP_A1(SCMP_CMP_MASKED_EQ, OPEN_TO_CHANGE, 0)) &&
		ALLOW(filter, openat, 1, SCMP_A2(SCMP_CMP_MASKED_EQ, OPEN_TO_CHANGE, 0)) &&
		ALLOW(filter, mmap, 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)) &&
		ALLOW(filter, mprotect, 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)) &&
		ALLOW(filter, clone, 1, SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD)) &&
		ALLOW(filter, tgkill, 1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t) self)) &&
		/* reading a limit, not setting it */
		ALLOW(filter, prlimit64, 1, SCMP_A2(SCMP_CMP_EQ, 0)) &&
		ALLOW(filter, prctl, 1, SCMP_A0(SCMP_CMP_EQ, PR_GET_DUMPABLE)) &&
		ALLOW(filter, prctl, 1, SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME)) &&
		/* its flags are out of reach: the C library then takes clone */
		seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0) == 0;
	size_t i;

	for (i = 0; allowed && i < sizeof(families) / sizeof(families[0]); i++)
		allowed = ALLOW(filter, socket, 1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t) families[i]));
	for (i = 0; allowed && i < sizeof(ioctls) / sizeof(ioctls[0]); i++)
		allowed = ALLOW(filter, ioctl, 1, SCMP_A1(SCMP_CMP_EQ, ioctls[i]));
	return allowed;
}

bool
SyscallsRestrict(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	bool restricted = filter != NULL && AllowFreely(filter) && AllowByArgument(filter, getpid()) &&
					  seccomp_load(filter) == 0;

	if (!restricted)
		Report("cannot restrict system calls (seccomp)");
	if (filter != NULL)
		seccomp_release(filter);
	return restricted;
}
