/*
 * command.h
 *		Running a program that the administrator has configured.
 */
#ifndef CAUCE_COMMAND_H
#define CAUCE_COMMAND_H

/* A program, and how it is run. */
typedef struct Command
{
	const char *line; /* for /bin/sh */
	const char *what; /* names it in messages */
	int seconds; /* that it may take */
	int sqlerrcode; /* of its failures */
} Command;

/*
 * RunCommand runs a program, gives it input_size bytes on its standard input, reads
 * at most room bytes of its standard output into output, and returns how many there
 * were; without output they are thrown away. Its standard error is the server's log. It
 * raises the command's own SQLSTATE when the program fails, writes more than room or
 * takes too long. Interrupts end it, and the program with it.
 */
extern Size RunCommand(const Command *command, const char *input, Size input_size, char *output,
					   Size room);

#endif
