/*
 * schedule.h
 *		Calls of pg_cron in the one database of the server that it lives in.
 */
#ifndef CAUCE_SCHEDULE_H
#define CAUCE_SCHEDULE_H

/* The entry point of the worker that connects there; its argument is the handle of a shared segment. */
extern PGDLLEXPORT void cauce_schedule_main(Datum argument);

#endif
