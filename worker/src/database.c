/*
 * database.c
 *	  Stores utterances through libpq.
 *
 * A transaction goes to the server in one piece (pipeline mode) and costs one round trip. The
 * token and the text are bound parameters and never part of a statement.
 */
#include "database.h"

#include <ctype.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CONNECT_TIMEOUT_S 15
#define CONNECT_POLL_MS 200 /* how soon a broken queue is noticed while connecting */

#define SQL_BEGIN "BEGIN"
#define SQL_COMMIT "COMMIT"
#define SQL_ROLLBACK "ROLLBACK"

/* The comparison keeps the server from sending the token back. */
#define SQL_TOKEN "SELECT pg_catalog.set_config('cauce.token', $1, true) IS NOT NULL"

/* No conflict target and nothing returned: a stream token may not read the table. */
#define SQL_INSERT                                                                                 \
	"INSERT INTO cauce.transcript_segment"                                                         \
	" (session_id, channel, seq, speaker, start_ms, end_ms, confidence, body)"                     \
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING"

#define SQL_RULES "SELECT id, pattern, kind, severity FROM cauce.stream_alert_rules()"

/* Whether there is a session for the token to append to. */
#define SQL_SESSION "SELECT cauce.appending_session_id() IS NOT NULL"

/* The id is made of the segment and the rule, so that the same alert is not raised twice. */
#define SQL_ALERT                                                                                  \
	"INSERT INTO cauce.alert (session_id, id, kind, severity, at_ms, detail)"                      \
	" VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING"

#define SQL_END "SELECT cauce.end_stream()"

#define INSERT_PARAMETERS 8
#define ALERT_PARAMETERS 6
#define RULE_FIELDS 4
#define UUID_BYTES 16
#define UUID_TEXT 37
#define NUMBER_MAX 24 /* characters of a 64-bit number, with room */

typedef struct Statement
{
	const char *sql;
	int count;
	const char *const *values;
} Statement;

/* What the answers to a pipeline of statements add up to. */
typedef struct Answer
{
	bool lost; /* the connection ended before all was answered */
	bool failed; /* a statement was refused */
	char state[6]; /* its SQLSTATE, or empty */
	bool no; /* a statement answered false */
	int inserts; /* answers to INSERTs */
	char rows[NUMBER_MAX]; /* of the first INSERT: how many rows it made */
	Rules *rules; /* to be filled from rows of SQL_RULES, unless NULL */
	bool too_many; /* there are more than are looked for, or there is no memory */
} Answer;

bool
DatabaseCheckConninfo(const char *conninfo)
{
	char *problem = NULL;
	PQconninfoOption *options = PQconninfoParse(conninfo, &problem);
	bool understood = options != NULL;

	if (problem != NULL)
	{
		explicit_bzero(problem, strlen(problem));
		PQfreemem(problem);
	}
	PQconninfoFree(options);
	return understood;
}

void
DatabaseInit(Database *database, const char *conninfo, const Token *token)
{
	memset(database, 0, sizeof(*database));
	database->conninfo = conninfo;
	database->token = token;
}

/* IgnoreNotice drops what the server says beside its answers: it is for people at a prompt. */
static void
IgnoreNotice(void *argument, const PGresult *result)
{
	(void) argument;
	(void) result;
}

/* SetProblem keeps the first line of a message. */
static void
SetProblem(Database *database, const char *message)
{
	snprintf(database->problem, sizeof(database->problem), "%.*s", (int) strcspn(message, "\n"),
			 message);
}

/*
 * StartConnection begins to connect. Of a keyword that is given twice the last counts, so that
 * conninfo overrides what stands before it and not what stands behind. A variable PGSSLMODE of the
 * environment has to be passed over here, as it would count less than a keyword.
 */
static PGconn *
StartConnection(const char *conninfo)
{
	const char *sslmode = getenv("PGSSLMODE");
	const char *keywords[] = {"sslmode",		  "ssl_min_protocol_version",
							  "gssencmode",		  "keepalives_idle",
							  "keepalives_count", "tcp_user_timeout",
							  "dbname",			  "fallback_application_name",
							  "client_encoding",  NULL};
	const char *values[] = {sslmode == NULL ? "require" : sslmode,
							"TLSv1.3",
							"disable",
							"30",
							"3",
							"30000",
							conninfo,
							"cauce-worker",
							"UTF8",
							NULL};

	return PQconnectStartParams(keywords, values, 1);
}

/* AwaitConnection waits for the connection to come about; returns false if it did not. */
static bool
AwaitConnection(PGconn *connection, Queue *queue)
{
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;
	time_t end = time(NULL) + CONNECT_TIMEOUT_S;

	if (PQstatus(connection) == CONNECTION_BAD)
		return false;
	while (status != PGRES_POLLING_OK)
	{
		struct pollfd wait = {.fd = PQsocket(connection)};

		if (status == PGRES_POLLING_FAILED || time(NULL) > end || QueueBroken(queue))
			return false;
		wait.events = status == PGRES_POLLING_READING ? POLLIN : POLLOUT;
		if (poll(&wait, 1, CONNECT_POLL_MS) != 0)
			status = PQconnectPoll(connection);
	}
	return true;
}

/*
 * ConnectState finds the SQLSTATE in the message of a failed connection, which libpq does not
 * give otherwise: the message is verbose and has it as "SEVERITY:  STATE: text".
 */
static bool
ConnectState(const char *message, char state[6])
{
	const char *place = message;
	size_t i;

	while ((place = strstr(place, ":  ")) != NULL)
	{
		place += 3;
		for (i = 0; i < 5; i++)
		{
			if (!isdigit((unsigned char) place[i]) && !isupper((unsigned char) place[i]))
				break;
		}
		if (i == 5 && place[5] == ':')
		{
			memcpy(state, place, 5);
			state[5] = '\0';
			return true;
		}
	}
	return false;
}

/* A server that does not speak the TLS that is asked for will not learn it soon. */
static bool
IsTlsRefusal(const char *message)
{
	return strstr(message, "does not support SSL") != NULL ||
		   strstr(message, "certificate verify failed") != NULL ||
		   strstr(message, "protocol version") != NULL ||
		   strstr(message, "unsupported protocol") != NULL;
}

static Outcome
ConnectFailure(Database *database)
{
	const char *message = PQerrorMessage(database->connection);
	char state[6];
	Outcome outcome = OUTCOME_RETRY;

	if (ConnectState(message, state))
		outcome = OutcomeOfState(state);
	else if (IsTlsRefusal(message))
		outcome = OUTCOME_REFUSED;
	SetProblem(database, *message == '\0' ? "the server does not answer" : message);
	return outcome;
}

/* KeepRefusal remembers why a statement was refused, without a value that it was given. */
static void
KeepRefusal(Database *database, const PGresult *result, const char *state)
{
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);
	bool quotes = strncmp(state, "22", 2) == 0; /* data exceptions quote the data */

	if (message == NULL || quotes || strstr(message, database->token->text) != NULL)
		message = "a value does not fit";
	if (hint == NULL || quotes || strstr(hint, database->token->text) != NULL)
		hint = "";
	snprintf(database->problem, sizeof(database->problem), "%s (SQLSTATE %s)%s%s", message, state,
			 *hint == '\0' ? "" : "; hint: ", hint);
}

static void
TakeRules(const PGresult *result, Answer *answer)
{
	int i;

	for (i = 0; i < PQntuples(result) && !answer->too_many; i++)
		answer->too_many =
			!RulesAdd(answer->rules, PQgetvalue(result, i, 0), PQgetvalue(result, i, 1),
					  PQgetvalue(result, i, 2), PQgetvalue(result, i, 3));
}

static void
TakeResult(Database *database, const PGresult *result, Answer *answer)
{
	ExecStatusType status = PQresultStatus(result);
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	if (status == PGRES_COMMAND_OK && strncmp(PQcmdStatus((PGresult *) result), "INSERT", 6) == 0 &&
		answer->inserts++ == 0)
		snprintf(answer->rows, sizeof(answer->rows), "%s", PQcmdTuples((PGresult *) result));
	if (status == PGRES_TUPLES_OK && PQnfields(result) == 1 && PQntuples(result) == 1 &&
		strcmp(PQgetvalue(result, 0, 0), "f") == 0)
		answer->no = true;
	if (status == PGRES_TUPLES_OK && answer->rules != NULL && PQnfields(result) == RULE_FIELDS)
		TakeRules(result, answer);
	if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_PIPELINE_SYNC ||
		status == PGRES_PIPELINE_ABORTED || answer->failed)
		return;
	if (state == NULL)
	{
		answer->lost = true;
		SetProblem(database, PQresultErrorMessage(result));
		return;
	}
	answer->failed = true;
	snprintf(answer->state, sizeof(answer->state), "%s", state);
	KeepRefusal(database, result, state);
}

static bool
SendAll(PGconn *connection, const Statement *statements, int count)
{
	int i;

	if (!PQenterPipelineMode(connection))
		return false;
	for (i = 0; i < count; i++)
	{
		const Statement *statement = &statements[i];

		if (!PQsendQueryParams(connection, statement->sql, statement->count, NULL,
							   statement->values, NULL, NULL, 0))
			return false;
	}
	return PQpipelineSync(connection) == 1;
}

/* ReceiveAll takes the answers to count statements and to the end of the pipeline. */
static void
ReceiveAll(Database *database, int count, Answer *answer)
{
	PGresult *result;
	bool synced = false;
	int i;

	for (i = 0; i <= count && !synced && PQstatus(database->connection) == CONNECTION_OK; i++)
	{
		while ((result = PQgetResult(database->connection)) != NULL)
		{
			synced = PQresultStatus(result) == PGRES_PIPELINE_SYNC;
			TakeResult(database, result, answer);
			PQclear(result);
			if (synced || PQstatus(database->connection) != CONNECTION_OK)
				break;
		}
	}
	if (!synced)
		answer->lost = true;
}

/* Recover brings a connection out of a pipeline, and of a transaction that failed. */
static bool
Recover(PGconn *connection)
{
	PGresult *result;
	bool recovered;

	if (!PQexitPipelineMode(connection))
		return false;
	if (PQtransactionStatus(connection) == PQTRANS_IDLE)
		return true;
	result = PQexec(connection, SQL_ROLLBACK);
	recovered = PQresultStatus(result) == PGRES_COMMAND_OK;
	PQclear(result);
	return recovered;
}

/* RunTransaction sends statements as one piece and takes all answers. */
static Answer
RunTransaction(Database *database, const Statement *statements, int count, Rules *rules)
{
	Answer answer = {.rules = rules};

	database->problem[0] = '\0';
	if (SendAll(database->connection, statements, count))
		ReceiveAll(database, count, &answer);
	else
		answer.lost = true;
	if (answer.lost && database->problem[0] == '\0')
		SetProblem(database, PQerrorMessage(database->connection));
	if (answer.lost || !Recover(database->connection))
		DatabaseClose(database);
	return answer;
}

/*
 * CheckToken lets the server judge the token before there is anything to store, and learns which
 * phrases to look for.
 */
static Outcome
CheckToken(Database *database)
{
	const char *const token[] = {database->token->text};
	const Statement statements[] = {{.sql = SQL_BEGIN},
									{.sql = SQL_TOKEN, .count = 1, .values = token},
									{.sql = SQL_SESSION},
									{.sql = SQL_RULES},
									{.sql = SQL_ROLLBACK}};
	Answer answer;

	RulesClear(&database->rules);
	answer = RunTransaction(database, statements, 5, &database->rules);
	if (answer.failed)
		return OutcomeOfState(answer.state);
	if (answer.lost)
		return OUTCOME_RETRY;
	if (answer.no)
		SetProblem(database, "the token's session has ended, is deleted, or never was");
	if (answer.no)
		return OUTCOME_REFUSED;
	if (!answer.too_many)
		return OUTCOME_STORED;
	snprintf(database->problem, sizeof(database->problem),
			 "there are more than %d alert rules for this session", RULES_MAX);
	return OUTCOME_REFUSED;
}

Outcome
DatabaseOpen(Database *database, Queue *queue)
{
	Outcome outcome;

	if (database->connection != NULL)
		return OUTCOME_STORED;
	database->connection = StartConnection(database->conninfo);
	if (database->connection == NULL)
	{
		SetProblem(database, "no memory for a connection");
		return OUTCOME_RETRY;
	}
	PQsetErrorVerbosity(database->connection, PQERRORS_VERBOSE);
	PQsetNoticeReceiver(database->connection, IgnoreNotice, NULL);
	if (AwaitConnection(database->connection, queue))
		outcome = CheckToken(database);
	else
		outcome = ConnectFailure(database);
	if (outcome != OUTCOME_STORED)
		DatabaseClose(database);
	return outcome;
}

/* AlertId makes a uuid (RFC 9562, version 8) of what an alert is about. */
static bool
AlertId(const Token *token, const char *channel, const char *seq, const char *rule,
		char id[UUID_TEXT])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	char about[256];
	int length =
		snprintf(about, sizeof(about), "%s/%s/%s/%s", token->session_id, channel, seq, rule);

	if (length < 0 || (size_t) length >= sizeof(about) ||
		EVP_Digest(about, (size_t) length, digest, NULL, EVP_sha256(), NULL) != 1)
		return false;
	digest[6] = (unsigned char) ((digest[6] & 0x0F) | 0x80);
	digest[8] = (unsigned char) ((digest[8] & 0x3F) | 0x80);
	snprintf(id, UUID_TEXT, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
			 digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7],
			 digest[8], digest[9], digest[10], digest[11], digest[12], digest[13], digest[14],
			 digest[15]);
	return true;
}

/* Row is an utterance as the parameters of its statements. */
typedef struct Row
{
	char channel[NUMBER_MAX];
	char seq[NUMBER_MAX];
	char start_ms[NUMBER_MAX];
	char end_ms[NUMBER_MAX];
	char confidence[NUMBER_MAX];
	char ids[DATABASE_ALERTS_MAX][UUID_TEXT];
	const char *segment[INSERT_PARAMETERS];
	const char *alerts[DATABASE_ALERTS_MAX][ALERT_PARAMETERS];
} Row;

/* MakeRow returns false if an alert's id cannot be made. */
static bool
MakeRow(const Database *database, const Utterance *utterance, const DatabaseAlerts *alerts,
		Row *row)
{
	const Token *token = database->token;
	size_t i;

	snprintf(row->channel, NUMBER_MAX, "%d", utterance->channel);
	snprintf(row->seq, NUMBER_MAX, "%" PRId64, utterance->seq);
	snprintf(row->start_ms, NUMBER_MAX, "%" PRId64, database->offset_ms + utterance->start_ms);
	snprintf(row->end_ms, NUMBER_MAX, "%" PRId64, database->offset_ms + utterance->end_ms);
	snprintf(row->confidence, NUMBER_MAX, "%.9g", (double) utterance->said.confidence);
	memcpy(row->segment,
		   (const char *[]){token->session_id, row->channel, row->seq, utterance->speaker,
							row->start_ms, row->end_ms,
							utterance->said.confidence == NO_CONFIDENCE ? NULL : row->confidence,
							utterance->said.text},
		   sizeof(row->segment));
	for (i = 0; i < alerts->count; i++)
	{
		const Rule *rule = alerts->rules[i];

		if (!AlertId(token, row->channel, row->seq, rule->id, row->ids[i]))
			return false;
		memcpy(row->alerts[i],
			   (const char *[]){token->session_id, row->ids[i], rule->kind, rule->severity,
								row->start_ms, rule->pattern},
			   sizeof(row->alerts[i]));
	}
	return true;
}

Outcome
DatabaseStore(Database *database, const Utterance *utterance, const DatabaseAlerts *alerts,
			  bool retried, bool *unknown)
{
	const char *const token[] = {database->token->text};
	Statement statements[4 + DATABASE_ALERTS_MAX] = {
		{.sql = SQL_BEGIN}, {.sql = SQL_TOKEN, .count = 1, .values = token}};
	int count = 2;
	Row row;
	Answer answer;
	size_t i;

	*unknown = false;
	if (!MakeRow(database, utterance, alerts, &row))
	{
		snprintf(database->problem, sizeof(database->problem), "an alert's id cannot be made");
		return OUTCOME_REFUSED;
	}
	statements[count++] = (Statement){SQL_INSERT, INSERT_PARAMETERS, row.segment};
	for (i = 0; i < alerts->count; i++)
		statements[count++] = (Statement){SQL_ALERT, ALERT_PARAMETERS, row.alerts[i]};
	statements[count++] = (Statement){.sql = SQL_COMMIT};
	answer = RunTransaction(database, statements, count, NULL);
	*unknown = answer.lost;
	if (answer.failed)
		return OutcomeOfState(answer.state);
	if (answer.lost)
		return OUTCOME_RETRY;
	if (strcmp(answer.rows, "1") == 0 || retried)
		return OUTCOME_STORED;
	snprintf(database->problem, sizeof(database->problem),
			 "number %s of channel %s is taken in this session, so the segment was not stored; "
			 "leave out --first-seq or give a higher one",
			 row.seq, row.channel);
	return OUTCOME_TAKEN;
}

Outcome
DatabaseEndSession(Database *database)
{
	const char *const token[] = {database->token->text};
	const Statement statements[] = {{.sql = SQL_BEGIN},
									{.sql = SQL_TOKEN, .count = 1, .values = token},
									{.sql = SQL_END},
									{.sql = SQL_COMMIT}};
	Answer answer = RunTransaction(database, statements, 4, NULL);

	if (answer.failed)
		return OutcomeOfState(answer.state);
	return answer.lost ? OUTCOME_RETRY : OUTCOME_STORED;
}

void
DatabaseClose(Database *database)
{
	if (database->connection != NULL)
		PQfinish(database->connection);
	database->connection = NULL;
}

void
DatabaseDestroy(Database *database)
{
	DatabaseClose(database);
	RulesClear(&database->rules);
}
