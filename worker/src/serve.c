/*
 * serve.c
 *	  Starts a server's parts in the order that the promises need, serves, ends.
 *
 * The order: the child that writes a log file (it must know nothing), the models and the memory for
 * audio, the port with its certificate and key (files that have to be readable), the sandbox, the
 * threads, and then clients.
 */
#include "serve.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "clock.h"
#include "engine.h"
#include "relay.h"
#include "report.h"
#include "sandbox.h"
#include "secrets.h"
#include "server.h"
#include "signals.h"

/* When the engine ends the process, streams get this long to bring in what was recognised. */
#define DEATH_GRACE_MS 10000
#define DEATH_POLL_US 10000

#define FILES_RESERVE 64

typedef struct Service
{
	Options *options;
	Arena secrets;
	Models models;
	Recognizer recognizer;
	Voices voices;
	Server server;
	bool pool_started;
} Service;

/* The one that the engine's guard finds. */
static Service service;

/*
 * AllowFiles raises the limit of open files to what the options may need: sockets of clients and, a stream,
 * one to the database.
 */
static bool
AllowFiles(const Options *options)
{
	struct rlimit limit;
	rlim_t needed =
		(rlim_t) options->connections + ARRIVALS_SLACK + (rlim_t) options->capacity + FILES_RESERVE;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= needed)
		return true;
	if (needed <= limit.rlim_max)
	{
		limit.rlim_cur = needed;
		if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
			return true;
	}
	Report(
		"%llu open files are needed; raise the limit with ulimit -n or systemd's LimitNOFILE=, or "
		"give fewer --connections",
		(unsigned long long) needed);
	return false;
}

/* TryLock finds out now whether the memory of all streams can be locked, and not when they come. */
static bool
TryLock(const Options *options)
{
	Arena arena;

	if (!ArenaCreate(&arena, (size_t) options->capacity * ConnectionRoom()))
		return false;
	ArenaDestroy(&arena);
	return true;
}

static bool
IsReadable(const char *option, const char *path)
{
	if (access(path, R_OK) == 0)
		return true;
	Report("%s: cannot read %s", option, path);
	return false;
}

/* Prepare does what can go wrong by the way the worker was called. */
static ExitCode
Prepare(Service *s)
{
	const Options *options = s->options;

	if (!RelayStart())
		return EXIT_INTERNAL;
	if (!IsReadable("--tls-cert", options->tls_cert) || !IsReadable("--tls-key", options->tls_key))
		return EXIT_USAGE;
	if (!ArenaCreate(&s->secrets, SecretsConninfoRoom()))
		return EXIT_INTERNAL;
	s->server.conninfo = SecretsHideConninfo(&s->options->dsn, &s->secrets);
	if (s->server.conninfo == NULL)
		return EXIT_USAGE;
	return AllowFiles(options) ? EXIT_STORED : EXIT_INTERNAL;
}

static ExitCode
LoadModels(Service *s)
{
	if (!EngineCheckVersion() || !ModelsRead(&s->models, s->options->models) ||
		!RecognizerCreate(&s->recognizer, &s->models))
		return EXIT_ENGINE;
	if (!VoicesCreate(&s->voices, &s->models, s->options->capacity, s->options->capacity) ||
		!TryLock(s->options))
		return EXIT_INTERNAL;
	s->server.models = &s->models;
	s->server.recognizer = &s->recognizer;
	s->server.voices = &s->voices;
	return EXIT_STORED;
}

static bool
EnterSandbox(void)
{
	if (!SandboxEnter(false))
		return false;
	Report("event=sandbox landlock=%d seccomp=yes locked=%s", SandboxLandlock(),
		   SandboxIsResident() ? "all" : "audio");
	return true;
}

/* Run serves, from within the sandbox. */
static ExitCode
Run(Service *s)
{
	int threads =
		s->options->threads > 0 ? s->options->threads : (int) sysconf(_SC_NPROCESSORS_ONLN);

	if (!PoolStart(&s->server.pool, threads))
		return EXIT_INTERNAL;
	s->pool_started = true;
	Report("event=ready threads=%d channels=%d", threads, s->options->capacity);
	ServerRun(&s->server);
	ServerClose(&s->server);
	Report("event=stopped segments=%ld unstored=%s", atomic_load(&s->server.metrics.segments),
		   s->server.unstored ? "yes" : "no");
	return s->server.unstored ? EXIT_UNREACHABLE : EXIT_STORED;
}

/* Undo gives everything back, and wipes what was said. */
static void
Undo(Service *s)
{
	if (!s->pool_started)
		ServerClose(&s->server);
	VoicesDestroy(&s->voices);
	RecognizerDestroy(&s->recognizer);
	ModelsFree(&s->models);
	ArenaDestroy(&s->secrets);
	RelayFinish();
}

/*
 * OnEngineDeath lets all streams store what was recognised before the engine ended the process. It runs
 * in a thread of the pool, so that nothing but the sinks may still go on.
 */
static void
OnEngineDeath(void)
{
	Service *s = &service;
	int64_t end = ClockMs() + DEATH_GRACE_MS;
	Connection *connection;

	EngineReport();
	for (connection = s->server.first; connection != NULL; connection = connection->next)
	{
		if (!connection->sink_started)
			continue;
		SinkFinish(&connection->sink, false);
		while (!SinkHasEnded(SinkGetState(&connection->sink)) && ClockMs() < end)
			usleep(DEATH_POLL_US);
	}
	RelayFinish();
	_exit(EXIT_ENGINE);
}

ExitCode
Serve(Options *options)
{
	Service *s = &service;
	ExitCode code;

	s->options = options;
	s->server.options = options;
	EngineGuard(OnEngineDeath);
	code = SignalsInstall() ? Prepare(s) : EXIT_INTERNAL;
	if (code == EXIT_STORED)
		code = LoadModels(s);
	if (code == EXIT_STORED && !ServerListen(&s->server))
		code = EXIT_USAGE;
	if (code == EXIT_STORED)
		code = EnterSandbox() ? Run(s) : EXIT_INTERNAL;
	Undo(s);
	return code;
}
