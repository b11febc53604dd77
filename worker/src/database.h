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
#include "token.h"

#define DATABASE_PROBLEM_MAX 512

typedef struct Database
{
	PGconn *connection;
	const char *conninfo;
	const Token *token;
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

/*
 * DatabaseStore inserts one utterance in a transaction of its own. retried says that an earlier
 * try of this utterance may have come through: then a row of its number is this one.
 * A connection that was lost is closed and *unknown set: the insert may have been committed.
 */
extern Outcome DatabaseStore(Database *database, const Utterance *utterance, bool retried,
							 bool *unknown);

extern void DatabaseClose(Database *database);

#endif
