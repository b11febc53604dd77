/*
 * main.c
 *	  cauce-worker: speech to text in a database that keeps confidences.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "options.h"
#include "report.h"
#include "sandbox.h"
#include "serve.h"
#include "transcribe.h"

/* SelfTest prints what the sandbox denies. */
static ExitCode
SelfTest(void)
{
	bool held = SandboxEnter(true);

	printf("Landlock version %d; %s locked; %s\n", SandboxLandlock(),
		   SandboxIsResident() ? "all memory" : "memory for audio",
		   held ? "every try was denied" : "the worker would refuse to listen");
	return held && fflush(stdout) == 0 ? EXIT_STORED : EXIT_INTERNAL;
}

/*
 * CloseInherited closes what was open when the worker was started and is none of its business. A file as
 * standard output is that, too, unless it is to be printed to: whoever prints says why it cannot.
 */
static bool
CloseInherited(bool print)
{
	struct stat status;
	int nowhere = STDOUT_FILENO;
	bool closed = true;

	if (!print && fstat(STDOUT_FILENO, &status) == 0 && S_ISREG(status.st_mode))
	{
		nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
		closed = nowhere >= 0 && dup2(nowhere, STDOUT_FILENO) >= 0;
	}
	closed = closed && close_range(STDERR_FILENO + 1, ~0U, 0) == 0;
	if (!closed)
		Report("cannot close inherited files");
	return closed;
}

static ExitCode
Run(Options *options)
{
	bool print = options->command == COMMAND_SELFTEST || options->print;

	if (!CloseInherited(print))
		return EXIT_INTERNAL;
	if (options->command == COMMAND_SELFTEST)
		return SelfTest();
	return options->command == COMMAND_SERVE ? Serve(options) : Transcribe(options);
}

int
main(int argc, char **argv)
{
	Options options;
	ExitCode code;

	if (OptionsParse(&options, argc, argv, &code))
		code = Run(&options);
	return (int) code;
}
