/*
 * database.h
 *	  One connection to the database, on which utterances are stored under a stream token.
 */
#ifndef CAUCE_DATABASE_H
#define CAUCE_DATABASE_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "outcome.h"
#include "queue.h"
#include "rules.h"
#include "token.h"

#define DATABASE_PROBLEM_MAX 512
#define DATABASE_ALERTS_MAX 8 /* that one segment raises */

typedef struct Database
{
	PGconn *connection;
	const char *conninfo;
	const Token *token;
	int offset_ms; /* of the stream in its session: added to the times of what is stored */
	Rules rules; /* that hold for the token's session, as they were at the last connection */
	char problem[DATABASE_PROBLEM_MAX]; /* of the last outcome that is not OUTCOME_STORED */
} Database;

/*
 * DatabaseCheckConninfo tells whether libpq understands a connection string (keyword=value or
 * URI). It does not say why not, as that would repeat parts of it.
 */
extern bool DatabaseCheckConninfo(const char *conninfo);

/*
 * DatabaseInit only remembers where to connect to: conninfo and token have to outlive the
 * database. What conninfo leaves open is chosen safe: over TCP, TLS of version 1.3 or newer.
 */
extern void DatabaseInit(Database *database, const char *conninfo, const Token *token);

/*
 * DatabaseOpen connects and lets the server check the token, unless that is done. It gives up
 * soon after the queue is broken. OUTCOME_STORED: the connection is ready.
 */
extern Outcome DatabaseOpen(Database *database, Queue *queue);

/* DatabaseAlerts is an utterance's alerts, which are stored with it. */
typedef struct DatabaseAlerts
{
	const Rule *rules[DATABASE_ALERTS_MAX];
	size_t count;
} DatabaseAlerts;

/*
 * DatabaseStore inserts one utterance and its alerts in a transaction of its own. retried says that an earlier
 * try of this utterance may have come through: then a row of its number is this one.
 * A connection that was lost is closed and *unknown set: the insert may have been committed.
 */
extern Outcome DatabaseStore(Database *database, const Utterance *utterance,
							 const DatabaseAlerts *alerts, bool retried, bool *unknown);

/* DatabaseEndSession ends the session that the token is for; one that has ended already is that. */
extern Outcome DatabaseEndSession(Database *database);

/* DatabaseClose closes the connection, DatabaseDestroy frees the rest, too. */
extern void DatabaseClose(Database *database);
extern void DatabaseDestroy(Database *database);

#endif
