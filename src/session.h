/*
 * session.h
 *		The life of a session's row.
 */
#ifndef CAUCE_SESSION_H
#define CAUCE_SESSION_H

/* SessionInit defines the setting cauce.retention_grace, in seconds. */
extern void SessionInit(void);

#endif
