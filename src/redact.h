/*
 * redact.h
 *		Keeping content and tokens out of the server log.
 */
#ifndef CAUCE_REDACT_H
#define CAUCE_REDACT_H

/* RedactInit defines cauce.redact_logs and installs the log hook. */
extern void RedactInit(void);

/* LogLine writes a line of cauce's own to the server log; ids and counts only, never content. */
extern void LogLine(int sqlerrcode, const char *line);

#endif
