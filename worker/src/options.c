/*
 * options.c
 *	  Reads the command line and the environment.
 */
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"
#include "sherpa.h"

#define WORKER_VERSION "1.0"
#define GIVE_UP_MAX_S (7 * 24 * 3600)
#define DRAIN_MAX_S 3600
#define CAPACITY_MAX 4096
#define CONNECTIONS_MAX 100000
#define THREADS_MAX 256

#define CAPACITY 32
#define CONNECTIONS 1024
#define DRAIN_S 20

#define ENVIRONMENT_PREFIX "CAUCE_WORKER_"
#define ENVIRONMENT_MAX 64

static const char help[] =
	"cauce-worker turns speech into text in a PostgreSQL database and keeps nothing else.\n"
	"\n"
	"Usage:\n"
	"  cauce-worker transcribe --dsn CONNINFO --token-file FILE [OPTION]... [FILE|-]\n"
	"  cauce-worker serve --dsn CONNINFO --listen HOST:PORT --tls-cert FILE --tls-key FILE\n"
	"                     [OPTION]...\n"
	"  cauce-worker selftest\n"
	"\n"
	"transcribe reads one stream of English speech, WAV, Ogg Opus or raw PCM, from FILE or "
	"standard\n"
	"input as it arrives, and stores each segment in cauce.transcript_segment once it is spoken.\n"
	"serve does so for many streams that come by WebSocket over TLS 1.3, in Deepgram's protocol\n"
	"(/v1/listen) or the vosk server's (/), each with its own stream token.\n"
	"selftest enters the sandbox, tries to break it and prints what was denied.\n"
	"\n"
	"Both:\n"
	"  --dsn CONNINFO      where the database is: a libpq connection string or URI. Over TCP it\n"
	"                      has to speak TLS 1.3, unless the string says otherwise\n"
	"  --models FILE       which models to load (beside the program engine/models.json, on\n"
	"                      processors with VNNI engine/models-vnni.json)\n"
	"  --help, --version   print this, or the version, and end\n"
	"\n"
	"transcribe:\n"
	"  --token-file FILE   a stream token, as cauce.stream_token() makes it\n"
	"  --rate HZ           the stream is raw PCM of 8000 to 48000 samples a second\n"
	"  --channels N        raw PCM has N interleaved channels, 1 to 8 (1)\n"
	"  --format FORMAT     raw PCM is s16le, f32le or mulaw (s16le)\n"
	"  --speaker NAME      who speaks, once a channel in their order (speaker; of several\n"
	"                      channels: channel 0, channel 1, ...)\n"
	"  --first-seq N       number of each channel's first segment (microseconds since 1970)\n"
	"  --offset MS         where in its session the stream begins, in milliseconds (0)\n"
	"  --give-up SECONDS   end when the database has not answered for so long (never)\n"
	"  --print             print segments once stored, also when the output is no terminal\n"
	"\n"
	"serve:\n"
	"  --listen HOST:PORT  where clients connect: an address, [IPv6] or nothing for all; several\n"
	"                      processes may share a port\n"
	"  --tls-cert FILE     certificate chain, PEM\n"
	"  --tls-key FILE      its private key, PEM\n"
	"  --capacity N        channels that are heard at a time; more are answered with 503 (32)\n"
	"  --connections N     sockets that are open at a time (1024); of more, the oldest\n"
	"                      without a token is closed\n"
	"  --threads N         recognizer threads (one a processor)\n"
	"  --drain SECONDS     how long streams get to end after SIGTERM (20)\n"
	"  --demo-page         answer /demo with a page to try it\n"
	"\n"
	"Each option with a value may also come from the environment: CAUCE_WORKER_ and its name in\n"
	"capitals, with _ for -. The command line comes first.\n"
	"\n"
	"Exit status: 0 all stored, 1 internal, 2 usage, 3 bad audio, 4 refused by the database,\n"
	"5 database did not answer, 6 engine or model.\n";

typedef enum OptionKey
{
	OPTION_DSN = 256,
	OPTION_TOKEN_FILE,
	OPTION_RATE,
	OPTION_CHANNELS,
	OPTION_FORMAT,
	OPTION_SPEAKER,
	OPTION_FIRST_SEQ,
	OPTION_OFFSET,
	OPTION_GIVE_UP,
	OPTION_PRINT,
	OPTION_MODELS,
	OPTION_LISTEN,
	OPTION_TLS_CERT,
	OPTION_TLS_KEY,
	OPTION_CAPACITY,
	OPTION_CONNECTIONS,
	OPTION_THREADS,
	OPTION_DRAIN,
	OPTION_DEMO_PAGE,
	OPTION_HELP,
	OPTION_VERSION
} OptionKey;

static const struct option optionTable[] = {
	{"dsn", required_argument, NULL, OPTION_DSN},
	{"token-file", required_argument, NULL, OPTION_TOKEN_FILE},
	{"rate", required_argument, NULL, OPTION_RATE},
	{"channels", required_argument, NULL, OPTION_CHANNELS},
	{"format", required_argument, NULL, OPTION_FORMAT},
	{"speaker", required_argument, NULL, OPTION_SPEAKER},
	{"first-seq", required_argument, NULL, OPTION_FIRST_SEQ},
	{"offset", required_argument, NULL, OPTION_OFFSET},
	{"give-up", required_argument, NULL, OPTION_GIVE_UP},
	{"print", no_argument, NULL, OPTION_PRINT},
	{"models", required_argument, NULL, OPTION_MODELS},
	{"listen", required_argument, NULL, OPTION_LISTEN},
	{"tls-cert", required_argument, NULL, OPTION_TLS_CERT},
	{"tls-key", required_argument, NULL, OPTION_TLS_KEY},
	{"capacity", required_argument, NULL, OPTION_CAPACITY},
	{"connections", required_argument, NULL, OPTION_CONNECTIONS},
	{"threads", required_argument, NULL, OPTION_THREADS},
	{"drain", required_argument, NULL, OPTION_DRAIN},
	{"demo-page", no_argument, NULL, OPTION_DEMO_PAGE},
	{"help", no_argument, NULL, OPTION_HELP},
	{"version", no_argument, NULL, OPTION_VERSION},
	{NULL, 0, NULL, 0}};

/* Which command an option is for; those that are not here are for both. */
static const struct
{
	OptionKey first;
	OptionKey last;
	Command command;
} optionCommands[] = {{OPTION_TOKEN_FILE, OPTION_PRINT, COMMAND_TRANSCRIBE},
					  {OPTION_LISTEN, OPTION_DEMO_PAGE, COMMAND_SERVE}};

/* ParseNumber reads a whole number between two bounds. */
static bool
ParseNumber(const char *name, const char *text, int64_t least, int64_t most, int64_t *number)
{
	char *end;
	long long value;

	errno = 0;
	value = strtoll(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || value < least || value > most)
	{
		Report("--%s takes a number from %lld to %lld", name, (long long) least, (long long) most);
		return false;
	}
	*number = value;
	return true;
}

static bool
ParseInt(const char *name, const char *text, int least, int most, int *number)
{
	int64_t value = 0;
	bool parsed = ParseNumber(name, text, least, most, &value);

	if (parsed)
		*number = (int) value;
	return parsed;
}

static bool
ParseEncoding(const char *text, PcmEncoding *encoding)
{
	if (strcmp(text, "s16le") == 0)
		*encoding = PCM_S16LE;
	else if (strcmp(text, "f32le") == 0)
		*encoding = PCM_F32LE;
	else if (strcmp(text, "mulaw") == 0)
		*encoding = PCM_MULAW;
	else
	{
		Report("--format takes s16le, f32le or mulaw");
		return false;
	}
	return true;
}

static bool
AddSpeaker(StreamSettings *stream, const char *name)
{
	if (stream->speaker_count == PCM_CHANNELS_MAX)
	{
		Report("--speaker can be given %d times at most", PCM_CHANNELS_MAX);
		return false;
	}
	stream->speakers[stream->speaker_count++] = name;
	return true;
}

/* What was given, beside what Options hold. */
typedef struct Given
{
	bool channels;
	bool format;
	int commands; /* those that all options fit */
} Given;

/* TakeStream takes what describes a stream of transcribe. */
static bool
TakeStream(Options *options, int key, char *value, Given *given)
{
	StreamSettings *stream = &options->stream;

	switch (key)
	{
		case OPTION_RATE:
			stream->kind = STREAM_RAW;
			return ParseInt("rate", value, PCM_RATE_MIN, PCM_RATE_MAX, &stream->format.rate);
		case OPTION_CHANNELS:
			given->channels = true;
			return ParseInt("channels", value, 1, PCM_CHANNELS_MAX, &stream->format.channels);
		case OPTION_FORMAT:
			given->format = true;
			return ParseEncoding(value, &stream->format.encoding);
		case OPTION_SPEAKER:
			return AddSpeaker(stream, value);
		case OPTION_FIRST_SEQ:
			return ParseNumber("first-seq", value, 0, INT64_MAX - INT32_MAX, &options->first_seq);
		case OPTION_OFFSET:
			return ParseInt("offset", value, 0, STREAM_OFFSET_MAX_MS, &stream->offset_ms);
		case OPTION_GIVE_UP:
			return ParseInt("give-up", value, 1, GIVE_UP_MAX_S, &options->give_up_s);
		default:
			Report("unknown option, or an option without its value; see cauce-worker --help");
			return false;
	}
}

static bool
TakeOption(Options *options, int key, char *value, Given *given)
{
	size_t i;

	for (i = 0; i < sizeof(optionCommands) / sizeof(optionCommands[0]); i++)
	{
		if (key >= (int) optionCommands[i].first && key <= (int) optionCommands[i].last)
			given->commands &= (int) optionCommands[i].command;
	}
	switch (key)
	{
		case OPTION_DSN:
			options->dsn = value;
			return true;
		case OPTION_TOKEN_FILE:
			options->token_file = value;
			return true;
		case OPTION_PRINT:
			options->print = true;
			return true;
		case OPTION_MODELS:
			options->models = value;
			return true;
		case OPTION_LISTEN:
			options->listen = value;
			return true;
		case OPTION_TLS_CERT:
			options->tls_cert = value;
			return true;
		case OPTION_TLS_KEY:
			options->tls_key = value;
			return true;
		case OPTION_CAPACITY:
			return ParseInt("capacity", value, 1, CAPACITY_MAX, &options->capacity);
		case OPTION_CONNECTIONS:
			return ParseInt("connections", value, 1, CONNECTIONS_MAX, &options->connections);
		case OPTION_THREADS:
			return ParseInt("threads", value, 1, THREADS_MAX, &options->threads);
		case OPTION_DRAIN:
			return ParseInt("drain", value, 0, DRAIN_MAX_S, &options->drain_s);
		case OPTION_DEMO_PAGE:
			options->demo = true;
			return true;
		default:
			return TakeStream(options, key, value, given);
	}
}

static bool
CheckTranscribe(const Options *options, const Given *given)
{
	const StreamSettings *stream = &options->stream;

	if (options->dsn == NULL || options->token_file == NULL)
		Report("--dsn and --token-file are needed; see cauce-worker --help");
	else if (stream->kind != STREAM_RAW && (given->channels || given->format))
		Report("--channels and --format describe raw PCM, for which --rate is needed, too");
	else if (stream->kind == STREAM_RAW && stream->speaker_count > stream->format.channels)
		Report("there are more speakers (%d) than channels (%d)", stream->speaker_count,
			   stream->format.channels);
	else
		return true;
	return false;
}

static bool
CheckServe(const Options *options)
{
	if (options->dsn != NULL && options->listen != NULL && options->tls_cert != NULL &&
		options->tls_key != NULL)
		return true;
	Report("--dsn, --listen, --tls-cert and --tls-key are needed; see cauce-worker --help");
	return false;
}

/* Print writes to standard output before there is any audio. */
static ExitCode
Print(const char *text)
{
	return fputs(text, stdout) >= 0 && fflush(stdout) == 0 ? EXIT_STORED : EXIT_INTERNAL;
}

static bool
TakeOperands(Options *options, int argc, char **argv)
{
	if (argc >= 1 && strcmp(argv[0], "transcribe") == 0)
		options->command = COMMAND_TRANSCRIBE;
	else if (argc >= 1 && strcmp(argv[0], "serve") == 0)
		options->command = COMMAND_SERVE;
	else if (argc >= 1 && strcmp(argv[0], "selftest") == 0)
		options->command = COMMAND_SELFTEST;
	else
	{
		Report("the first argument is the command: transcribe, serve or selftest; see cauce-worker "
			   "--help");
		return false;
	}
	if (argc > (options->command == COMMAND_TRANSCRIBE ? 2 : 1))
	{
		Report(options->command == COMMAND_TRANSCRIBE
				   ? "there is more than one file; one stream is read at a time"
				   : "this command takes no file");
		return false;
	}
	if (argc == 2 && strcmp(argv[1], "-") != 0)
		options->input = argv[1];
	return true;
}

/* FromEnvironment takes the options that have a value and a variable. */
static bool
FromEnvironment(Options *options)
{
	Given ignored = {.commands = 0};
	const struct option *option;

	for (option = optionTable; option->name != NULL; option++)
	{
		char name[ENVIRONMENT_MAX];
		char *value;
		char *letter;

		if (option->has_arg != required_argument)
			continue;
		snprintf(name, sizeof(name), "%s%s", ENVIRONMENT_PREFIX, option->name);
		for (letter = name; *letter != '\0'; letter++)
			*letter = *letter == '-' ? '_' : (char) toupper((unsigned char) *letter);
		value = getenv(name);
		if (value != NULL && !TakeOption(options, option->val, value, &ignored))
			return false;
	}
	return true;
}

bool
OptionsParse(Options *options, int argc, char **argv, ExitCode *code)
{
	Given given = {.commands = COMMAND_TRANSCRIBE | COMMAND_SERVE | COMMAND_SELFTEST};
	int key;

	memset(options, 0, sizeof(*options));
	options->stream.kind = STREAM_CONTAINER;
	options->stream.format.channels = 1;
	options->first_seq = FIRST_SEQ_UNSET;
	options->capacity = CAPACITY;
	options->connections = CONNECTIONS;
	options->drain_s = DRAIN_S;
	*code = EXIT_USAGE;
	opterr = 0;
	if (!FromEnvironment(options))
		return false;
	while ((key = getopt_long(argc, argv, "", optionTable, NULL)) != -1)
	{
		if (key == OPTION_HELP)
			*code = Print(help);
		else if (key == OPTION_VERSION)
			*code = Print("cauce-worker " WORKER_VERSION " (sherpa-onnx " SHERPA_VERSION ")\n");
		else if (TakeOption(options, key, optarg, &given))
			continue;
		return false;
	}
	if (!TakeOperands(options, argc - optind, argv + optind))
		return false;
	if ((given.commands & (int) options->command) == 0)
	{
		Report("an option is not one of this command; see cauce-worker --help");
		return false;
	}
	if (options->command == COMMAND_SELFTEST)
		return true;
	return options->command == COMMAND_SERVE ? CheckServe(options)
											 : CheckTranscribe(options, &given);
}
