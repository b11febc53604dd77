/*
 * wav.c
 *	  A WAV header reads the same however it is cut, and gives out no more audio than there is.
 *
 * Parts: wav.c
 * Most bytes: 4096
 *
 * Input: how many bytes are read at a time, then the stream.
 */
#include "fuzz.h"
#include "wav.h"

typedef struct Outcome
{
	WavReader reader;
	uint64_t audio;
	uint64_t sum; /* of the audio, so that it is the same bytes */
} Outcome;

static void
ReadAll(Outcome *outcome, const uint8_t *bytes, size_t size, size_t step)
{
	size_t position = 0;

	memset(outcome, 0, sizeof(*outcome));
	WavInit(&outcome->reader);
	while (position < size && outcome->reader.state < WAV_END)
	{
		size_t piece = size - position < step ? size - position : step;
		uint8_t *copy = FuzzCopy(bytes + position, piece);
		size_t audio;
		size_t done = WavRead(&outcome->reader, copy, piece, &audio);
		size_t i;

		Require(done <= piece && audio <= piece - done);
		Require(audio == 0 || outcome->reader.state == WAV_DATA);
		Require(outcome->reader.state == WAV_DATA || done == piece);
		for (i = 0; i < audio; i++)
			outcome->sum = outcome->sum * 31 + copy[done + i];
		outcome->audio += audio;
		if (audio > 0)
			WavTake(&outcome->reader, audio);
		position += outcome->reader.state == WAV_DATA ? done + audio : piece;
		free(copy);
	}
}

static void
CheckFormat(const WavReader *reader)
{
	const PcmFormat *format = &reader->format;

	Require(reader->has_format);
	Require(format->channels >= 1 && format->channels <= PCM_CHANNELS_MAX);
	Require(format->rate >= PCM_RATE_MIN && format->rate <= PCM_RATE_MAX);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	Outcome whole;
	Outcome cut;

	if (size == 0)
		return 0;
	ReadAll(&whole, bytes + 1, size - 1, size);
	ReadAll(&cut, bytes + 1, size - 1, bytes[0] % 64 + 1);
	Require(whole.reader.state == cut.reader.state);
	Require((whole.reader.problem != NULL) == (whole.reader.state == WAV_BAD));
	Require(whole.audio == cut.audio && whole.sum == cut.sum);
	Require(WavMissing(&whole.reader) == WavMissing(&cut.reader));
	if (whole.reader.state == WAV_DATA || whole.reader.state == WAV_END)
		CheckFormat(&whole.reader);
	return 0;
}
