/*
 * arrivals.c
 *	  Lets the oldest socket without a token give way to a new one.
 */
#include "arrivals.h"

#include <stdlib.h>

/* libwebsockets keeps it with the socket, as its opaque user data. */
typedef struct Arrival
{
	lws_dll2_t place; /* among the nameless, unless it has a token or gives way */
	struct lws *wsi;
} Arrival;

/* GiveWay closes the oldest one, as soon as the event loop comes to it. */
static void
GiveWay(Arrivals *arrivals)
{
	Arrival *oldest;

	if (arrivals->nameless.head == NULL)
		return;
	oldest = lws_container_of(arrivals->nameless.head, Arrival, place);
	lws_dll2_remove(&oldest->place);
	lws_set_timeout(oldest->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_ASYNC);
}

bool
ArrivalsAdd(Arrivals *arrivals, struct lws *wsi)
{
	Arrival *arrival = calloc(1, sizeof(*arrival));

	if (arrival == NULL)
		return false;
	arrival->wsi = wsi;
	lws_set_opaque_user_data(wsi, arrival);
	lws_dll2_add_tail(&arrival->place, &arrivals->nameless);
	if (++arrivals->sockets > arrivals->most)
		GiveWay(arrivals);
	return true;
}

void
ArrivalsName(struct lws *wsi)
{
	Arrival *arrival = lws_get_opaque_user_data(wsi);

	lws_dll2_remove(&arrival->place);
}

void
ArrivalsRemove(Arrivals *arrivals, struct lws *wsi)
{
	Arrival *arrival = lws_get_opaque_user_data(wsi);

	if (arrival == NULL)
		return;
	lws_set_opaque_user_data(wsi, NULL);
	lws_dll2_remove(&arrival->place);
	arrivals->sockets--;
	free(arrival);
}
