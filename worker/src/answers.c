/*
 * answers.c
 *	  JSON for clients.
 */
#include "answers.h"

#include <stdlib.h>
#include <string.h>

#include "text.h"

/* Decimals of numbers: milliseconds in a stream of a day. */
#define PRECISION 8

json_t *
AnswerSeconds(int64_t ms)
{
	return json_real((double) ms / 1000.0);
}

json_t *
AnswerConfidence(float confidence)
{
	return confidence == NO_CONFIDENCE ? NULL : json_real((double) confidence);
}

bool
AnswerPut(Outbox *outbox, json_t *answer)
{
	char *text =
		answer == NULL ? NULL : json_dumps(answer, JSON_COMPACT | JSON_REAL_PRECISION(PRECISION));
	bool put = text != NULL && OutboxPut(outbox, text, strlen(text));

	TextFree(text);
	json_decref(answer);
	return put;
}

static bool
IsPunctuation(char byte)
{
	return strchr(".,;:!?\"()[]", byte) != NULL;
}

/* Bare copies a word in lower case (of ASCII) without punctuation at its ends. */
static void
Bare(const char *word, char bare[ANSWER_WORD_MAX])
{
	size_t length;
	size_t i;

	while (*word != '\0' && IsPunctuation(*word))
		word++;
	length = strlen(word);
	while (length > 0 && IsPunctuation(word[length - 1]))
		length--;
	for (i = 0; i < length; i++)
		bare[i] = word[i] >= 'A' && word[i] <= 'Z' ? (char) (word[i] - 'A' + 'a') : word[i];
	bare[length] = '\0';
}

/* Cut makes a word shorter, at the start of a character, if it is longer than may be. */
static size_t
Cut(const char *word, size_t length)
{
	if (length < ANSWER_WORD_MAX)
		return length;
	length = ANSWER_WORD_MAX - 1;
	while (length > 0 && ((unsigned char) word[length] & 0xC0) == 0x80)
		length--;
	return length;
}

/* ShareOut gives a word the part of an utterance's time that its place in the text is of the text. */
static void
ShareOut(const Utterance *utterance, size_t place, size_t length, AnswerWord *word)
{
	int64_t total = (int64_t) strlen(utterance->said.text) + 1;
	int64_t time = utterance->end_ms - utterance->start_ms;

	word->start_ms = utterance->start_ms + time * (int64_t) place / total;
	word->end_ms = utterance->start_ms + time * (int64_t) (place + length + 1) / total;
	word->confidence = NO_CONFIDENCE;
}

void
AnswerWords(const Utterance *utterance, void (*take)(void *context, const AnswerWord *word),
			void *context)
{
	const Recognition *said = &utterance->said;
	const char *text = said->text == NULL ? "" : said->text;
	const Word *known = said->words;
	AnswerWord word;

	while (*text != '\0')
	{
		size_t length = strcspn(text, " ");
		size_t kept = Cut(text, length);

		memcpy(word.text, text, kept);
		word.text[kept] = '\0';
		Bare(word.text, word.bare);
		ShareOut(utterance, (size_t) (text - said->text), length, &word);
		if (known != NULL)
		{
			word.start_ms = known->start_ms;
			word.end_ms = known->end_ms;
			word.confidence = known++->confidence;
		}
		take(context, &word);
		text += length + strspn(text + length, " ");
	}
	explicit_bzero(&word, sizeof(word));
}
