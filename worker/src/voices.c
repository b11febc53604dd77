/*
 * voices.c
 *	  A stock of locked memory and voice detectors.
 */
#include "voices.h"

#include <stdlib.h>
#include <string.h>

#include "report.h"
#include "segmenter.h"

static size_t
AudioSize(void)
{
	return SegmenterCapacity() * sizeof(float);
}

static bool
MakeVoice(Voices *voices)
{
	Voice *voice = &voices->all[voices->made];
	size_t block = VOICE_BLOCK * sizeof(float);

	if (!ArenaCreate(&voice->arena, ArenaRoom(AudioSize()) + ArenaRoom(block)))
		return false;
	voice->audio = ArenaTake(&voice->arena, AudioSize());
	voice->block = ArenaTake(&voice->arena, block);
	if (!VadCreate(&voice->vad, &voices->models->vad))
	{
		ArenaDestroy(&voice->arena);
		return false;
	}
	voices->made++;
	voice->next = voices->free;
	voices->free = voice;
	voices->free_count++;
	return true;
}

/* Fill makes voices until count of them are free, if there is room for them. */
static bool
Fill(Voices *voices, int count)
{
	while (voices->free_count < count)
	{
		if (voices->made == voices->most || !MakeVoice(voices))
			return false;
	}
	return true;
}

bool
VoicesCreate(Voices *voices, const Models *models, int count, int most)
{
	memset(voices, 0, sizeof(*voices));
	voices->models = models;
	voices->most = most;
	voices->all = calloc((size_t) most, sizeof(Voice));
	if (voices->all == NULL || pthread_mutex_init(&voices->lock, NULL) != 0)
	{
		Report("no memory for %d channels", most);
		free(voices->all);
		voices->all = NULL;
		return false;
	}
	return Fill(voices, count);
}

bool
VoicesTake(Voices *voices, int count, Voice **taken)
{
	bool enough;
	int i;

	pthread_mutex_lock(&voices->lock);
	enough = Fill(voices, count);
	for (i = 0; enough && i < count; i++)
	{
		taken[i] = voices->free;
		voices->free = taken[i]->next;
		voices->free_count--;
	}
	pthread_mutex_unlock(&voices->lock);
	return enough;
}

void
VoicesReturn(Voices *voices, Voice *voice)
{
	if (voice == NULL)
		return;
	ArenaWipe(voice->arena.base, voice->arena.size);
	VadForget(&voice->vad);
	pthread_mutex_lock(&voices->lock);
	voice->next = voices->free;
	voices->free = voice;
	voices->free_count++;
	pthread_mutex_unlock(&voices->lock);
}

int
VoicesFree(Voices *voices)
{
	int count;

	pthread_mutex_lock(&voices->lock);
	count = voices->free_count;
	pthread_mutex_unlock(&voices->lock);
	return count;
}

void
VoicesDestroy(Voices *voices)
{
	int i;

	if (voices->all == NULL)
		return;
	for (i = 0; i < voices->made; i++)
	{
		VadDestroy(&voices->all[i].vad);
		ArenaDestroy(&voices->all[i].arena);
	}
	free(voices->all);
	voices->all = NULL;
	pthread_mutex_destroy(&voices->lock);
}
