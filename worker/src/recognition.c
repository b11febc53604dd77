/*
 * recognition.c
 *	  Makes words with times of the engine's tokens.
 */
#include "recognition.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

/* A token of a single byte that is no printable character: its value in upper case. */
#define BYTE_TOKEN "<0x%2hhX>"
#define BYTE_TOKEN_LENGTH ((size_t) 6)

/* The end of a word of which only the start is known. */
#define UNKNOWN_MS INT64_MAX

/* How far above 1 the engine's sums of probabilities may come out. */
#define ROUNDING 1e-3

/* Walk goes through a text, token by token. */
typedef struct Walk
{
	const char *place; /* in the text, up to which tokens have been found */
	Word *words;
	size_t count; /* words that have begun */
	double log_prob; /* of the last word's tokens, summed */
	size_t tokens; /* that the last word has */
} Walk;

static int64_t
Milliseconds(float seconds)
{
	return (int64_t) lrintf(seconds * 1000.0f);
}

/* Confidence makes a probability of a sum of logarithms; what is none, but for rounding, is left out. */
static float
Confidence(double log_prob, size_t tokens)
{
	double mean = tokens == 0 ? NAN : exp(log_prob / (double) tokens);

	if (!(mean > 0.0 && mean < 1.0 + ROUNDING))
		return NO_CONFIDENCE;
	return fminf((float) mean, 1.0f);
}

static size_t
CountWords(const char *text)
{
	size_t count;

	for (count = 0; *text != '\0'; count++)
	{
		text += strcspn(text, " ");
		text += strspn(text, " ");
	}
	return count;
}

static bool
IsSpace(char byte)
{
	return (unsigned char) byte <= ' ' || byte == 0x7F;
}

/* FinishWord gives the word that has ended its confidence. */
static void
FinishWord(Walk *walk, bool log_probs)
{
	if (walk->count > 0 && log_probs)
		walk->words[walk->count - 1].confidence = Confidence(walk->log_prob, walk->tokens);
}

/* BeginWord begins a word with a token. */
static void
BeginWord(Walk *walk, const Tokens *tokens, size_t i)
{
	FinishWord(walk, tokens->log_probs != NULL);
	walk->words[walk->count++] = (Word){.start_ms = Milliseconds(tokens->starts[i]),
										.end_ms = UNKNOWN_MS,
										.confidence = NO_CONFIDENCE};
	walk->log_prob = 0.0;
	walk->tokens = 0;
}

/* AddToken counts a token to the last word. */
static void
AddToken(Walk *walk, const Tokens *tokens, size_t i)
{
	if (tokens->durations != NULL)
		walk->words[walk->count - 1].end_ms =
			Milliseconds(tokens->starts[i] + tokens->durations[i]);
	if (tokens->log_probs != NULL)
		walk->log_prob += (double) tokens->log_probs[i];
	walk->tokens++;
}

/* TakeToken finds a token in the text, where that goes on; returns false if it is not there. */
static bool
TakeToken(Walk *walk, const char *text, const Tokens *tokens, size_t i)
{
	const char *token = tokens->texts[i];
	char byte[2] = "";
	bool counted = false;

	if (strlen(token) == BYTE_TOKEN_LENGTH && token[BYTE_TOKEN_LENGTH - 1] == '>' &&
		sscanf(token, BYTE_TOKEN, (unsigned char *) byte) == 1)
		token = byte;
	for (; *token != '\0'; token++)
	{
		if (IsSpace(*token))
			continue;
		walk->place += strspn(walk->place, " ");
		if (*walk->place++ != *token)
			return false;
		if (walk->place - 1 == text || walk->place[-2] == ' ')
		{
			BeginWord(walk, tokens, i);
			counted = false;
		}
		if (!counted)
			AddToken(walk, tokens, i);
		counted = true;
	}
	return true;
}

/* FindWords gives the words of the text the times of their tokens; returns false if they do not fit. */
static bool
FindWords(Recognition *recognition, const Tokens *tokens)
{
	Walk walk = {.place = recognition->text, .words = recognition->words};
	size_t i;

	for (i = 0; i < tokens->count; i++)
	{
		if (!TakeToken(&walk, recognition->text, tokens, i))
			return false;
	}
	FinishWord(&walk, tokens->log_probs != NULL);
	return *walk.place == '\0' && walk.count == recognition->word_count;
}

static float
SegmentConfidence(const Tokens *tokens)
{
	double log_prob = 0.0;
	size_t i;

	if (tokens->log_probs == NULL)
		return NO_CONFIDENCE;
	for (i = 0; i < tokens->count; i++)
		log_prob += (double) tokens->log_probs[i];
	return Confidence(log_prob, tokens->count);
}

bool
RecognitionMake(Recognition *recognition, const char *raw, const Tokens *tokens)
{
	*recognition = (Recognition){.text = TextCopy(raw), .confidence = NO_CONFIDENCE};
	if (recognition->text == NULL)
		return false;
	if (*recognition->text == '\0')
	{
		RecognitionFree(recognition);
		return true;
	}
	recognition->confidence = SegmentConfidence(tokens);
	if (tokens->count == 0 || tokens->starts == NULL)
		return true;
	recognition->word_count = CountWords(recognition->text);
	recognition->words = calloc(recognition->word_count, sizeof(Word));
	if (recognition->words == NULL)
	{
		RecognitionFree(recognition);
		return false;
	}
	if (!FindWords(recognition, tokens))
	{
		free(recognition->words);
		recognition->words = NULL;
		recognition->word_count = 0;
	}
	return true;
}

bool
RecognitionCopy(Recognition *copy, const Recognition *recognition)
{
	*copy = *recognition;
	if (recognition->text == NULL)
		return true;
	copy->text = strdup(recognition->text);
	copy->words = recognition->words == NULL ? NULL : calloc(copy->word_count, sizeof(Word));
	if (copy->text == NULL || (recognition->words != NULL && copy->words == NULL))
	{
		RecognitionFree(copy);
		return false;
	}
	if (copy->words != NULL)
		memcpy(copy->words, recognition->words, copy->word_count * sizeof(Word));
	return true;
}

static int64_t
Within(int64_t value, int64_t least, int64_t most)
{
	return value < least ? least : value > most ? most : value;
}

void
RecognitionPlace(Recognition *recognition, int64_t audio_ms, int64_t start_ms, int64_t end_ms)
{
	int64_t next_ms = end_ms;
	int64_t least = start_ms;
	size_t i;

	for (i = 0; i < recognition->word_count; i++)
	{
		Word *word = &recognition->words[i];

		least = word->start_ms = Within(audio_ms + word->start_ms, least, end_ms);
	}
	while (i-- > 0)
	{
		Word *word = &recognition->words[i];

		word->end_ms = word->end_ms == UNKNOWN_MS
						   ? next_ms
						   : Within(audio_ms + word->end_ms, word->start_ms, next_ms);
		next_ms = word->start_ms;
	}
}

void
RecognitionFree(Recognition *recognition)
{
	TextFree(recognition->text);
	free(recognition->words);
	*recognition = (Recognition){.confidence = NO_CONFIDENCE};
}
