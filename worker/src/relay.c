/*
 * relay.c
 *	  A child that writes the log file in place of the worker.
 */
#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "report.h"

static pid_t relayProcess = 0;

static bool
IsRegularFile(int descriptor)
{
	struct stat status;

	return fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
}

/* WriteAll returns false if not all of it could be written. */
static bool
WriteAll(int descriptor, const char *bytes, size_t size)
{
	while (size > 0)
	{
		ssize_t written = write(descriptor, bytes, size);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return false;
		bytes += written;
		size -= (size_t) written;
	}
	return true;
}

/*
 * RunRelay is the child: it outlives signals to the process group, so that the last line gets
 * through, and ends with the pipe.
 */
static void
RunRelay(int source)
{
	char buffer[4096];
	ssize_t got;

	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	if (dup2(source, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0 ||
		close_range(STDERR_FILENO + 1, ~0U, 0) != 0)
		_exit(EXIT_FAILURE);
	for (;;)
	{
		got = read(STDIN_FILENO, buffer, sizeof(buffer));
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0 || !WriteAll(STDOUT_FILENO, buffer, (size_t) got))
			_exit(got == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
	}
}

bool
RelayStart(void)
{
	int ends[2];

	if (!IsRegularFile(STDERR_FILENO))
		return true;
	if (pipe2(ends, O_CLOEXEC) != 0)
	{
		Report("cannot make a pipe: %s", strerror(errno));
		return false;
	}
	relayProcess = fork();
	if (relayProcess == 0)
		RunRelay(ends[0]);
	close(ends[0]);
	if (relayProcess < 0 || dup2(ends[1], STDERR_FILENO) < 0)
	{
		Report("cannot start the process that writes the log file: %s", strerror(errno));
		close(ends[1]);
		return false;
	}
	close(ends[1]);
	return true;
}

void
RelayFinish(void)
{
	if (relayProcess <= 0)
		return;
	close(STDERR_FILENO);
	while (waitpid(relayProcess, NULL, 0) < 0 && errno == EINTR)
		;
	relayProcess = 0;
}
