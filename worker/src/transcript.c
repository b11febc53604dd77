/*
 * transcript.c
 *	  Standard output.
 */
#include "transcript.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "report.h"

#define CLOCK_TEXT_MAX 32 /* characters of a time */

bool
TranscriptCheckOutput(bool asked, bool *print)
{
	struct stat status;

	*print = asked || isatty(STDOUT_FILENO);
	if (*print && fstat(STDOUT_FILENO, &status) == 0 && S_ISREG(status.st_mode))
	{
		Report("the transcript cannot be printed to a file, as the worker may write none; "
			   "print to a pipe (| cat > FILE) or leave out --print");
		return false;
	}
	return true;
}

/* ClockText writes milliseconds as minutes, seconds and hundredths. */
static void
ClockText(int64_t ms, char text[CLOCK_TEXT_MAX])
{
	snprintf(text, CLOCK_TEXT_MAX, "%02" PRId64 ":%02d.%02d", ms / 60000, (int) (ms / 1000 % 60),
			 (int) (ms / 10 % 100));
}

/* WriteParts writes all of some parts, in one call if the system takes them so. */
static bool
WriteParts(struct iovec *parts, int count)
{
	while (count > 0)
	{
		ssize_t written = writev(STDOUT_FILENO, parts, count);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return false;
		while (count > 0 && (size_t) written >= parts->iov_len)
		{
			written -= (ssize_t) parts->iov_len;
			parts++;
			count--;
		}
		if (count > 0)
		{
			parts->iov_base = (char *) parts->iov_base + written;
			parts->iov_len -= (size_t) written;
		}
	}
	return true;
}

void
TranscriptPrint(const Utterance *utterance)
{
	static bool failed = false;
	char start[CLOCK_TEXT_MAX];
	char end[CLOCK_TEXT_MAX];
	char head[2 * CLOCK_TEXT_MAX + 8];
	int head_length;

	if (failed)
		return;
	ClockText(utterance->start_ms, start);
	ClockText(utterance->end_ms, end);
	head_length = snprintf(head, sizeof(head), "[%s - %s] ", start, end);
	if (!WriteParts((struct iovec[]){{head, (size_t) head_length},
									 {(char *) utterance->speaker, strlen(utterance->speaker)},
									 {": ", 2},
									 {utterance->said.text, strlen(utterance->said.text)},
									 {"\n", 1}},
					5))
	{
		failed = true;
		Report("cannot print the transcript any more (%s); it is stored all the same",
			   strerror(errno));
	}
}
