/*
 * main.c
 *	  cauce-worker: speech to text in a database that keeps confidences.
 */
#include "options.h"
#include "transcribe.h"

int
main(int argc, char **argv)
{
	Options options;
	ExitCode code;

	if (OptionsParse(&options, argc, argv, &code))
		code = Transcribe(&options);
	return (int) code;
}
