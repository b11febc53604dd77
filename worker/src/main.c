/*
 * main.c
 *	  cauce-worker: speech to text in a database that keeps confidences.
 */
#include "options.h"
#include "serve.h"
#include "transcribe.h"

int
main(int argc, char **argv)
{
	Options options;
	ExitCode code;

	if (OptionsParse(&options, argc, argv, &code))
		code = options.command == COMMAND_SERVE ? Serve(&options) : Transcribe(&options);
	return (int) code;
}
