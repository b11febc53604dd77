/*
 * exitcode.h
 *	  How cauce-worker ends, as the shell sees it. README.md lists the same.
 */
#ifndef CAUCE_EXITCODE_H
#define CAUCE_EXITCODE_H

typedef enum ExitCode
{
	EXIT_STORED = 0, /* every word that was recognised is in the database */
	EXIT_INTERNAL = 1, /* the machine or the program: no memory, no locked memory */
	EXIT_USAGE = 2, /* the command line, the token file or the input file */
	EXIT_BAD_AUDIO = 3, /* the stream is not audio that the worker reads, or has none */
	EXIT_REFUSED = 4, /* the database said no: token, session, rights, a constraint */
	EXIT_UNREACHABLE = 5, /* the database did not answer until --give-up or a second signal */
	EXIT_ENGINE = 6 /* the recognition engine or a model */
} ExitCode;

#endif
