/*
 * report.h
 *	  What the worker says on standard error.
 */
#ifndef CAUCE_REPORT_H
#define CAUCE_REPORT_H

/*
 * Report writes "cauce-worker: ", the formatted message and a line end to standard error, as
 * one line in one write. Messages hold numbers, names of options and what the database
 * answered, never a token, a password or recognised text. Where nobody reads for a second, lines
 * are left out until somebody does, and then counted: a log that is stuck holds up no stream.
 */
extern void Report(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
