/*
 * server.h
 *	  The event loop: sockets, HTTP, and the connections.
 */
#ifndef CAUCE_SERVER_H
#define CAUCE_SERVER_H

#include <libwebsockets.h>
#include <stdbool.h>

#include "arrivals.h"
#include "connection.h"
#include "metrics.h"
#include "models.h"
#include "options.h"
#include "pool.h"
#include "recognizer.h"
#include "voices.h"

typedef struct Server
{
	const Options *options;
	const char *conninfo;
	struct lws_context *lws;
	const Models *models;
	Recognizer *recognizer;
	Voices *voices;
	Pool pool;
	Metrics metrics;
	int claimed; /* channels that connections have room for */
	Arrivals arrivals;
	Connection *first;
	int connections; /* that speak WebSocket, or did and are not through */
	long opened;
	bool draining;
	bool leaving; /* told so a second time */
	int64_t deadline_ms; /* of draining, monotonic */
	lws_sorted_usec_list_t tick;
	bool unstored; /* something that was heard could not be stored */
} Server;

/* ServerListen opens the port. Returns false, with a report, if it cannot be had. */
extern bool ServerListen(Server *server);

/* ServerRun serves until a signal and, after it, until all streams have ended or time is up. */
extern void ServerRun(Server *server);

/* ServerWake makes the event loop look at connections that have word for it; from any thread. */
extern void ServerWake(Server *server);

/* ServerHasSession tells whether another connection than this one appends to its session. */
extern bool ServerHasSession(const Server *server, const Connection *connection);

/* ServerClose closes what is left. */
extern void ServerClose(Server *server);

#endif
