/*
 * voices.h
 *	  What hearing one channel takes: locked memory for its audio and a voice detector.
 *
 * Both are made before audio may arrive, kept, and lent to one channel after the other; between two
 * channels the audio is wiped and the detector forgets. How many there are is how many channels can
 * be heard at a time.
 */
#ifndef CAUCE_VOICES_H
#define CAUCE_VOICES_H

#include <pthread.h>
#include <stdbool.h>

#include "arena.h"
#include "models.h"
#include "vad.h"

#define VOICE_BLOCK ((size_t) 2048) /* samples that are taken in at a time */

typedef struct Voice
{
	Arena arena;
	float *audio; /* the segmenter's */
	float *block; /* VOICE_BLOCK samples as they come, before they are resampled */
	Vad vad;
	struct Voice *next; /* of those that are free */
} Voice;

typedef struct Voices
{
	pthread_mutex_t lock;
	const Models *models;
	Voice *all;
	int made;
	int most;
	Voice *free;
	int free_count;
} Voices;

/*
 * VoicesCreate makes count voices and leaves room for up to most. Returns false, with a report, if
 * the memory cannot be locked or the engine does not take the model.
 */
extern bool VoicesCreate(Voices *voices, const Models *models, int count, int most);

/*
 * VoicesTake lends count voices, and makes more if it may. Returns false, and lends none, if there
 * are too few; there is a report only if one could not be made.
 */
extern bool VoicesTake(Voices *voices, int count, Voice **taken);

/* VoicesReturn takes a voice back, wiped; NULL is none. */
extern void VoicesReturn(Voices *voices, Voice *voice);

/* VoicesFree tells how many can be lent. */
extern int VoicesFree(Voices *voices);

extern void VoicesDestroy(Voices *voices);

#endif
