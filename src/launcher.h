/*
 * launcher.h
 *		The background process that sends a worker to every database; upkeep.h.
 */
#ifndef CAUCE_LAUNCHER_H
#define CAUCE_LAUNCHER_H

/* LauncherInit defines cauce.retention_naptime (seconds) and registers the launcher. */
extern void LauncherInit(void);

/* The launcher's entry point; the server finds it by name. */
extern PGDLLEXPORT void cauce_launcher_main(Datum argument);

#endif
