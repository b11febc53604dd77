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

typedef enum Command
{
	COMMAND_TRANSCRIBE = 1,
	COMMAND_SERVE = 2,
	COMMAND_SELFTEST = 4
} Command;

typedef struct Options
{
	Command command;
	char *dsn; /* in argv or the environment: to be taken over and wiped */
	const char *token_file;
	const char *models; /* NULL: beside the program */
	const char *input; /* NULL: standard input */
	StreamSettings stream;
	int64_t first_seq; /* FIRST_SEQ_UNSET: from the clock */
	int give_up_s; /* 0: never */
	bool print;
	/* of serve */
	const char *listen;
	const char *tls_cert;
	const char *tls_key;
	int capacity; /* channels that are heard at a time */
	int connections; /* sockets that are open at a time */
	int threads; /* 0: as many as there are processors */
	int drain_s;
	bool demo;
} Options;

/*
 * OptionsParse reads the command line. Returns true if there is a stream to transcribe; else
 * *code is how to end, after the help, the version or what is wrong has been printed.
 */
extern bool OptionsParse(Options *options, int argc, char **argv, ExitCode *code);

#endif
