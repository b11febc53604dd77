/*
 * transcribe.c
 *	  Ties the parts together: starts them in the order that the promises need, reads, ends.
 *
 * The order: the child that writes a log file (it must know nothing), locked memory, the token,
 * the models (files that have to be readable), the sandbox, the database, and then the audio.
 */
#include "transcribe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"
#include "relay.h"
#include "report.h"
#include "sandbox.h"
#include "secrets.h"
#include "signals.h"
#include "stream.h"
#include "transcript.h"

#define READ_SIZE ((size_t) 32768) /* bytes read at a time */

/* A statement may be under way when the sink is abandoned: it gets this long to come back. */
#define ABANDON_GRACE_MS 3000

/* Everything that has to be undone at the end. */
typedef struct Transcription
{
	Options *options;
	Arena secrets; /* the token, the connection string and the bytes just read */
	Token token;
	const char *conninfo;
	unsigned char *buffer;
	int input;
	bool print;
	Models models;
	Recognizer recognizer;
	Voices voices;
	bool sink_started;
	int sink_event; /* readable once the sink was ready or has ended */
	Sink sink;
	Stream stream;
	double busy_s; /* processor time spent on audio */
} Transcription;

/* The one that the engine's guard finds. */
static Transcription transcription;

/* OpenInput opens the file to read, if it is not standard input. */
static bool
OpenInput(Transcription *t)
{
	const char *name = t->options->input;
	struct stat status;

	t->input = STDIN_FILENO;
	if (name == NULL && isatty(STDIN_FILENO))
	{
		Report("audio is read from standard input, which is a terminal; name a file or pipe "
			   "audio in");
		return false;
	}
	if (name == NULL)
		return true;
	t->input = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (t->input < 0)
	{
		Report("cannot open %s: %s", name, strerror(errno));
		return false;
	}
	if (fstat(t->input, &status) == 0 && S_ISDIR(status.st_mode))
	{
		Report("%s is a directory; name one audio file", name);
		return false;
	}
	return true;
}

/* Prepare does what can go wrong by the way the worker was called. */
static ExitCode
Prepare(Transcription *t)
{
	if (!RelayStart())
		return EXIT_INTERNAL;
	if (!TranscriptCheckOutput(t->options->print, &t->print))
		return EXIT_USAGE;
	if (!ArenaCreate(&t->secrets, TokenRoom() + SecretsConninfoRoom() + ArenaRoom(READ_SIZE)))
		return EXIT_INTERNAL;
	t->conninfo = SecretsHideConninfo(&t->options->dsn, &t->secrets);
	if (t->conninfo == NULL || !TokenRead(&t->token, t->options->token_file, &t->secrets))
		return EXIT_USAGE;
	if ((t->buffer = ArenaTake(&t->secrets, READ_SIZE)) == NULL)
		return EXIT_INTERNAL;
	return OpenInput(t) ? EXIT_STORED : EXIT_USAGE;
}

/*
 * LoadModels loads the recognizer and makes a voice a channel. How many channels a WAV stream
 * has is not known before it starts: it has at least one, and gets its others then.
 */
static ExitCode
LoadModels(Transcription *t)
{
	if (!EngineCheckVersion() || !ModelsRead(&t->models, t->options->models) ||
		!RecognizerCreate(&t->recognizer, &t->models) ||
		!VoicesCreate(&t->voices, &t->models, t->options->stream.format.channels, PCM_CHANNELS_MAX))
		return EXIT_ENGINE;
	return EXIT_STORED;
}

/* OnSinkChanged wakes the main thread. */
static void
OnSinkChanged(void *context)
{
	Transcription *t = context;
	uint64_t one = 1;

	if (write(t->sink_event, &one, sizeof(one)) != sizeof(one))
		Report("cannot tell the main thread: %s", strerror(errno));
}

/* OnPassed prints what is stored. */
static void
OnPassed(void *context, const Utterance *utterance, const DatabaseAlerts *alerts)
{
	Transcription *t = context;

	(void) alerts;
	if (t->print && utterance->kind == UTTERANCE_SEGMENT)
		TranscriptPrint(utterance);
}

/*
 * AwaitSink waits until the sink has ended or, if it has not been that before, is ready. signals is
 * how many signals make it abandon the sink. Returns false if the sink did not even end then.
 */
static bool
AwaitSink(Transcription *t, bool ready_will_do, int signals)
{
	Sink *sink = &t->sink;
	struct pollfd wait[] = {{.fd = t->sink_event, .events = POLLIN},
							{.fd = SignalsDescriptor(), .events = POLLIN}};
	bool abandoned = false;

	for (;;)
	{
		SinkState state = SinkGetState(sink);
		uint64_t count;
		int woken;

		if (SinkHasEnded(state) || (ready_will_do && state == SINK_READY))
			return true;
		if (!abandoned && SignalsCount() >= signals)
		{
			SinkAbandon(sink);
			abandoned = true;
		}
		woken = poll(wait, 2, abandoned ? ABANDON_GRACE_MS : -1);
		if (woken == 0)
			return false;
		if (woken > 0 && (wait[0].revents & POLLIN) != 0 &&
			read(t->sink_event, &count, sizeof(count)) < 0 && errno != EAGAIN)
			return false;
		if (woken > 0 && (wait[1].revents & POLLIN) != 0)
			SignalsClear();
	}
}

/* ReportEnd says why the sink ended, unless all is well, and how to exit. */
static ExitCode
ReportEnd(Transcription *t)
{
	SinkState state = SinkGetState(&t->sink);
	long lost = StreamRecognised(&t->stream) - atomic_load(&t->sink.stored);

	if (state == SINK_DONE && lost == 0)
		return EXIT_STORED;
	if (state == SINK_REFUSED)
		Report("the database refused: %s; segments recognised but not stored: %ld",
			   t->sink.database.problem, lost);
	else if (state == SINK_GAVE_UP)
		Report("the database did not answer for %d s: %s; segments recognised but not stored: %ld",
			   t->options->give_up_s, t->sink.database.problem, lost);
	else
		Report("told to leave before the database had answered; segments recognised but not "
			   "stored: %ld",
			   lost);
	return state == SINK_REFUSED ? EXIT_REFUSED : EXIT_UNREACHABLE;
}

/* Connect starts the sink and waits until the database has accepted the token. */
static ExitCode
Connect(Transcription *t)
{
	const SinkHooks hooks = {.context = t, .changed = OnSinkChanged, .passed = OnPassed};

	t->sink_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (t->sink_event < 0)
		Report("cannot make an event: %s", strerror(errno));
	if (t->sink_event < 0 ||
		!SinkStart(&t->sink, t->conninfo, &t->token, t->options->give_up_s, &hooks))
		return EXIT_INTERNAL;
	t->sink_started = true;
	t->sink.database.offset_ms = t->options->stream.offset_ms;
	AwaitSink(t, true, 1);
	return SinkGetState(&t->sink) == SINK_READY ? EXIT_STORED : ReportEnd(t);
}

/*
 * FirstSeq numbers a stream's segments from the microseconds since 1970 on. A segment takes far
 * longer than a microsecond, so that the next stream into the same session starts behind the
 * last number of this one, without reading what is there, which a stream token may not.
 */
static int64_t
FirstSeq(const Options *options)
{
	struct timespec now;

	if (options->first_seq != FIRST_SEQ_UNSET)
		return options->first_seq;
	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static double
ProcessorSeconds(void)
{
	struct timespec used;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (double) used.tv_sec + (double) used.tv_nsec / 1e9;
}

/* AwaitInput waits for bytes; returns false if a signal or the end of the sink came first. */
static bool
AwaitInput(Transcription *t)
{
	struct pollfd wait[] = {{.fd = t->input, .events = POLLIN},
							{.fd = SignalsDescriptor(), .events = POLLIN},
							{.fd = t->sink_event, .events = POLLIN}};
	uint64_t count;

	for (;;)
	{
		if (SignalsCount() > 0 || SinkHasEnded(SinkGetState(&t->sink)))
			return false;
		if (poll(wait, 3, -1) < 0)
			continue;
		if (wait[0].revents != 0)
			return SignalsCount() == 0;
		if ((wait[2].revents & POLLIN) != 0 && read(t->sink_event, &count, sizeof(count)) < 0)
			continue;
	}
}

/* ReadStream reads until the stream ends or may not go on. */
static ExitCode
ReadStream(Transcription *t)
{
	ExitCode code = EXIT_STORED;

	while (AwaitInput(t))
	{
		ssize_t got = read(t->input, t->buffer, READ_SIZE);
		bool goes_on;

		if (got < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (got < 0)
		{
			Report("cannot read the stream any further: %s", strerror(errno));
			code = EXIT_BAD_AUDIO;
		}
		if (got <= 0)
			break;
		goes_on = StreamFeed(&t->stream, t->buffer, (size_t) got);
		ArenaWipe(t->buffer, (size_t) got);
		if (!goes_on)
			break;
	}
	StreamFinish(&t->stream);
	if (t->stream.problem != NULL && SignalsCount() == 0)
		Report("the stream %s", t->stream.problem);
	return t->stream.failure == EXIT_STORED || SignalsCount() > 0 ? code : t->stream.failure;
}

/*
 * WipeAudio wipes what was said where the process is to end at once. The engine may be at work on
 * it, so that nothing is freed.
 */
static void
WipeAudio(Transcription *t)
{
	int i;

	for (i = 0; i < t->voices.made; i++)
		ArenaDestroy(&t->voices.all[i].arena);
	ArenaDestroy(&t->secrets);
}

/* Drain waits until all that was recognised is stored, and says how it went. */
static ExitCode
Drain(Transcription *t, ExitCode code)
{
	ExitCode sink_code;
	double seconds;

	SinkFinish(&t->sink, false);
	if (!AwaitSink(t, false, 2))
	{
		ReportEnd(t);
		WipeAudio(t);
		RelayFinish();
		_exit(EXIT_UNREACHABLE);
	}
	sink_code = ReportEnd(t);
	seconds = StreamSeconds(&t->stream) * t->stream.channel_count;
	if (seconds > 0)
		Report("segments stored: %ld, audio: %.1f s, channels: %d, real-time factor: %.3f",
			   atomic_load(&t->sink.stored), seconds, t->stream.channel_count, t->busy_s / seconds);
	return sink_code == EXIT_STORED ? code : sink_code;
}

/* Listen reads and drains: the part of the work in which there is audio. */
static ExitCode
Listen(Transcription *t)
{
	ChannelSetup setup = {
		.first_seq = FirstSeq(t->options), .recognizer = &t->recognizer, .sink = &t->sink};
	double start = ProcessorSeconds();
	ExitCode code;

	if (StreamInit(&t->stream, &t->options->stream, &setup, &t->voices))
		code = ReadStream(t);
	else
		code = t->stream.failure;
	t->busy_s = ProcessorSeconds() - start;
	return Drain(t, code);
}

/* Undo gives everything back, and wipes what was said. */
static void
Undo(Transcription *t)
{
	if (t->sink_started)
	{
		SinkAbandon(&t->sink);
		SinkDestroy(&t->sink);
	}
	StreamWipe(&t->stream);
	VoicesDestroy(&t->voices);
	RecognizerDestroy(&t->recognizer);
	ModelsFree(&t->models);
	ArenaDestroy(&t->secrets);
	if (t->input > STDIN_FILENO)
		close(t->input);
	if (t->sink_event >= 0)
		close(t->sink_event);
	RelayFinish();
}

/* OnEngineDeath stores what was recognised before the engine ended the process. */
static void
OnEngineDeath(void)
{
	Transcription *t = &transcription;

	EngineReport();
	if (t->sink_started)
		Drain(t, EXIT_ENGINE);
	WipeAudio(t);
	RelayFinish();
	_exit(EXIT_ENGINE);
}

ExitCode
Transcribe(Options *options)
{
	Transcription *t = &transcription;
	ExitCode code;

	t->options = options;
	t->input = -1;
	t->sink_event = -1;
	EngineGuard(OnEngineDeath);
	code = SignalsInstall() ? Prepare(t) : EXIT_INTERNAL;
	if (code == EXIT_STORED)
		code = LoadModels(t);
	if (code == EXIT_STORED)
		code = SandboxEnter(false) ? Connect(t) : EXIT_INTERNAL;
	if (code == EXIT_STORED)
		code = Listen(t);
	Undo(t);
	return code;
}
