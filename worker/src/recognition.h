/*
 * recognition.h
 *	  What was recognised of a segment: its text, and as far as the model tells, when each word was said
 *	  and how sure the model is.
 *
 * Models write tokens, which are words, parts of words or characters. A word begins when its first
 * token does. It ends when its last token does, if the model gives durations, else where the next word
 * begins, or the segment's voice ends. Confidence is the geometric mean of the probabilities that the
 * model gave the tokens: exp(sum of logarithms / number). What a model does not tell is left out.
 */
#ifndef CAUCE_RECOGNITION_H
#define CAUCE_RECOGNITION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NO_CONFIDENCE 0.0f

typedef struct Word
{
	int64_t start_ms;
	int64_t end_ms;
	float confidence; /* more than 0, up to 1, or NO_CONFIDENCE */
} Word;

typedef struct Recognition
{
	char *text; /* for RecognitionFree; NULL: nothing was said */
	Word *words; /* one for each word of text, which spaces keep apart; or NULL */
	size_t word_count;
	float confidence; /* of all of it, as a word's */
} Recognition;

/* Tokens are what the engine gives: arrays of count each, of which any but texts may be NULL. */
typedef struct Tokens
{
	const char *const *texts;
	const float *starts; /* in seconds from the first sample */
	const float *durations; /* in seconds */
	const float *log_probs; /* natural logarithms of probabilities */
	size_t count;
} Tokens;

/*
 * RecognitionMake takes over the engine's text, as TextCopy does, and its tokens. Words get times only if
 * the tokens, put together, are the text. Times are milliseconds from the first sample, until
 * RecognitionPlace. Returns false if there is no memory.
 */
extern bool RecognitionMake(Recognition *recognition, const char *raw, const Tokens *tokens);

/* RecognitionCopy makes a copy, for RecognitionFree; returns false if there is no memory. */
extern bool RecognitionCopy(Recognition *copy, const Recognition *recognition);

/*
 * RecognitionPlace puts words on the clock of the stream: audio_ms is where the first sample is there. Words
 * are kept within start_ms and end_ms and in their order.
 */
extern void RecognitionPlace(Recognition *recognition, int64_t audio_ms, int64_t start_ms,
							 int64_t end_ms);

/* RecognitionFree wipes and frees what is in a recognition, which then has no text. */
extern void RecognitionFree(Recognition *recognition);

#endif
