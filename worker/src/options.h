/*
 * options.h
 *	  The command line.
 */
#ifndef CAUCE_OPTIONS_H
#define CAUCE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "exitcode.h"
#include "stream.h"

#define FIRST_SEQ_UNSET (-1)

typedef struct Options
{
	char *dsn; /* in argv: to be taken over and wiped */
	const char *token_file;
	const char *models; /* NULL: beside the program */
	const char *input; /* NULL: standard input */
	StreamSettings stream;
	int64_t first_seq; /* FIRST_SEQ_UNSET: from the clock */
	int give_up_s; /* 0: never */
	bool print;
} Options;

/*
 * OptionsParse reads the command line. Returns true if there is a stream to transcribe; else
 * *code is how to end, after the help, the version or what is wrong has been printed.
 */
extern bool OptionsParse(Options *options, int argc, char **argv, ExitCode *code);

#endif
