/*
 * report.c
 *	  One line a message, written at once, so that lines of several processes on one terminal
 *	  or log do not mix.
 */
#include "report.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define REPORT_MAX 1024 /* bytes of a line, the line end included */

void
Report(const char *format, ...)
{
	static const char prefix[] = "cauce-worker: ";
	char line[REPORT_MAX];
	size_t used = sizeof(prefix) - 1;
	va_list arguments;
	int length;
	size_t i;

	snprintf(line, sizeof(line), "%s", prefix);
	va_start(arguments, format);
	length = vsnprintf(line + used, sizeof(line) - used - 1, format, arguments);
	va_end(arguments);
	if (length > 0)
		used +=
			(size_t) length < sizeof(line) - used - 1 ? (size_t) length : sizeof(line) - used - 2;
	for (i = 0; i < used; i++)
	{
		if ((unsigned char) line[i] < ' ')
			line[i] = ' ';
	}
	line[used++] = '\n';
	if (write(STDERR_FILENO, line, used) < 0)
		return; /* there is no other place to say it */
}
