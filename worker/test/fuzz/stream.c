/*
 * stream.c
 *	  libFuzzer: bytes from anywhere as WAV, as Ogg Opus and as PCM, in pieces that the first byte chooses.
 *
 * `make fuzz` runs it for FUZZ_SECONDS. The readers must neither touch what is not theirs nor come to no end.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ogg.h"
#include "pcm.h"
#include "wav.h"

#define FRAMES ((size_t) 2048)

static float planes[PCM_CHANNELS_MAX][FRAMES];
static float *const channels[] = {planes[0], planes[1], planes[2], planes[3],
								  planes[4], planes[5], planes[6], planes[7]};

/* ReadPcm takes all bytes; each call takes some. */
static void
ReadPcm(PcmReader *pcm, const unsigned char *bytes, size_t size)
{
	while (size > 0)
	{
		size_t used;
		size_t frames = PcmRead(pcm, bytes, size, &used, channels, FRAMES);

		if (frames > FRAMES || used > size || (used == 0 && frames == 0))
			abort();
		bytes += used;
		size -= used;
	}
}

static void
ReadWav(WavReader *wav, PcmReader *pcm, const unsigned char *bytes, size_t size)
{
	size_t audio;
	size_t done = WavRead(wav, bytes, size, &audio);

	if (done + audio > size)
		abort();
	if (audio == 0)
		return;
	if (pcm->format.channels == 0)
		PcmInit(pcm, &wav->format);
	ReadPcm(pcm, bytes + done, audio);
	WavTake(wav, audio);
}

static void
ReadOgg(OggReader *ogg, const unsigned char *bytes, size_t size)
{
	size_t frames;

	if (!OggFeed(ogg, bytes, size))
		abort();
	if (!OggStart(ogg))
		return;
	while ((frames = OggNext(ogg, channels, FRAMES)) > 0)
	{
		if (frames > OGG_PACKET_MAX)
			abort();
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t piece = size == 0 ? 1 : 1 + data[0] % 64 * 17;
	WavReader wav;
	PcmReader pcm;
	OggReader ogg;
	size_t at;

	memset(&pcm, 0, sizeof(pcm));
	WavInit(&wav);
	if (!OggInit(&ogg))
		abort();
	for (at = 1; at < size; at += piece)
	{
		size_t length = size - at < piece ? size - at : piece;

		ReadWav(&wav, &pcm, data + at, length);
		ReadOgg(&ogg, data + at, length);
	}
	OggDestroy(&ogg);
	return 0;
}
