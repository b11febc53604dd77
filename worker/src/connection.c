/*
 * connection.c
 *	  Ties a client's socket, stream and sink together.
 */
#include "connection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "deepgram.h"
#include "report.h"
#include "server.h"
#include "text.h"

#define TOKEN_MAX ((size_t) 8192) /* bytes of a token */
#define TEXT_MAX ((size_t) 16384) /* bytes of a text message */
#define PIECE_MAX ((size_t) (VOICE_BLOCK * PCM_CHANNELS_MAX * PCM_SAMPLE_MAX))

/* Pieces of a turn, unless a segment is complete before: 400 ms of audio. */
#define TURN_PIECES 4

/*
 * Interim text has a part of the time for which the pool has nothing else to do: for each second that it
 * takes while others wait, another one is left free, so that a complete segment seldom finds the pool at it.
 */
#define INTERIM_SHARE 2

/* How long a client may say nothing: to name itself, and after that by protocol. */
#define NAME_TIMEOUT_MS 10000
#define DEEPGRAM_TIMEOUT_MS 10000
#define VOSK_TIMEOUT_MS 60000

static const char *const stateNames[] = {"unnamed", "checking", "listening", "draining", "closing"};

/* EnterState is the one place where the state changes. */
static void
EnterState(Connection *connection, ConnectionState state)
{
	if (connection->state == state)
		return;
	connection->state = state;
	if (state == CONNECTION_CLOSING && connection->wsi != NULL)
		lws_callback_on_writable(connection->wsi);
	Report("event=%s stream=%ld protocol=%s session=%s", stateNames[state], connection->number,
		   connection->request.protocol == PROTOCOL_VOSK ? "vosk" : "deepgram",
		   *connection->token.session_id == '\0' ? "-" : connection->token.session_id);
}

/* Note leaves word for the event loop, from any thread. */
static void
Note(Connection *connection)
{
	if (!atomic_exchange(&connection->noted, true))
		ServerWake(connection->server);
}

/* CloseWith keeps the first reason that there is, without a hint about the command line after it. */
static void
CloseWith(Connection *connection, int code, const char *reason)
{
	if (connection->close_code != 0)
		return;
	connection->close_code = code;
	snprintf(connection->close_reason, sizeof(connection->close_reason), "%.*s",
			 (int) strcspn(reason, ";"), reason);
}

/*
 * The pool's part
 */

static void
PutNote(Connection *connection, const Utterance *note)
{
	if (!QueuePut(&connection->sink.queue, note, 0))
		UtteranceFree(note);
}

static void
TakeHeard(Connection *connection)
{
	Utterance note = {.kind = UTTERANCE_HEARD};

	if (connection->stream.started)
		note.said.text = ChannelPartial(&connection->stream.channels[0]);
	PutNote(connection, &note);
}

/* TakeFlush transcribes what there is; if that is nothing, the answer says so. */
static void
TakeFlush(Connection *connection)
{
	Stream *stream = &connection->stream;
	Utterance note = {.kind = UTTERANCE_FLUSHED, .flushed = true};
	long before = StreamRecognised(stream);

	StreamFlush(stream);
	note.start_ms = note.end_ms = (int64_t) (StreamSeconds(stream) * 1000.0);
	if (connection->request.protocol == PROTOCOL_VOSK || StreamRecognised(stream) == before)
		PutNote(connection, &note);
}

/* FinishStream ends the stream: nothing more is taken from the intake. */
static TaskRank
FinishStream(Connection *connection)
{
	Stream *stream = &connection->stream;

	if (connection->stream_started)
	{
		StreamFinish(stream);
		connection->duration_ms = (int64_t) (StreamSeconds(stream) * 1000.0);
		connection->failure = stream->failure;
		connection->problem = stream->problem;
		if (stream->bytes == 0)
			connection->failure = EXIT_STORED; /* to have said nothing is no fault here */
	}
	ArenaWipe(connection->intake.bytes, INTAKE_BYTES);
	ArenaWipe(connection->piece, PIECE_MAX);
	atomic_store(&connection->stream_done, true);
	Note(connection);
	return TASK_NOTHING;
}

static int64_t
FirstSeq(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* StartStream returns false if it cannot start. */
static bool
StartStream(Connection *connection)
{
	Server *server = connection->server;
	const Request *request = &connection->request;
	const ChannelSetup setup = {.first_seq = FirstSeq(),
								.pause_ms = request->pause_ms,
								.notes = request->notes,
								.recognizer = server->recognizer,
								.sink = &connection->sink};

	connection->stream_started = true;
	connection->sink.database.offset_ms = request->settings.offset_ms;
	return StreamInit(&connection->stream, &request->settings, &setup, server->voices);
}

/* CountAudio adds what was heard since the last time to the metrics. */
static void
CountAudio(Connection *connection)
{
	int64_t heard =
		(int64_t) (StreamSeconds(&connection->stream) * 1000.0) * connection->stream.channel_count;

	atomic_fetch_add(&connection->server->metrics.audio_ms, (long) (heard - connection->audio_ms));
	connection->audio_ms = heard;
}

/* Ahead tells the rank of what may be done with open segments; of interim text, if there is time for it. */
static TaskRank
Ahead(const Connection *connection)
{
	switch (StreamAheadDue(&connection->stream))
	{
		case CHANNEL_EARLY:
			return TASK_EARLY;
		case CHANNEL_INTERIM:
			return atomic_load(&connection->server->pool.spare_us) >= 0 ? TASK_SPARE : TASK_NOTHING;
		default:
			return TASK_NOTHING;
	}
}

/* DecodeAhead decodes an open segment; interim text that keeps others waiting has to leave spare time. */
static TaskRank
DecodeAhead(Connection *connection, TaskRank due)
{
	Pool *pool = &connection->server->pool;
	int64_t start = ClockThreadUs();

	if (!StreamDecodeAhead(&connection->stream))
		return FinishStream(connection);
	if (due == TASK_SPARE && atomic_load(&pool->waiting) > 0)
		atomic_fetch_sub(&pool->spare_us, (long) (INTERIM_SHARE * (ClockThreadUs() - start)));
	return Ahead(connection);
}

/*
 * LookAhead decodes an open segment if that is due and nobody waits for what is more urgent: this is a turn for it, or
 * nobody waits at all. Else it asks for such a turn.
 */
static TaskRank
LookAhead(Connection *connection)
{
	TaskRank due = Ahead(connection);

	if (due == TASK_NOTHING ||
		(due > connection->task.rank && atomic_load(&connection->server->pool.waiting) > 0))
		return due;
	return DecodeAhead(connection, due);
}

/*
 * LookBetween is for a client that sends faster than it speaks: it gets interim text, too, while nobody
 * waits, but nothing is decoded early, as what follows is there already.
 */
static void
LookBetween(Connection *connection)
{
	if (atomic_load(&connection->server->pool.waiting) == 0 && Ahead(connection) == TASK_SPARE)
		DecodeAhead(connection, TASK_SPARE);
}

/* TakePiece takes a piece of audio or a mark; returns what there is more to do. */
static TaskRank
TakePiece(Connection *connection)
{
	Stream *stream = &connection->stream;
	size_t most = StreamPiece(stream);
	IntakeMark mark;
	size_t size;
	bool fed;

	size = IntakeTake(&connection->intake, connection->piece, most < PIECE_MAX ? most : PIECE_MAX,
					  &mark);
	if (size > 0)
	{
		fed = StreamFeed(stream, connection->piece, size);
		ArenaWipe(connection->piece, size);
		return fed ? TASK_NOW : FinishStream(connection);
	}
	if (mark == MARK_HEARD)
		TakeHeard(connection);
	else if (mark == MARK_FLUSH)
		TakeFlush(connection);
	else if (mark == MARK_END)
		return FinishStream(connection);
	return mark == MARK_NONE ? LookAhead(connection) : TASK_NOW;
}

/* MayGoOn tells whether there is room for what a piece may bring about. */
static bool
MayGoOn(Connection *connection)
{
	return QueueRoom(&connection->sink.queue) > StreamPutMax(&connection->stream) + 1 &&
		   !OutboxCrowded(&connection->outbox);
}

/* TakeTurn is a turn of the pool. */
static TaskRank
TakeTurn(Connection *connection)
{
	long before = StreamRecognised(&connection->stream);
	TaskRank more = TASK_NOW;
	int pieces;

	if (atomic_load(&connection->stream_done))
		return TASK_NOTHING;
	if (SinkHasEnded(SinkGetState(&connection->sink)))
		return FinishStream(connection);
	if (!atomic_load(&connection->accepted))
		return TASK_NOTHING;
	/* The request may still change until there is something to take. */
	if (!connection->stream_started && IntakeEmpty(&connection->intake))
		return TASK_NOTHING;
	if (!connection->stream_started && !StartStream(connection))
		return FinishStream(connection);
	for (pieces = 0; more == TASK_NOW && pieces < TURN_PIECES &&
					 StreamRecognised(&connection->stream) == before;
		 pieces++)
		more = MayGoOn(connection) ? TakePiece(connection) : TASK_NOTHING;
	if (more == TASK_NOW && MayGoOn(connection))
		LookBetween(connection);
	return more;
}

static TaskRank
RunTask(Task *task)
{
	Connection *connection = (Connection *) task;
	int64_t start = ClockThreadUs();
	TaskRank more = TakeTurn(connection);

	CountAudio(connection);
	if (connection->stream.started)
		atomic_store(&connection->heard_channels, connection->stream.channel_count);
	atomic_fetch_add(&connection->server->metrics.decode_us, (long) (ClockThreadUs() - start));
	if (!IntakeCrowded(&connection->intake))
		Note(connection);
	return more;
}

/*
 * The sink's part
 */

/* OnChanged hears that the database has accepted the token, or that the sink has ended. */
static void
OnChanged(void *context)
{
	Connection *connection = context;

	if (SinkGetState(&connection->sink) == SINK_READY)
		atomic_store(&connection->accepted, true);
	PoolWake(&connection->server->pool, &connection->task);
	Note(connection);
}

/* OnPassed answers the client. */
static void
OnPassed(void *context, const Utterance *utterance, const DatabaseAlerts *alerts)
{
	Connection *connection = context;
	Metrics *metrics = &connection->server->metrics;

	if (utterance->kind == UTTERANCE_SEGMENT)
	{
		atomic_fetch_add(&metrics->segments, 1);
		MetricsLatency(metrics, ClockMs() - utterance->spoken_ms);
	}
	atomic_fetch_add(&metrics->alerts, (long) alerts->count);
	if (connection->request.protocol == PROTOCOL_VOSK)
		VoskPassed(&connection->vosk, &connection->request, utterance, alerts, &connection->outbox);
	else
		DeepgramPassed(&connection->request, connection->stream.channel_count, utterance, alerts,
					   &connection->outbox);
	PoolWake(&connection->server->pool, &connection->task);
	Note(connection);
}

/*
 * The event loop's part
 */

Connection *
ConnectionMake(Server *server, const Request *request)
{
	Connection *connection = calloc(1, sizeof(*connection));
	int i;

	if (connection == NULL)
		return NULL;
	connection->task.run = RunTask;
	connection->server = server;
	connection->request = *request;
	for (i = 0; i < request->settings.speaker_count; i++)
		connection->request.settings.speakers[i] = connection->request.names[i];
	connection->heard_ms = ClockMs();
	connection->number = ++server->opened;
	if (!OutboxInit(&connection->outbox))
	{
		free(connection);
		return NULL;
	}
	if (!VoskInit(&connection->vosk))
	{
		OutboxDestroy(&connection->outbox);
		free(connection);
		return NULL;
	}
	connection->next = server->first;
	server->first = connection;
	server->connections++;
	return connection;
}

/* Lock takes locked memory for the intake and the token. */
static bool
Lock(Connection *connection, const char *token)
{
	size_t length = strlen(token);
	char *text;

	if (!ArenaCreate(&connection->arena, ConnectionRoom()))
		return false;
	text = ArenaTake(&connection->arena, TOKEN_MAX);
	connection->piece = ArenaTake(&connection->arena, PIECE_MAX);
	if (text == NULL || connection->piece == NULL ||
		!IntakeInit(&connection->intake, &connection->arena))
	{
		ArenaDestroy(&connection->arena);
		return false;
	}
	memcpy(text, token, length + 1);
	connection->token.text = text;
	return true;
}

size_t
ConnectionRoom(void)
{
	return ArenaRoom(TOKEN_MAX) + ArenaRoom(PIECE_MAX) + ArenaRoom(INTAKE_BYTES);
}

/* HasRoom tells whether there is room for so many channels in place of those that are claimed. */
static bool
HasRoom(const Connection *connection, int channels)
{
	const Server *server = connection->server;

	return server->claimed - connection->channels + channels <= server->options->capacity;
}

/* Claim counts the channels of a stream. */
static void
Claim(Connection *connection, int channels)
{
	connection->server->claimed += channels - connection->channels;
	connection->channels = channels;
}

int
ConnectionName(Connection *connection, const char *token, const char **problem)
{
	Server *server = connection->server;
	const SinkHooks hooks = {.context = connection, .changed = OnChanged, .passed = OnPassed};
	int channels = connection->request.settings.format.channels;

	*problem =
		strlen(token) < TOKEN_MAX ? TokenParse(token, connection->token.session_id) : "is too long";
	if (*problem != NULL)
	{
		atomic_fetch_add(&server->metrics.refused_request, 1);
		return HTTP_STATUS_UNAUTHORIZED;
	}
	if (server->draining || !HasRoom(connection, channels) || !Lock(connection, token))
	{
		*problem = server->draining ? "the server is going away" : "the server is full";
		atomic_fetch_add(&server->metrics.refused_capacity, 1);
		return HTTP_STATUS_SERVICE_UNAVAILABLE;
	}
	connection->claimed = true;
	Claim(connection, channels);
	if (!SinkStart(&connection->sink, server->conninfo, &connection->token, 0, &hooks))
	{
		*problem = "the server has no thread left";
		return HTTP_STATUS_SERVICE_UNAVAILABLE;
	}
	connection->sink_started = true;
	atomic_fetch_add(&server->metrics.opened, 1);
	EnterState(connection, CONNECTION_CHECKING);
	return 0;
}

void
ConnectionOpened(Connection *connection, struct lws *wsi)
{
	connection->wsi = wsi;
	connection->heard_ms = ClockMs();
}

void
ConnectionEnd(Connection *connection, int code, const char *reason)
{
	CloseWith(connection, code, reason);
	if (connection->state == CONNECTION_CHECKING || connection->state == CONNECTION_LISTENING)
	{
		IntakePutMark(&connection->intake, MARK_END);
		EnterState(connection, CONNECTION_DRAINING);
		PoolWake(&connection->server->pool, &connection->task);
	}
	else if (connection->state == CONNECTION_UNNAMED)
		EnterState(connection, CONNECTION_CLOSING);
}

/* EndCleanly ends the stream because the client says so. */
static void
EndCleanly(Connection *connection)
{
	connection->clean = true;
	ConnectionEnd(connection, LWS_CLOSE_STATUS_NORMAL, "");
}

static bool
TakesAudio(const Connection *connection)
{
	return connection->state == CONNECTION_CHECKING || connection->state == CONNECTION_LISTENING;
}

/* Pace lets the client go on sending, or makes it wait. */
static void
Pace(Connection *connection)
{
	bool pause = TakesAudio(connection) && IntakeCrowded(&connection->intake);

	if (connection->wsi == NULL || pause == connection->paused)
		return;
	connection->paused = pause;
	connection->heard_ms = ClockMs();
	lws_rx_flow_control(connection->wsi, pause ? 0 : 1 | LWS_RXFLOW_REASON_FLAG_PROCESS_NOW);
}

void
ConnectionAudio(Connection *connection, const unsigned char *bytes, size_t size, bool whole)
{
	connection->heard_ms = ClockMs();
	connection->begun = true;
	if (connection->state == CONNECTION_UNNAMED)
	{
		ConnectionEnd(connection, LWS_CLOSE_STATUS_POLICY_VIOLATION, "a token has to come first");
		return;
	}
	if (!TakesAudio(connection))
		return;
	if (!IntakePut(&connection->intake, bytes, size) ||
		(whole && connection->request.protocol == PROTOCOL_VOSK &&
		 !IntakePutMark(&connection->intake, MARK_HEARD)))
		ConnectionEnd(connection, LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE, "too much at once");
	PoolWake(&connection->server->pool, &connection->task);
	Pace(connection);
}

/* TakeToken takes a token from a message. */
static void
TakeToken(Connection *connection, const char *token)
{
	const char *problem;
	int status;

	if (connection->state != CONNECTION_UNNAMED)
		return;
	status = ConnectionName(connection, token, &problem);
	if (status == 0)
		ArrivalsName(connection->wsi);
	else if (status == HTTP_STATUS_UNAUTHORIZED)
		ConnectionEnd(connection, LWS_CLOSE_STATUS_POLICY_VIOLATION,
					  "the token is no stream token");
	else
		ConnectionEnd(connection, CLOSE_TRY_AGAIN, problem);
}

static void
TakeMessage(Connection *connection, const ClientMessage *message)
{
	if (message->kind == MESSAGE_REFUSED)
	{
		ConnectionEnd(connection, LWS_CLOSE_STATUS_UNACCEPTABLE_OPCODE, message->problem);
		return;
	}
	if (message->token != NULL)
		TakeToken(connection, message->token);
	if (message->kind == MESSAGE_FLUSH && TakesAudio(connection))
	{
		connection->begun = true;
		IntakePutMark(&connection->intake, MARK_FLUSH);
		PoolWake(&connection->server->pool, &connection->task);
	}
	else if (message->kind == MESSAGE_END)
		EndCleanly(connection);
	else if (message->kind == MESSAGE_UNKNOWN)
		ConnectionEnd(connection, LWS_CLOSE_STATUS_UNACCEPTABLE_OPCODE,
					  "a text message that this protocol does not have");
}

/* TakeChannels makes room for the channels of a config that comes after the token. */
static void
TakeChannels(Connection *connection, int channels)
{
	if (!connection->claimed)
		return;
	if (HasRoom(connection, channels))
		Claim(connection, channels);
	else
		ConnectionEnd(connection, CLOSE_TRY_AGAIN, "the server is full");
}

/* ReadMessage reads a whole text message. */
static void
ReadMessage(Connection *connection)
{
	ClientMessage message;
	Request changed = connection->request;

	if (connection->request.protocol == PROTOCOL_DEEPGRAM)
		DeepgramMessage(connection->text, connection->text_length, &message);
	else
		VoskMessage(&changed, connection->text, connection->text_length, &message);
	if (message.kind == MESSAGE_CONFIG && connection->begun)
	{
		message.kind = MESSAGE_REFUSED;
		message.problem = "config comes before audio";
	}
	else if (message.kind == MESSAGE_CONFIG)
	{
		int i;

		TakeChannels(connection, changed.settings.format.channels);
		connection->request = changed;
		for (i = 0; i < changed.settings.speaker_count; i++)
			connection->request.settings.speakers[i] = connection->request.names[i];
	}
	TakeMessage(connection, &message);
	TextFree(message.token);
}

void
ConnectionText(Connection *connection, const char *text, size_t length, bool whole)
{
	char *longer;

	connection->heard_ms = ClockMs();
	longer = connection->text_length + length > TEXT_MAX
				 ? NULL
				 : realloc(connection->text, connection->text_length + length + 1);
	if (longer == NULL)
	{
		ConnectionEnd(connection, LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE, "a text message is too long");
		return;
	}
	memcpy(longer + connection->text_length, text, length);
	connection->text = longer;
	connection->text_length += length;
	if (!whole)
		return;
	ReadMessage(connection);
	free(connection->text);
	connection->text = NULL;
	connection->text_length = 0;
}

bool
ConnectionWrite(Connection *connection)
{
	Message *message = OutboxTake(&connection->outbox);
	bool written = true;

	if (message != NULL)
	{
		written = lws_write(connection->wsi, message->text, message->length, LWS_WRITE_TEXT) >= 0;
		MessageFree(message);
		PoolWake(&connection->server->pool, &connection->task);
	}
	if (!written)
		return false;
	if (!OutboxEmpty(&connection->outbox))
		lws_callback_on_writable(connection->wsi);
	else if (connection->state == CONNECTION_CLOSING)
	{
		lws_close_reason(connection->wsi, (enum lws_close_status) connection->close_code,
						 (unsigned char *) connection->close_reason,
						 strlen(connection->close_reason));
		return false;
	}
	return true;
}

void
ConnectionGone(Connection *connection)
{
	connection->wsi = NULL;
	ConnectionEnd(connection, LWS_CLOSE_STATUS_NORMAL, "");
	Note(connection);
}

/* Refuse says that the database does not take what was said. */
static void
Refuse(Connection *connection, SinkState state)
{
	char reason[CLOSE_REASON_MAX];
	long lost = StreamRecognised(&connection->stream) - atomic_load(&connection->sink.stored);

	snprintf(reason, sizeof(reason), "%.100s", connection->sink.database.problem);
	if (lost > 0 && state != SINK_REFUSED)
		connection->server->unstored = true;
	if (state == SINK_REFUSED)
	{
		atomic_fetch_add(&connection->server->metrics.refused_database, 1);
		connection->close_code =
			LWS_CLOSE_STATUS_POLICY_VIOLATION; /* whatever there was to say before */
		snprintf(connection->close_reason, sizeof(connection->close_reason), "%s", reason);
	}
	Report("event=refused stream=%ld unstored=%ld reason=\"%s\"", connection->number, lost, reason);
}

/* SayEnd is for a stream of which all is stored. */
static void
SayEnd(Connection *connection)
{
	if (connection->problem != NULL && connection->failure != EXIT_STORED)
	{
		connection->close_code = 0;
		CloseWith(connection,
				  connection->failure == EXIT_BAD_AUDIO || connection->failure == EXIT_USAGE
					  ? LWS_CLOSE_STATUS_UNACCEPTABLE_OPCODE
				  : connection->failure == EXIT_ENGINE ? LWS_CLOSE_STATUS_UNEXPECTED_CONDITION
													   : CLOSE_TRY_AGAIN,
				  connection->problem);
	}
	CloseWith(connection, LWS_CLOSE_STATUS_NORMAL, "");
	if (connection->request.protocol == PROTOCOL_VOSK)
		VoskEnd(&connection->vosk, &connection->request, &connection->outbox);
	else
		DeepgramEnd(&connection->request, connection->channels, connection->duration_ms,
					&connection->outbox);
}

/* FollowSink draws the conclusions of what the sink is at. */
static void
FollowSink(Connection *connection)
{
	SinkState state = SinkGetState(&connection->sink);

	if (connection->state == CONNECTION_CHECKING && atomic_load(&connection->accepted))
		EnterState(connection, CONNECTION_LISTENING);
	if (atomic_load(&connection->stream_done) && !connection->sink_finishing)
	{
		connection->sink_finishing = true;
		SinkFinish(&connection->sink, connection->clean && !connection->request.keep_session &&
										  connection->failure == EXIT_STORED &&
										  !ServerHasSession(connection->server, connection));
	}
	if (!SinkHasEnded(state) || !atomic_load(&connection->stream_done) ||
		connection->state == CONNECTION_CLOSING)
		return;
	if (state == SINK_DONE)
		SayEnd(connection);
	else
		Refuse(connection, state);
	CloseWith(connection, LWS_CLOSE_STATUS_UNEXPECTED_CONDITION, "not everything could be stored");
	EnterState(connection, CONNECTION_CLOSING);
}

/* CheckTime ends a stream of which nothing is heard. */
static void
CheckTime(Connection *connection)
{
	int64_t silent = ClockMs() - connection->heard_ms;

	if (connection->state == CONNECTION_UNNAMED && silent > NAME_TIMEOUT_MS)
		ConnectionEnd(connection, LWS_CLOSE_STATUS_POLICY_VIOLATION, "no token came");
	else if (connection->paused || !TakesAudio(connection))
		return;
	else if (connection->request.protocol == PROTOCOL_DEEPGRAM && silent > DEEPGRAM_TIMEOUT_MS)
		ConnectionEnd(connection, LWS_CLOSE_STATUS_UNEXPECTED_CONDITION,
					  "NET-0001: neither audio nor KeepAlive for 10 s");
	else if (connection->request.protocol == PROTOCOL_VOSK && silent > VOSK_TIMEOUT_MS)
		ConnectionEnd(connection, LWS_CLOSE_STATUS_UNEXPECTED_CONDITION, "no audio for 60 s");
}

void
ConnectionAdvance(Connection *connection)
{
	int heard = atomic_load(&connection->heard_channels);

	atomic_store(&connection->noted, false);
	if (connection->claimed && heard > 0)
		Claim(connection, heard); /* as the header has it */
	if (connection->sink_started)
		FollowSink(connection);
	CheckTime(connection);
	if (connection->wsi == NULL)
		return;
	if (connection->sink_started)
		Pace(connection);
	if (!OutboxEmpty(&connection->outbox) || connection->state == CONNECTION_CLOSING)
		lws_callback_on_writable(connection->wsi);
}

bool
ConnectionIsOver(const Connection *connection)
{
	return connection->wsi == NULL && connection->state == CONNECTION_CLOSING;
}

void
ConnectionStop(Connection *connection)
{
	if (!connection->sink_started)
		return;
	SinkAbandon(&connection->sink);
	PoolRest(&connection->server->pool, &connection->task);
	SinkDestroy(&connection->sink);
	/* The sink's last word may have woken the task. */
	PoolRest(&connection->server->pool, &connection->task);
	connection->sink_started = false;
}

void
ConnectionFree(Connection *connection)
{
	ConnectionStop(connection);
	StreamWipe(&connection->stream);
	if (connection->claimed)
		connection->server->claimed -= connection->channels;
	if (connection->arena.base != NULL)
		IntakeDestroy(&connection->intake);
	ArenaDestroy(&connection->arena);
	VoskDestroy(&connection->vosk);
	OutboxDestroy(&connection->outbox);
	free(connection->text);
	explicit_bzero(connection, sizeof(*connection));
	free(connection);
}
