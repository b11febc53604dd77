/*
 * arrivals.h
 *	  Sockets that are open, and those among them whose client has not shown a token yet.
 *
 * There are only so many. When there is one more, the one that has waited longest without a token
 * gives way, so that those who only connect keep nobody out.
 */
#ifndef CAUCE_ARRIVALS_H
#define CAUCE_ARRIVALS_H

#include <libwebsockets.h>
#include <stdbool.h>

typedef struct Arrivals
{
	lws_dll2_owner_t nameless; /* the oldest first */
	int sockets; /* that are open, with a token or without */
	int most;
} Arrivals;

/* What may be open beyond most, until those that give way are closed. */
#define ARRIVALS_SLACK 64

/* ArrivalsAdd takes a socket that was accepted; returns false if there is no memory. */
extern bool ArrivalsAdd(Arrivals *arrivals, struct lws *wsi);

/* ArrivalsName tells that its client has shown a token: it does not give way any more. */
extern void ArrivalsName(struct lws *wsi);

/* ArrivalsRemove forgets a socket that is closed; one that was never added is no fault. */
extern void ArrivalsRemove(Arrivals *arrivals, struct lws *wsi);

#endif
