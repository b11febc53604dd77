/*
 * wav.c
 *	  Reads a WAV header byte by byte, as far as it has arrived.
 */
#include "wav.h"

#include <string.h>

#define RIFF_SIZE ((size_t) 12)
#define CHUNK_SIZE ((size_t) 8)
#define FORMAT_SIZE ((size_t) 16)
#define EXTENSIBLE_SIZE ((size_t) 40)
#define FORMAT_PCM 0x0001
#define FORMAT_FLOAT 0x0003
#define FORMAT_MULAW 0x0007
#define FORMAT_EXTENSIBLE 0xFFFE

/*
 * Sizes from here on are what encoders write that do not know the end (0x7FFFFFFF or
 * 0xFFFFFFFF, less the header).
 */
#define ENDLESS_SIZE 0x7FFFF000u

/* Between the start and the audio a header may hold this much else; more is no audio file. */
#define SKIPPED_MAX ((uint64_t) 16 * 1024 * 1024)

/* The subformat of WAVE_FORMAT_EXTENSIBLE after its first two bytes, which are a format tag. */
static const unsigned char subformatTail[14] = {0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x80,
												0x00, 0x00, 0xAA, 0x00, 0x38, 0x9B, 0x71};

static uint32_t
Le16(const unsigned char *bytes)
{
	return (uint32_t) bytes[0] | (uint32_t) bytes[1] << 8;
}

static uint32_t
Le32(const unsigned char *bytes)
{
	return Le16(bytes) | Le16(bytes + 2) << 16;
}

/* EnterState is the one place where the state changes. */
static void
EnterState(WavReader *reader, WavState state)
{
	reader->state = state;
	reader->field_length = 0;
}

static void
Fail(WavReader *reader, const char *problem)
{
	reader->problem = problem;
	EnterState(reader, WAV_BAD);
}

void
WavInit(WavReader *reader)
{
	memset(reader, 0, sizeof(*reader));
}

/* FillField collects a field of the given size; returns whether it is whole. */
static bool
FillField(WavReader *reader, size_t wanted, const unsigned char *bytes, size_t size, size_t *taken)
{
	size_t missing = wanted - reader->field_length;

	*taken = size < missing ? size : missing;
	memcpy(reader->field + reader->field_length, bytes, *taken);
	reader->field_length += *taken;
	return reader->field_length == wanted;
}

/* SkipChunk passes over size bytes and the byte that pads a chunk of odd size. */
static void
SkipChunk(WavReader *reader, uint64_t size)
{
	reader->skipped += size;
	reader->left = size;
	EnterState(reader, size > 0 ? WAV_SKIP : WAV_CHUNK);
	if (reader->skipped > SKIPPED_MAX)
		Fail(reader, "is a WAV file with too much before its audio");
}

static void
ReadRiff(WavReader *reader)
{
	if (memcmp(reader->field, "RIFF", 4) != 0 || memcmp(reader->field + 8, "WAVE", 4) != 0)
		Fail(reader,
			 "is not a WAV file or Ogg Opus; for raw PCM give --rate (and --channels, --format)");
	else
		EnterState(reader, WAV_CHUNK);
}

static void
StartData(WavReader *reader)
{
	if (!reader->has_format)
	{
		Fail(reader, "is a WAV file whose audio comes before its format");
		return;
	}
	reader->endless = reader->chunk_size == 0 || reader->chunk_size >= ENDLESS_SIZE;
	reader->left = reader->chunk_size;
	EnterState(reader, WAV_DATA);
}

static void
ReadChunk(WavReader *reader)
{
	bool is_format = memcmp(reader->field, "fmt ", 4) == 0;
	bool is_data = memcmp(reader->field, "data", 4) == 0;

	reader->chunk_size = Le32(reader->field + 4);
	if (is_data)
		StartData(reader);
	else if (is_format && reader->has_format)
		Fail(reader, "is a WAV file with two formats");
	else if (is_format && reader->chunk_size < FORMAT_SIZE)
		Fail(reader, "is a WAV file with a broken format chunk");
	else if (is_format)
		EnterState(reader, WAV_FORMAT);
	else
		SkipChunk(reader, (uint64_t) reader->chunk_size + (reader->chunk_size & 1));
}

/* FormatTag resolves the tag of an extensible format; 0 is a tag that is not known. */
static uint32_t
FormatTag(const WavReader *reader)
{
	uint32_t tag = Le16(reader->field);

	if (tag != FORMAT_EXTENSIBLE)
		return tag;
	if (reader->field_length < EXTENSIBLE_SIZE ||
		memcmp(reader->field + 26, subformatTail, sizeof(subformatTail)) != 0)
		return 0;
	return Le16(reader->field + 24);
}

static const char *
CheckFormat(WavReader *reader)
{
	uint32_t tag = FormatTag(reader);
	uint32_t channels = Le16(reader->field + 2);
	uint32_t rate = Le32(reader->field + 4);
	uint32_t frame_size = Le16(reader->field + 12);
	uint32_t bits = Le16(reader->field + 14);

	if (tag == FORMAT_PCM && bits == 16)
		reader->format.encoding = PCM_S16LE;
	else if (tag == FORMAT_FLOAT && bits == 32)
		reader->format.encoding = PCM_F32LE;
	else if (tag == FORMAT_MULAW && bits == 8)
		reader->format.encoding = PCM_MULAW;
	else
		return "has samples of an unsupported format; use 16-bit integer or 32-bit "
			   "floating-point PCM (sox IN -b 16 -e signed OUT.wav)";
	if (channels < 1 || channels > PCM_CHANNELS_MAX)
		return "has an unsupported number of channels; 1 to 8 are read";
	if (rate < PCM_RATE_MIN || rate > PCM_RATE_MAX)
		return "has an unsupported sample rate; 8000 to 48000 Hz are read (sox IN -r 16000 "
			   "OUT.wav)";
	if (frame_size != channels * bits / 8)
		return "is a WAV file with a broken format chunk";
	reader->format.channels = (int) channels;
	reader->format.rate = (int) rate;
	reader->has_format = true;
	return NULL;
}

static void
ReadFormat(WavReader *reader)
{
	const char *problem = CheckFormat(reader);
	size_t length = reader->field_length;

	if (problem != NULL)
		Fail(reader, problem);
	else
		SkipChunk(reader, (uint64_t) reader->chunk_size + (reader->chunk_size & 1) - length);
}

static size_t
FieldSize(const WavReader *reader)
{
	if (reader->state == WAV_RIFF)
		return RIFF_SIZE;
	if (reader->state == WAV_CHUNK)
		return CHUNK_SIZE;
	return reader->chunk_size < EXTENSIBLE_SIZE ? FORMAT_SIZE : EXTENSIBLE_SIZE;
}

/* ReadHeader takes bytes for the field that the state waits for. */
static size_t
ReadHeader(WavReader *reader, const unsigned char *bytes, size_t size)
{
	size_t taken;

	if (!FillField(reader, FieldSize(reader), bytes, size, &taken))
		return taken;
	if (reader->state == WAV_RIFF)
		ReadRiff(reader);
	else if (reader->state == WAV_CHUNK)
		ReadChunk(reader);
	else
		ReadFormat(reader);
	return taken;
}

static size_t
ReadSkipped(WavReader *reader, size_t size)
{
	size_t taken = size < reader->left ? size : (size_t) reader->left;

	reader->left -= taken;
	if (reader->left == 0)
		EnterState(reader, WAV_CHUNK);
	return taken;
}

size_t
WavRead(WavReader *reader, const unsigned char *bytes, size_t size, size_t *audio)
{
	size_t position = 0;

	*audio = 0;
	while (position < size && reader->state < WAV_DATA)
	{
		if (reader->state == WAV_SKIP)
			position += ReadSkipped(reader, size - position);
		else
			position += ReadHeader(reader, bytes + position, size - position);
	}
	if (reader->state != WAV_DATA)
		return size;
	*audio = size - position;
	if (!reader->endless && *audio > reader->left)
		*audio = (size_t) reader->left;
	return position;
}

void
WavTake(WavReader *reader, size_t size)
{
	if (reader->endless)
		return;
	reader->left -= size;
	if (reader->left == 0)
		EnterState(reader, WAV_END);
}

uint64_t
WavMissing(const WavReader *reader)
{
	return reader->state == WAV_DATA && !reader->endless ? reader->left : 0;
}
