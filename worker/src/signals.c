/*
 * signals.c
 *	  Turns signals into something that poll() wakes up for.
 */
#include "signals.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "report.h"

#define SIGNALS_END_AT_ONCE 3

static atomic_int signalCount;
static int signalEvent = -1;

static void
HandleSignal(int number)
{
	int before = errno;
	uint64_t one = 1;

	if (atomic_fetch_add(&signalCount, 1) + 1 >= SIGNALS_END_AT_ONCE)
		_exit(128 + number);
	if (write(signalEvent, &one, sizeof(one)) < 0)
		_exit(128 + number); /* nobody would hear of it */
	errno = before;
}

bool
SignalsInstall(void)
{
	struct sigaction finish = {.sa_handler = HandleSignal};
	struct sigaction ignore = {.sa_handler = SIG_IGN};

	signalEvent = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (signalEvent >= 0 && sigaction(SIGINT, &finish, NULL) == 0 &&
		sigaction(SIGTERM, &finish, NULL) == 0 && sigaction(SIGPIPE, &ignore, NULL) == 0)
		return true;
	Report("cannot catch signals: %s", strerror(errno));
	return false;
}

int
SignalsCount(void)
{
	return atomic_load(&signalCount);
}

int
SignalsDescriptor(void)
{
	return signalEvent;
}

void
SignalsClear(void)
{
	uint64_t count;

	if (read(signalEvent, &count, sizeof(count)) < 0)
		return; /* it is clear */
}
