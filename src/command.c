/*
 * command.c
 *		Running a program that the administrator has configured.
 *
 * popen() would do, but for three things: its buffers cannot be wiped, a program
 * that hangs could not be interrupted, and one that is given up would be waited for.
 */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "port.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/timestamp.h"

#include "command.h"

extern char **environ;

/* How often an end is looked for once the program has closed its output, in milliseconds. */
#define REAP_EVERY_MS 10

/* A program that runs; pid 0 for none. */
typedef struct Running
{
	const Command *command;
	pid_t pid;
	int to; /* its standard input; -1 when closed */
	int from; /* its standard output */
	TimestampTz deadline;
} Running;

/* CommandFailed raises what the command's failures are. */
static void
CommandFailed(const Running *running, const char *detail)
{
	ereport(ERROR,
			(errcode(running->command->sqlerrcode), errmsg("%s failed", running->command->what),
			 errdetail("%s", detail),
			 errhint("Run it by hand as the server's operating-system user; what it wrote to "
					 "its standard error is in the server's log.")));
}

/* CloseEnd closes a descriptor once. */
static void
CloseEnd(int *fd)
{
	if (*fd >= 0)
		(void) close(*fd);
	*fd = -1;
}

/*
 * Spawn starts the shell in a process group of its own, with signals as a program expects them
 * and none of the server's files and sockets, which PostgreSQL 15 does not close by itself.
 */
static int
Spawn(Running *running, int in, int out)
{
	char *const arguments[] = {"sh", "-c", unconstify(char *, running->command->line), NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none;
	sigset_t all;
	int failure;

	sigemptyset(&none);
	sigfillset(&all);
	failure = posix_spawnattr_init(&attributes);
	if (failure != 0)
		return failure;
	failure = posix_spawn_file_actions_init(&actions);
	if (failure != 0)
	{
		posix_spawnattr_destroy(&attributes);
		return failure;
	}
	if ((failure =
			 posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
													   POSIX_SPAWN_SETSIGDEF)) == 0 &&
		(failure = posix_spawnattr_setpgroup(&attributes, 0)) == 0 &&
		(failure = posix_spawnattr_setsigmask(&attributes, &none)) == 0 &&
		(failure = posix_spawnattr_setsigdefault(&attributes, &all)) == 0 &&
		(failure = posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO)) == 0 &&
		(failure = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO)) == 0 &&
		(failure = posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1)) == 0)
		failure = posix_spawn(&running->pid, "/bin/sh", &actions, &attributes, arguments, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	if (failure != 0)
		running->pid = 0;
	return failure;
}

/* Start makes the pipes and the process. */
static void
Start(Running *running)
{
	int in[2] = {-1, -1};
	int out[2] = {-1, -1};
	int failure = 0;

	if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0)
		failure = errno;
	else
		failure = Spawn(running, in[0], out[1]);
	CloseEnd(&in[0]);
	CloseEnd(&out[1]);
	running->to = in[1];
	running->from = out[0];
	if (failure == 0 && (!pg_set_noblock(running->to) || !pg_set_noblock(running->from)))
		failure = errno;
	if (failure != 0)
	{
		errno = failure;
		ereport(ERROR, (errcode(running->command->sqlerrcode),
						errmsg("could not start %s: %m", running->command->what)));
	}
}

/*
 * End kills what still runs, and then closes what is open, so that the program does not take its input for
 * whole; also called when this process exits.
 */
static void
End(int code, Datum argument)
{
	Running *running = (Running *) DatumGetPointer(argument);

	if (running->pid > 0)
	{
		(void) kill(-running->pid, SIGKILL);
		while (waitpid(running->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	running->pid = 0;
	CloseEnd(&running->to);
	CloseEnd(&running->from);
}

/* Await waits until a descriptor is ready (or, without one, for a moment); raises past the deadline. */
static void
Await(const Running *running, int event, int fd)
{
	long left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), running->deadline);
	int events = WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH | event;

	if (left <= 0)
		CommandFailed(running, "It did not end in time.");
	if (fd < 0)
		left = Min(left, REAP_EVERY_MS);
	(void) WaitLatchOrSocket(MyLatch, events, fd < 0 ? PGINVALID_SOCKET : fd, left,
							 PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* Feed writes the input; a program that does not read it all is its own judge. */
static void
Feed(Running *running, const char *input, Size size)
{
	Size done = 0;

	while (done < size)
	{
		ssize_t wrote = write(running->to, input + done, size - done);

		if (wrote >= 0)
			done += (Size) wrote;
		else if (errno == EAGAIN || errno == EWOULDBLOCK)
			Await(running, WL_SOCKET_WRITEABLE, running->to);
		else if (errno == EPIPE)
			break;
		else if (errno != EINTR)
			CommandFailed(running, "Its input could not be written.");
	}
	CloseEnd(&running->to);
}

/* Drain reads the output to its end; without room for it, it goes nowhere. */
static Size
Drain(Running *running, char *output, Size room)
{
	Size done = 0;

	for (;;)
	{
		char beyond[512];
		ssize_t got = done < room ? read(running->from, output + done, room - done)
								  : read(running->from, beyond, sizeof(beyond));

		if (got == 0)
			return done;
		if (got > 0 && done == room && output != NULL)
			CommandFailed(running, "It wrote too much.");
		if (got > 0 && output != NULL)
			done += (Size) got;
		else if (got > 0 || errno == EAGAIN || errno == EWOULDBLOCK)
			Await(running, WL_SOCKET_READABLE, running->from);
		else if (errno != EINTR)
			CommandFailed(running, "Its output could not be read.");
	}
}

/* Reap waits for the exit status and judges it. */
static void
Reap(Running *running)
{
	int status = 0;
	pid_t ended;

	while ((ended = waitpid(running->pid, &status, WNOHANG)) == 0 || (ended < 0 && errno == EINTR))
		Await(running, 0, -1);
	if (ended < 0)
		CommandFailed(running, "Its exit status could not be read.");
	running->pid = 0;
	if (status != 0)
		CommandFailed(running, wait_result_to_str(status));
}

/* RunCommand runs. */
Size
RunCommand(const Command *command, const char *input, Size input_size, char *output, Size room)
{
	Running *running = palloc0(sizeof(Running));
	volatile Size got = 0;

	running->command = command;
	running->to = running->from = -1;
	running->deadline = GetCurrentTimestamp() + command->seconds * USECS_PER_SEC;
	PG_ENSURE_ERROR_CLEANUP(End, PointerGetDatum(running));
	{
		Start(running);
		Feed(running, input, input_size);
		got = Drain(running, output, room);
		Reap(running);
	}
	PG_END_ENSURE_ERROR_CLEANUP(End, PointerGetDatum(running));
	End(0, PointerGetDatum(running));
	pfree(running);
	return got;
}
