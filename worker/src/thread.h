/*
 * thread.h
 *	  Threads of the worker: small stacks, and no signals, which are the main thread's.
 */
#ifndef CAUCE_THREAD_H
#define CAUCE_THREAD_H

#include <pthread.h>
#include <stdbool.h>

/* ThreadStart starts a thread. Returns false, with a report, if there is none to be had. */
extern bool ThreadStart(pthread_t *thread, void *(*run)(void *), void *argument);

#endif
