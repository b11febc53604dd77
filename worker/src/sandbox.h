/*
 * sandbox.h
 *	  What the process gives up before the first byte of audio is read.
 *
 * In layers, so that one that the kernel lacks, or that has a hole, is not the only one:
 *
 *	limits		no file can grow by a write (RLIMIT_FSIZE), no core is dumped (RLIMIT_CORE, not dumpable),
 *				nothing else of the same user reads this process's memory
 *	memory		none of it is swapped out where RLIMIT_MEMLOCK is no limit, or can be lifted; else the arenas are not
 *	files		every open descriptor is a socket, a pipe, an event or a terminal, or is for reading only
 *	Landlock	(Linux 5.13) nothing in any file system is made, opened for writing, renamed or removed, no
 *				program run; by its version also: truncated, no port bound, no signal sent
 *	seccomp		only the system calls that a worker makes: no memory file, no shared memory, no new
 *				process, no executable memory, files opened for reading only
 *
 * It is entered by a process of one thread; threads that come later inherit it.
 */
#ifndef CAUCE_SANDBOX_H
#define CAUCE_SANDBOX_H

#include <stdbool.h>

/*
 * SandboxEnter enters all layers and then tries to break each rule. Returns false, with a report, if
 * a layer cannot be had (but for Landlock, which older kernels lack) or a try succeeded. print is
 * whether it prints each try on standard output.
 */
extern bool SandboxEnter(bool print);

/* SandboxLandlock tells the version of Landlock's interface that is in force; 0 is none. */
extern int SandboxLandlock(void);

/* SandboxIsResident tells whether no memory of the process can be swapped out. */
extern bool SandboxIsResident(void);

#endif
