/*
 * command.h
 *		Running a program that the administrator has configured.
 */
#ifndef CAUCE_COMMAND_H
#define CAUCE_COMMAND_H

/*
 * RunCommand runs command by /bin/sh, gives it input_size bytes on its standard
 * input, reads at most room bytes of its standard output into output, and returns
 * how many there were. Its standard error is the server's log. It raises 55000
 * when the program fails, writes more than room or takes longer than seconds;
 * what names it in messages. Interrupts end it, and the program with it.
 */
extern Size RunCommand(const char *command, const char *what, int seconds, const char *input,
					   Size input_size, char *output, Size room);

#endif
