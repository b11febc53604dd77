/*
 * options.c
 *	  Reads the command line of cauce-worker transcribe.
 */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"
#include "sherpa.h"

#define WORKER_VERSION "1.0"
#define GIVE_UP_MAX_S (7 * 24 * 3600)

static const char help[] =
	"cauce-worker turns speech into text in a PostgreSQL database and keeps nothing else.\n"
	"\n"
	"Usage:\n"
	"  cauce-worker transcribe --dsn CONNINFO --token-file FILE [OPTION]... [FILE|-]\n"
	"\n"
	"Reads one stream of English speech, WAV, Ogg Opus or raw PCM, from FILE or standard input as\n"
	"it arrives, and stores each segment in cauce.transcript_segment once it is spoken.\n"
	"\n"
	"  --dsn CONNINFO      where the database is: a libpq connection string or URI. Over TCP it\n"
	"                      has to speak TLS 1.3, unless the string says otherwise\n"
	"  --token-file FILE   a stream token, as cauce.stream_token() makes it\n"
	"  --rate HZ           the stream is raw PCM of 8000 to 48000 samples a second\n"
	"  --channels N        raw PCM has N interleaved channels, 1 to 8 (1)\n"
	"  --format FORMAT     raw PCM is s16le, f32le or mulaw (s16le)\n"
	"  --speaker NAME      who speaks, once a channel in their order (speaker; of several\n"
	"                      channels: channel 0, channel 1, ...)\n"
	"  --first-seq N       number of each channel's first segment (microseconds since 1970)\n"
	"  --give-up SECONDS   end when the database has not answered for so long (never)\n"
	"  --print             print segments once stored, also when the output is no terminal\n"
	"  --models FILE       which models to load (engine/models.json beside the program)\n"
	"  --help, --version   print this, or the version, and end\n"
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
	OPTION_GIVE_UP,
	OPTION_PRINT,
	OPTION_MODELS,
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
	{"give-up", required_argument, NULL, OPTION_GIVE_UP},
	{"print", no_argument, NULL, OPTION_PRINT},
	{"models", required_argument, NULL, OPTION_MODELS},
	{"help", no_argument, NULL, OPTION_HELP},
	{"version", no_argument, NULL, OPTION_VERSION},
	{NULL, 0, NULL, 0}};

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
AddSpeaker(Options *options, const char *name)
{
	if (options->stream.speaker_count == PCM_CHANNELS_MAX)
	{
		Report("--speaker can be given %d times at most", PCM_CHANNELS_MAX);
		return false;
	}
	options->stream.speakers[options->stream.speaker_count++] = name;
	return true;
}

/* What only makes sense with --rate. */
typedef struct RawOnly
{
	bool channels;
	bool format;
} RawOnly;

static bool
TakeOption(Options *options, int key, char *value, RawOnly *raw_only)
{
	switch (key)
	{
		case OPTION_DSN:
			options->dsn = value;
			return true;
		case OPTION_TOKEN_FILE:
			options->token_file = value;
			return true;
		case OPTION_RATE:
			options->stream.kind = STREAM_RAW;
			return ParseInt("rate", value, PCM_RATE_MIN, PCM_RATE_MAX,
							&options->stream.format.rate);
		case OPTION_CHANNELS:
			raw_only->channels = true;
			return ParseInt("channels", value, 1, PCM_CHANNELS_MAX,
							&options->stream.format.channels);
		case OPTION_FORMAT:
			raw_only->format = true;
			return ParseEncoding(value, &options->stream.format.encoding);
		case OPTION_SPEAKER:
			return AddSpeaker(options, value);
		case OPTION_FIRST_SEQ:
			return ParseNumber("first-seq", value, 0, INT64_MAX - INT32_MAX, &options->first_seq);
		case OPTION_GIVE_UP:
			return ParseInt("give-up", value, 1, GIVE_UP_MAX_S, &options->give_up_s);
		case OPTION_PRINT:
			options->print = true;
			return true;
		case OPTION_MODELS:
			options->models = value;
			return true;
		default:
			Report("unknown option, or an option without its value; see cauce-worker --help");
			return false;
	}
}

static bool
CheckOptions(const Options *options, const RawOnly *raw_only)
{
	if (options->dsn == NULL || options->token_file == NULL)
		Report("--dsn and --token-file are needed; see cauce-worker --help");
	else if (options->stream.kind != STREAM_RAW && (raw_only->channels || raw_only->format))
		Report("--channels and --format describe raw PCM, for which --rate is needed, too");
	else if (options->stream.kind == STREAM_RAW &&
			 options->stream.speaker_count > options->stream.format.channels)
		Report("there are more speakers (%d) than channels (%d)", options->stream.speaker_count,
			   options->stream.format.channels);
	else
		return true;
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
	if (argc < 1 || strcmp(argv[0], "transcribe") != 0)
	{
		Report("the first argument is the command: transcribe; see cauce-worker --help");
		return false;
	}
	if (argc > 2)
	{
		Report("there is more than one file; one stream is read at a time");
		return false;
	}
	if (argc == 2 && strcmp(argv[1], "-") != 0)
		options->input = argv[1];
	return true;
}

bool
OptionsParse(Options *options, int argc, char **argv, ExitCode *code)
{
	RawOnly raw_only = {.channels = false};
	int key;

	memset(options, 0, sizeof(*options));
	options->stream.kind = STREAM_CONTAINER;
	options->stream.format.channels = 1;
	options->first_seq = FIRST_SEQ_UNSET;
	*code = EXIT_USAGE;
	opterr = 0;
	while ((key = getopt_long(argc, argv, "", optionTable, NULL)) != -1)
	{
		if (key == OPTION_HELP)
			*code = Print(help);
		else if (key == OPTION_VERSION)
			*code = Print("cauce-worker " WORKER_VERSION " (sherpa-onnx " SHERPA_VERSION ")\n");
		else if (TakeOption(options, key, optarg, &raw_only))
			continue;
		return false;
	}
	return TakeOperands(options, argc - optind, argv + optind) && CheckOptions(options, &raw_only);
}
