/*
 * launcher.h
 *		The background workers that run retention.
 */
#ifndef CAUCE_LAUNCHER_H
#define CAUCE_LAUNCHER_H

/* LauncherInit defines cauce.retention_naptime (seconds) and cauce.retention_batch, and registers the launcher. */
extern void LauncherInit(void);

/* Entry points of the workers; the server finds them by name. */
extern PGDLLEXPORT void cauce_launcher_main(Datum argument);
extern PGDLLEXPORT void cauce_retention_main(Datum argument);

#endif
