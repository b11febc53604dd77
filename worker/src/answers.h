/*
 * answers.h
 *	  What the two protocols have in common in their answers: JSON, and words with times.
 */
#ifndef CAUCE_ANSWERS_H
#define CAUCE_ANSWERS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "outbox.h"
#include "queue.h"

/* AnswerSeconds makes a number of seconds of milliseconds. */
extern json_t *AnswerSeconds(int64_t ms);

/* AnswerPut puts an answer in an outbox and frees it; NULL is one that could not be made. */
extern bool AnswerPut(Outbox *outbox, json_t *answer);

/* AnswerConfidence makes a number of a confidence, or NULL, which json_pack's "o*" leaves out, of none. */
extern json_t *AnswerConfidence(float confidence);

/*
 * AnswerWords calls back with each word of an utterance, at most ANSWER_WORD_MAX bytes of it, and its time.
 * Where the model gives no times of words the utterance's is shared out among them by their length.
 */
#define ANSWER_WORD_MAX 128

typedef struct AnswerWord
{
	char text[ANSWER_WORD_MAX]; /* as it is */
	char bare[ANSWER_WORD_MAX]; /* in lower case, without punctuation at its ends */
	int64_t start_ms;
	int64_t end_ms;
	float confidence; /* or NO_CONFIDENCE */
} AnswerWord;

extern void AnswerWords(const Utterance *utterance,
						void (*take)(void *context, const AnswerWord *word), void *context);

#endif
