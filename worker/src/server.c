/*
 * server.c
 *	  Accepts clients over TLS 1.3 with libwebsockets, and answers operators.
 */
#include "server.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "credentials.h"
#include "deepgram.h"
#include "demo.h"
#include "report.h"
#include "sandbox.h"
#include "signals.h"

#define TICK_US (200 * LWS_US_PER_MS)
#define HEADERS_MAX 16384 /* bytes of a request's headers: a token is among them */
#define RX_SIZE                                                                                    \
	((size_t) 16384) /* bytes of a message that arrive at once, at most INTAKE_RESERVE */
#define QUERY_MAX 1024 /* bytes of a parameter */
#define HANDSHAKE_S 15
#define LISTEN_PATH "/v1/listen"
#define HOST_MAX 256

/* TCP finds out in a minute that a client is gone without a word. */
#define KEEPALIVE_IDLE_S 30
#define KEEPALIVE_PROBES 3
#define KEEPALIVE_INTERVAL_S 10

_Static_assert(RX_SIZE <= INTAKE_RESERVE, "what arrives at once has to fit");

/* What libwebsockets keeps with each socket. */
typedef struct Session
{
	Connection *connection;
} Session;

static Server *
ServerOf(struct lws *wsi)
{
	return lws_context_user(lws_get_context(wsi));
}

/* Link and unlink keep the list of connections. */
static void
Unlink(Server *server, const Connection *connection)
{
	Connection **place = &server->first;

	while (*place != connection)
		place = &(*place)->next;
	*place = connection->next;
	server->connections--;
}

bool
ServerHasSession(const Server *server, const Connection *connection)
{
	const Connection *other;

	for (other = server->first; other != NULL; other = other->next)
	{
		if (other != connection && other->sink_started &&
			!SinkHasEnded(SinkGetState((Sink *) &other->sink)) &&
			strcmp(other->token.session_id, connection->token.session_id) == 0)
			return true;
	}
	return false;
}

void
ServerWake(Server *server)
{
	lws_cancel_service(server->lws);
}

/* AdvanceAll lets all connections go on, and frees those that are over. */
static void
AdvanceAll(Server *server, bool noted_only)
{
	Connection *connection = server->first;

	while (connection != NULL)
	{
		Connection *next = connection->next;

		if (!noted_only || atomic_load(&connection->noted))
			ConnectionAdvance(connection);
		if (ConnectionIsOver(connection))
		{
			Unlink(server, connection);
			ConnectionFree(connection);
		}
		connection = next;
	}
}

/*
 * Opening a WebSocket
 */

/* CopyHeader copies a header; returns its length, or -1 if there is none or it is too long. */
static int
CopyHeader(struct lws *wsi, enum lws_token_indexes header, char *copy, int size)
{
	if (lws_hdr_total_length(wsi, header) <= 0)
		return -1;
	return lws_hdr_copy(wsi, copy, size, header);
}

/* FindToken finds the token in the headers, in a buffer of HEADERS_MAX bytes, or returns NULL. */
static const char *
FindToken(struct lws *wsi, char *buffer)
{
	if (CopyHeader(wsi, WSI_TOKEN_HTTP_AUTHORIZATION, buffer, HEADERS_MAX) > 0)
		return TokenOfAuthorization(buffer);
	if (CopyHeader(wsi, WSI_TOKEN_PROTOCOL, buffer, HEADERS_MAX) > 0)
		return TokenOfProtocols(buffer);
	return NULL;
}

/* ReadQuery takes the parameters of the address; returns NULL or what is wrong with them. */
static const char *
ReadQuery(struct lws *wsi, Request *request)
{
	const char *problem = NULL;
	char parameter[QUERY_MAX];
	int i;

	for (i = 0; problem == NULL; i++)
	{
		int length =
			lws_hdr_copy_fragment(wsi, parameter, sizeof(parameter), WSI_TOKEN_HTTP_URI_ARGS, i);
		char *value;

		if (length == -1)
			break;
		if (length < 0)
			return "a parameter is too long";
		value = strchr(parameter, '=');
		if (value == NULL)
			continue;
		*value++ = '\0';
		problem = DeepgramQuery(request, parameter, value);
	}
	if (problem == NULL)
		problem = DeepgramCheck(request);
	if (problem == NULL && !ModelsKnow(ServerOf(wsi)->models, request->language))
		problem = "language: none that this server's model knows";
	return problem;
}

/* ReadRequest tells what a client asks for; returns 0, or the code of HTTP that says why not. */
static int
ReadRequest(struct lws *wsi, Request *request, const char **problem)
{
	char path[QUERY_MAX];
	bool vosk;

	if (CopyHeader(wsi, WSI_TOKEN_GET_URI, path, sizeof(path)) <= 0)
		path[0] = '\0';
	vosk = strcmp(path, "/") == 0;
	if (!vosk && strcmp(path, LISTEN_PATH) != 0)
	{
		*problem = "there is / (vosk) and /v1/listen (Deepgram)";
		return HTTP_STATUS_NOT_FOUND;
	}
	if (!RequestInit(request, vosk ? PROTOCOL_VOSK : PROTOCOL_DEEPGRAM))
	{
		*problem = "no randomness";
		return HTTP_STATUS_SERVICE_UNAVAILABLE;
	}
	*problem = vosk ? NULL : ReadQuery(wsi, request);
	if (*problem == NULL)
		return 0;
	atomic_fetch_add(&ServerOf(wsi)->metrics.refused_request, 1);
	return HTTP_STATUS_BAD_REQUEST;
}

/* Name gives a new connection the token of its headers, if there is one. */
static int
Name(struct lws *wsi, Connection *connection, const char **problem)
{
	char *buffer = malloc(HEADERS_MAX);
	const char *token;
	int status = 0;

	if (buffer == NULL)
		return HTTP_STATUS_SERVICE_UNAVAILABLE;
	token = FindToken(wsi, buffer);
	if (token != NULL)
		status = ConnectionName(connection, token, problem);
	free(buffer); /* which wipes it */
	return status;
}

/* Admit decides about a request to speak WebSocket; returns whether it may. */
static bool
Admit(struct lws *wsi, Session *session)
{
	Server *server = ServerOf(wsi);
	const char *problem = "no memory";
	Request request;
	int status =
		server->draining ? HTTP_STATUS_SERVICE_UNAVAILABLE : ReadRequest(wsi, &request, &problem);

	if (server->draining)
		problem = "the server is going away";
	if (status == 0)
	{
		session->connection = ConnectionMake(server, &request);
		status = session->connection == NULL ? HTTP_STATUS_SERVICE_UNAVAILABLE
											 : Name(wsi, session->connection, &problem);
	}
	if (status == 0 && session->connection->state != CONNECTION_UNNAMED)
		ArrivalsName(wsi);
	if (status == 0)
		return true;
	lws_return_http_status(wsi, (unsigned int) status, problem);
	return false;
}

/*
 * HTTP
 */

/* Answer answers a request of HTTP with a small body. */
static int
Answer(struct lws *wsi, unsigned int status, const char *type, const char *body, size_t length)
{
	unsigned char headers[LWS_PRE + 1024];
	unsigned char *start = headers + LWS_PRE;
	unsigned char *place = start;
	unsigned char *end = headers + sizeof(headers) - 1;
	unsigned char *text = malloc(LWS_PRE + length);
	bool failed;

	if (text == NULL)
		return -1;
	memcpy(text + LWS_PRE, body, length);
	failed = lws_add_http_common_headers(wsi, status, type, length, &place, end) != 0 ||
			 lws_add_http_header_by_name(wsi, (const unsigned char *) "content-security-policy:",
										 (const unsigned char *) demoPolicy,
										 (int) strlen(demoPolicy), &place, end) != 0 ||
			 lws_finalize_write_http_header(wsi, start, &place, end) != 0 ||
			 lws_write(wsi, text + LWS_PRE, length, LWS_WRITE_HTTP_FINAL) < 0;
	free(text);
	return failed || lws_http_transaction_completed(wsi) != 0 ? -1 : 0;
}

static int
AnswerMetrics(struct lws *wsi)
{
	Server *server = ServerOf(wsi);
	MetricsNow now = {.voices = server->options->capacity,
					  .voices_free = VoicesFree(server->voices),
					  .waiting = atomic_load(&server->pool.waiting),
					  .sandbox = SandboxLandlock(),
					  .resident = SandboxIsResident()};
	const Connection *connection;
	char text[METRICS_TEXT];

	for (connection = server->first; connection != NULL; connection = connection->next)
	{
		if (!connection->sink_started)
			continue;
		now.streams++;
		now.away += SinkGetState((Sink *) &connection->sink) == SINK_WAITING;
		now.backlog += (long) IntakeCount((Intake *) &connection->intake);
	}
	return Answer(wsi, HTTP_STATUS_OK, "text/plain; version=0.0.4", text,
				  MetricsWrite(&server->metrics, &now, text, sizeof(text)));
}

static int
AnswerHttp(struct lws *wsi, const char *path)
{
	Server *server = ServerOf(wsi);

	if (strcmp(path, "/healthz") == 0 && server->draining)
		return Answer(wsi, HTTP_STATUS_SERVICE_UNAVAILABLE, "text/plain", "draining\n", 9);
	if (strcmp(path, "/healthz") == 0)
		return Answer(wsi, HTTP_STATUS_OK, "text/plain", "ok\n", 3);
	if (strcmp(path, "/metrics") == 0)
		return AnswerMetrics(wsi);
	if (strcmp(path, "/demo") == 0 && server->options->demo)
		return Answer(wsi, HTTP_STATUS_OK, "text/html; charset=utf-8", demoPage, strlen(demoPage));
	return Answer(wsi, HTTP_STATUS_NOT_FOUND, "text/plain", "not found\n", 10);
}

/*
 * Events
 */

/* Receive takes a part of a message, and wipes it where libwebsockets has it. */
static void
Receive(struct lws *wsi, Connection *connection, void *bytes, size_t size)
{
	bool whole = lws_is_final_fragment(wsi) && lws_remaining_packet_payload(wsi) == 0;

	if (lws_frame_is_binary(wsi))
		ConnectionAudio(connection, bytes, size, whole);
	else
		ConnectionText(connection, bytes, size, whole);
	explicit_bzero(bytes, size);
}

/* Leave parts a socket that is closed from its connection. */
static void
Leave(Session *session)
{
	if (session == NULL || session->connection == NULL)
		return;
	ConnectionGone(session->connection);
	session->connection = NULL;
}

static int
OnEvent(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t length)
{
	Session *session = user;

	switch (reason)
	{
		case LWS_CALLBACK_SERVER_NEW_CLIENT_INSTANTIATED:
			return ArrivalsAdd(&ServerOf(wsi)->arrivals, wsi) ? 0 : -1;
		case LWS_CALLBACK_HTTP:
			return AnswerHttp(wsi, in);
		case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
			return Admit(wsi, session) ? 0 : -1;
		case LWS_CALLBACK_ESTABLISHED:
			ConnectionOpened(session->connection, wsi);
			return 0;
		case LWS_CALLBACK_RECEIVE:
			if (session->connection != NULL)
				Receive(wsi, session->connection, in, length);
			return 0;
		case LWS_CALLBACK_SERVER_WRITEABLE:
			return session->connection == NULL || ConnectionWrite(session->connection) ? 0 : -1;
		case LWS_CALLBACK_CLOSED:
			Leave(session);
			return 0;
		case LWS_CALLBACK_WSI_DESTROY:
			Leave(session);
			ArrivalsRemove(&ServerOf(wsi)->arrivals, wsi);
			return 0;
		case LWS_CALLBACK_EVENT_WAIT_CANCELLED:
			AdvanceAll(ServerOf(wsi), true);
			return 0;
		default:
			return 0;
	}
}

/* The names are those of subprotocols; the first serves those that name none. */
static const struct lws_protocols protocols[] = {{.name = "cauce",
												  .callback = OnEvent,
												  .per_session_data_size = sizeof(Session),
												  .rx_buffer_size = RX_SIZE},
												 {.name = "token",
												  .callback = OnEvent,
												  .per_session_data_size = sizeof(Session),
												  .rx_buffer_size = RX_SIZE},
												 {.name = "bearer",
												  .callback = OnEvent,
												  .per_session_data_size = sizeof(Session),
												  .rx_buffer_size = RX_SIZE},
												 {.name = NULL}};

/*
 * The loop
 */

/* BeginDrain ends all streams, each in its own time. */
static void
BeginDrain(Server *server)
{
	Connection *connection;

	Report("event=drain streams=%d deadline_s=%d", server->connections, server->options->drain_s);
	server->draining = true;
	server->deadline_ms = ClockMs() + (int64_t) server->options->drain_s * 1000;
	for (connection = server->first; connection != NULL; connection = connection->next)
		ConnectionEnd(connection, LWS_CLOSE_STATUS_GOINGAWAY, "the server is going away");
}

static void
OnTick(lws_sorted_usec_list_t *tick)
{
	Server *server = lws_container_of(tick, Server, tick);

	if (SignalsCount() > 0 && !server->draining)
		BeginDrain(server);
	AdvanceAll(server, false);
	lws_sul_schedule(server->lws, 0, tick, OnTick, TICK_US);
}

/* OnLog passes on what libwebsockets has to say of errors; it quotes no content. */
static void
OnLog(int level, const char *line)
{
	(void) level;
	Report("event=libwebsockets message=\"%.*s\"", (int) strcspn(line, "\n"), line);
}

/* ReadAddress takes apart HOST:PORT, [HOST]:PORT or :PORT. */
static bool
ReadAddress(const char *address, char host[HOST_MAX], int *port)
{
	const char *colon = strrchr(address, ':');
	size_t length;

	if (colon == NULL || !RequestNumber(colon + 1, 0, UINT16_MAX, port))
		return false;
	length = (size_t) (colon - address);
	if (length >= 2 && address[0] == '[' && address[length - 1] == ']')
	{
		address++;
		length -= 2;
	}
	if (length >= HOST_MAX)
		return false;
	memcpy(host, address, length);
	host[length] = '\0';
	return true;
}

bool
ServerListen(Server *server)
{
	const Options *options = server->options;
	struct lws_context_creation_info info;
	char host[HOST_MAX];
	struct lws_vhost *vhost;
	struct in_addr ipv4;
	int port;

	if (!ReadAddress(options->listen, host, &port))
	{
		Report("--listen takes HOST:PORT, [IPV6]:PORT or :PORT");
		return false;
	}
	server->arrivals.most = options->connections;
	memset(&info, 0, sizeof(info));
	lws_set_log_level(LLL_ERR, OnLog);
	info.port = port;
	info.iface = *host == '\0' ? NULL : host;
	info.protocols = protocols;
	info.vhost_name = "cauce";
	info.gid = (gid_t) -1;
	info.uid = (uid_t) -1;
	info.user = server;
	info.options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT | LWS_SERVER_OPTION_ALLOW_LISTEN_SHARE |
				   LWS_SERVER_OPTION_FAIL_UPON_UNABLE_TO_BIND | LWS_SERVER_OPTION_VALIDATE_UTF8 |
				   LWS_SERVER_OPTION_EXPLICIT_VHOSTS |
				   (inet_pton(AF_INET, host, &ipv4) == 1 ? LWS_SERVER_OPTION_DISABLE_IPV6 : 0);
	info.ssl_cert_filepath = options->tls_cert;
	info.ssl_private_key_filepath = options->tls_key;
	info.ssl_options_set =
		SSL_OP_NO_SSLv3 | SSL_OP_NO_TLSv1 | SSL_OP_NO_TLSv1_1 | SSL_OP_NO_TLSv1_2 |
		SSL_OP_CLEANSE_PLAINTEXT; /* of what OpenSSL has decrypted and given out */
	info.alpn = "http/1.1";
	info.max_http_header_data2 = HEADERS_MAX;
	info.max_http_header_pool2 = (unsigned int) (options->connections + ARRIVALS_SLACK);
	info.pt_serv_buf_size = RX_SIZE;
	info.timeout_secs = HANDSHAKE_S;
	info.keepalive_timeout = HANDSHAKE_S;
	info.ka_time = KEEPALIVE_IDLE_S;
	info.ka_probes = KEEPALIVE_PROBES;
	info.ka_interval = KEEPALIVE_INTERVAL_S;
	info.fd_limit_per_thread = (unsigned int) (options->connections + ARRIVALS_SLACK);
	server->lws = lws_create_context(&info);
	vhost = server->lws == NULL ? NULL : lws_create_vhost(server->lws, &info);
	if (vhost == NULL)
	{
		Report("cannot listen at %s with this certificate and key; is the port free?",
			   options->listen);
		return false;
	}
	Report("event=listening port=%d", lws_get_vhost_listen_port(vhost));
	return true;
}

void
ServerRun(Server *server)
{
	lws_sul_schedule(server->lws, 0, &server->tick, OnTick, TICK_US);
	while (!server->leaving)
	{
		lws_service(server->lws, 0);
		if (server->draining && server->connections == 0)
			break;
		server->leaving =
			server->draining && (SignalsCount() >= 2 || ClockMs() >= server->deadline_ms);
	}
	lws_sul_schedule(server->lws, 0, &server->tick, OnTick, LWS_SET_TIMER_USEC_CANCEL);
}

void
ServerClose(Server *server)
{
	Connection *connection;

	for (connection = server->first; connection != NULL; connection = connection->next)
	{
		if (connection->sink_started && !SinkHasEnded(SinkGetState(&connection->sink)))
			server->unstored = true;
		ConnectionStop(connection);
	}
	if (server->pool.threads != NULL)
		PoolStop(&server->pool);
	if (server->lws != NULL)
		lws_context_destroy(server->lws);
	server->lws = NULL;
	while ((connection = server->first) != NULL)
	{
		Unlink(server, connection);
		ConnectionFree(connection);
	}
}
