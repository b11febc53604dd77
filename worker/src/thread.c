/*
 * thread.c
 *	  Starts threads.
 */
#include "thread.h"

#include <signal.h>
#include <string.h>

#include "report.h"

/* Room for the engine, libpq and OpenSSL; glibc's default of 8 MiB would count for each stream. */
#define STACK_SIZE ((size_t) 1024 * 1024)

bool
ThreadStart(pthread_t *thread, void *(*run)(void *), void *argument)
{
	pthread_attr_t attributes;
	sigset_t all;
	sigset_t before;
	int problem = pthread_attr_init(&attributes);

	if (problem == 0)
	{
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &before);
		problem = pthread_attr_setstacksize(&attributes, STACK_SIZE);
		if (problem == 0)
			problem = pthread_create(thread, &attributes, run, argument);
		pthread_sigmask(SIG_SETMASK, &before, NULL);
		pthread_attr_destroy(&attributes);
	}
	if (problem != 0)
		Report("cannot start a thread: %s", strerror(problem));
	return problem == 0;
}
