/*
 * segmenter.h
 *	  Cuts one channel's audio into segments of speech (endpointing).
 *
 * States:	SILENCE --voice--> SPEECH --no voice--> PAUSE --voice--> SPEECH
 *			PAUSE --long enough--> a segment is cut --> SILENCE
 *			SPEECH, PAUSE --segment too long--> cut at the quietest place --> SPEECH
 *
 * The segmenter owns the audio: a straight buffer in locked memory, in which a segment is one
 * run of samples. A segment is cut from that buffer with some audio before and after the voice,
 * since voice detection is late to hear the first sound of a word and early to lose the last.
 * What is neither in a segment nor may still be before one is wiped.
 */
#ifndef CAUCE_SEGMENTER_H
#define CAUCE_SEGMENTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEGMENTER_FRAME ((size_t) 512) /* samples that voice is judged in: 32 ms */

typedef enum SegmenterState
{
	SEGMENTER_SILENCE,
	SEGMENTER_SPEECH,
	SEGMENTER_PAUSE
} SegmenterState;

/* Positions are in samples from the start of the stream, unless they are called an offset. */
typedef struct Segmenter
{
	SegmenterState state;
	float *audio;
	size_t capacity;
	size_t length; /* samples in the buffer */
	size_t judged; /* offset up to which frames have been judged */
	int64_t base; /* position of the buffer's first sample */
	int64_t start; /* where the segment is cut, before its voice */
	int64_t voice_start; /* where its voice begins */
	int64_t voice_end; /* where its voice was last heard */
	int voiced; /* frames with voice in it */
	bool continued; /* it follows a segment that was cut for its length */
	int64_t pause; /* that ends a segment, if not 0; of a long one a shorter pause does */
} Segmenter;

/* Segment is a view: its samples are the segmenter's and valid until SegmenterRelease. */
typedef struct Segment
{
	const float *samples;
	size_t length;
	int64_t audio_ms; /* of the first sample, from the start of the stream */
	int64_t start_ms; /* of the voice, from the start of the stream */
	int64_t end_ms;
	size_t
		certain; /* of length: what is in it wherever it will end, unless it is cut for its length */
	bool pause; /* it ends in a pause, not in the middle of speech */
} Segment;

/* SegmenterCapacity tells how many samples the buffer that SegmenterInit takes must hold. */
extern size_t SegmenterCapacity(void);

/*
 * SegmenterInit takes the buffer and how long a pause ends a segment, in milliseconds; 0 leaves that
 * to the rules of segmenter.c. A pause is at least SEGMENTER_PAUSE_MIN_MS.
 */
#define SEGMENTER_PAUSE_MIN_MS 160
extern void SegmenterInit(Segmenter *segmenter, float *audio, int pause_ms);

/*
 * SegmenterTail gives the place where the next samples are to be written and how many fit;
 * SegmenterExtend says how many were written.
 */
extern float *SegmenterTail(Segmenter *segmenter, size_t *room);
extern void SegmenterExtend(Segmenter *segmenter, size_t length);

/* SegmenterFrame gives the next SEGMENTER_FRAME samples to judge, or NULL if they are not there. */
extern const float *SegmenterFrame(const Segmenter *segmenter);

/* SegmenterPast tells how many frames that have been judged still lie before that one. */
extern size_t SegmenterPast(const Segmenter *segmenter);

/*
 * SegmenterJudge takes whether the frame that SegmenterFrame gave has voice. Returns true if
 * that ends a segment, which must then be released.
 */
extern bool SegmenterJudge(Segmenter *segmenter, bool voice, Segment *segment);

/*
 * SegmenterFlush ends the segment that is being spoken, whatever follows: returns true if that ends
 * one, which must then be released. The stream may go on.
 */
extern bool SegmenterFlush(Segmenter *segmenter, Segment *segment);

/*
 * SegmenterOpen gives a view of the segment that is being spoken, as far as it has been judged;
 * returns false if there is none, or too little of it to be speech.
 */
extern bool SegmenterOpen(const Segmenter *segmenter, Segment *segment);

/* SegmenterNow tells how many milliseconds of the stream have been judged. */
extern int64_t SegmenterNow(const Segmenter *segmenter);

/* SegmenterRelease wipes the audio of the segment that was given out by any but SegmenterOpen. */
extern void SegmenterRelease(Segmenter *segmenter);

#endif
