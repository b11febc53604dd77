/*
 * redact.h
 *		Keeping content and tokens out of the server log.
 */
#ifndef CAUCE_REDACT_H
#define CAUCE_REDACT_H

/* RedactInit defines cauce.redact_logs and installs the log hook. */
extern void RedactInit(void);

#endif
