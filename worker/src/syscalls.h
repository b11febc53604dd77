/*
 * syscalls.h
 *	  The system calls that a worker makes once audio may arrive, and no other.
 */
#ifndef CAUCE_SYSCALLS_H
#define CAUCE_SYSCALLS_H

#include <stdbool.h>

/*
 * SyscallsRestrict makes all others fail with EPERM. Returns false, with a report, if the kernel has no
 * seccomp.
 */
extern bool SyscallsRestrict(void);

#endif
