/*
 * report.c
 *	  One line a message, written at once, so that lines of several processes on one terminal
 *	  or log do not mix.
 */
#include "report.h"

#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#define REPORT_MAX 1024 /* bytes of a line, the line end included */

/* How long a line waits for one who does not read, and with it all who are served. */
#define UNREAD_MS 1000

static atomic_int unread; /* lines that were left out since */

/* IsRead tells whether a line can be written; once one could not, no other waits for it. */
static bool
IsRead(void)
{
	struct pollfd output = {.fd = STDERR_FILENO, .events = POLLOUT};

	return poll(&output, 1, atomic_load(&unread) > 0 ? 0 : UNREAD_MS) != 0;
}

/* Write writes a line, or counts it as left out. */
static void
Write(const char *line, size_t size)
{
	int left_out;

	if (!IsRead())
	{
		atomic_fetch_add(&unread, 1);
		return;
	}
	left_out = atomic_exchange(&unread, 0);
	if (left_out > 0)
		dprintf(STDERR_FILENO, "cauce-worker: event=unread lines=%d\n", left_out);
	if (write(STDERR_FILENO, line, size) < 0)
		return; /* there is no other place to say it */
}

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
	Write(line, used);
}
