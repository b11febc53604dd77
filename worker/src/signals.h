/*
 * signals.h
 *	  SIGINT and SIGTERM: the first says finish, the second says leave.
 */
#ifndef CAUCE_SIGNALS_H
#define CAUCE_SIGNALS_H

#include <stdbool.h>

/*
 * SignalsInstall catches SIGINT and SIGTERM and ignores SIGPIPE, so that a reader of the
 * transcript that leaves ends no stream. A third SIGINT or SIGTERM ends the process at once.
 * Returns false, with a report, if the system refuses.
 */
extern bool SignalsInstall(void);

/* SignalsCount tells how many came. */
extern int SignalsCount(void);

/* SignalsDescriptor is readable once a signal came that SignalsClear has not cleared. */
extern int SignalsDescriptor(void);
extern void SignalsClear(void);

#endif
