/*
 * connection.h
 *	  One client that streams: its socket, its stream, its way to the database.
 *
 * States:	UNNAMED --token--> CHECKING --database accepts--> LISTENING
 *			CHECKING, LISTENING --end, disconnect, drain--> DRAINING --all is stored--> CLOSING
 *			CHECKING, LISTENING, DRAINING --database or engine refuses--> CLOSING
 *			UNNAMED --no token, no room--> CLOSING; CLOSING --socket closed, threads done--> freed
 *
 * Three threads know a connection: the event loop, which alone changes its state and its socket; one
 * of the pool at a time, which has the stream; and the sink's. The last two leave word and wake the
 * first. A client that disconnects without a word is taken for one that has ended its stream: what it
 * said is transcribed and stored.
 */
#ifndef CAUCE_CONNECTION_H
#define CAUCE_CONNECTION_H

#include <libwebsockets.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "intake.h"
#include "outbox.h"
#include "pool.h"
#include "request.h"
#include "sink.h"
#include "stream.h"
#include "token.h"
#include "vosk.h"

typedef enum ConnectionState
{
	CONNECTION_UNNAMED,
	CONNECTION_CHECKING,
	CONNECTION_LISTENING,
	CONNECTION_DRAINING,
	CONNECTION_CLOSING
} ConnectionState;

#define CLOSE_TRY_AGAIN 1013 /* IANA's WebSocket Close Code Number Registry */
#define CLOSE_REASON_MAX 124 /* bytes, RFC 6455 section 5.5 less the code */

struct Server;

typedef struct Connection
{
	Task task; /* the first member */
	struct Server *server;
	struct Connection *next;
	long number;

	/* The event loop's. */
	ConnectionState state;
	struct lws *wsi; /* NULL: the socket is closed */
	bool claimed; /* room in the server */
	int channels; /* for so many */
	bool sink_started;
	bool sink_finishing;
	bool begun; /* there was audio or a mark: the request is fixed */
	bool clean; /* the client said that this is the end */
	bool paused; /* the socket is not read */
	int64_t heard_ms; /* when the client was last heard, monotonic */
	int close_code;
	char close_reason[CLOSE_REASON_MAX];
	char *text; /* a text message that has not arrived whole */
	size_t text_length;

	/* Shared. */
	Request request; /* fixed once the stream has started */
	Arena arena; /* intake, piece and token: locked */
	Intake intake;
	Outbox outbox;
	Token token;
	Sink sink;
	atomic_bool accepted; /* by the database */
	atomic_int heard_channels; /* that the stream has; 0: not known */
	atomic_bool stream_done;
	atomic_bool noted; /* there is word for the event loop */

	/* The pool's. */
	Stream stream;
	bool stream_started;
	unsigned char *piece;
	const char *problem; /* after "the stream"; valid once stream_done */
	ExitCode failure;
	int64_t duration_ms;
	int64_t audio_ms; /* counted so far */

	/* The sink's. */
	Vosk vosk;
} Connection;

/* ConnectionRoom tells how many bytes of locked memory a connection takes beside its voices. */
extern size_t ConnectionRoom(void);

/* ConnectionMake makes one that is UNNAMED; NULL if there is no memory. */
extern Connection *ConnectionMake(struct Server *server, const Request *request);

/*
 * ConnectionName takes the token and starts to ask the database. Returns 0, or the code of HTTP that
 * says why not: 401, 503; then *problem says it in words.
 */
extern int ConnectionName(Connection *connection, const char *token, const char **problem);

/* ConnectionOpened tells that the socket speaks WebSocket now. */
extern void ConnectionOpened(Connection *connection, struct lws *wsi);

/* ConnectionAudio and ConnectionText take a part of a message. */
extern void ConnectionAudio(Connection *connection, const unsigned char *bytes, size_t size,
							bool whole);
extern void ConnectionText(Connection *connection, const char *text, size_t length, bool whole);

/* ConnectionWrite sends a message; returns false if the socket is to be closed now. */
extern bool ConnectionWrite(Connection *connection);

/* ConnectionGone tells that the socket is closed. */
extern void ConnectionGone(Connection *connection);

/* ConnectionAdvance does what there is word of, and what is due by the clock. */
extern void ConnectionAdvance(Connection *connection);

/* ConnectionEnd ends the stream from this side: what was heard is stored, and the socket then closed. */
extern void ConnectionEnd(Connection *connection, int code, const char *reason);

/* ConnectionIsOver tells whether it can be freed. */
extern bool ConnectionIsOver(const Connection *connection);

/*
 * ConnectionStop ends the threads' part in a connection, abandoning what is left to store, and
 * ConnectionFree frees it.
 */
extern void ConnectionStop(Connection *connection);
extern void ConnectionFree(Connection *connection);

#endif
