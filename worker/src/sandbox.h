/*
 * sandbox.h
 *	  What the process gives up before the first byte of audio is read.
 */
#ifndef CAUCE_SANDBOX_H
#define CAUCE_SANDBOX_H

#include <stdbool.h>

/*
 * SandboxEnter makes the kernel refuse, for the rest of this process's life, to let any file
 * grow by a write (RLIMIT_FSIZE 0), to write a core dump (RLIMIT_CORE 0) and to let another
 * process of the same user read its memory (not dumpable), and verifies each. Pipes, sockets
 * and terminals stay writable. Returns false, with a report, if one of them cannot be had.
 */
extern bool SandboxEnter(void);

#endif
