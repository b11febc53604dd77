/*
 * relay.h
 *	  Standard error that still works when it is a file.
 */
#ifndef CAUCE_RELAY_H
#define CAUCE_RELAY_H

#include <stdbool.h>

/*
 * RelayStart does nothing unless standard error is a regular file, which this process may not
 * write once SandboxEnter has run. Then it forks a child that copies a pipe to that file and
 * puts the pipe in the place of standard error. It has to be called before a token or audio is
 * in memory and before there are threads: the child is a process that can write a file and must
 * know nothing. Returns false, with a report, if that fails.
 */
extern bool RelayStart(void);

/* RelayFinish waits until the child, if there is one, has written what it was given. */
extern void RelayFinish(void);

#endif
