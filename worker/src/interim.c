/*
 * interim.c
 *	  Keeps the start of a text that is decoded again and again stable.
 */
#include "interim.h"

#include <stdlib.h>
#include <string.h>

#include "text.h"

/* SkipWords gives the place behind a number of words, which one space each keeps apart. */
static const char *
SkipWords(const char *text, int words)
{
	while (words-- > 0 && *text != '\0')
	{
		text += strcspn(text, " ");
		text += strspn(text, " ");
	}
	return text;
}

/* CommonWords tells how many whole words two texts have in common at their start. */
static int
CommonWords(const char *a, const char *b)
{
	int words = 0;

	while (*a != '\0' && *b != '\0')
	{
		size_t length = strcspn(a, " ");

		if (length != strcspn(b, " ") || strncmp(a, b, length) != 0)
			break;
		words++;
		a += length + strspn(a + length, " ");
		b += length + strspn(b + length, " ");
	}
	return words;
}

/* Join makes a text of the words that are kept and of what comes behind as many of the new ones. */
static char *
Join(const Interim *interim, const char *decoded)
{
	const char *shown = interim->shown == NULL ? "" : interim->shown;
	size_t kept = (size_t) (SkipWords(shown, interim->kept) - shown);
	const char *rest = SkipWords(decoded, interim->kept);
	char *text = malloc(kept + 1 + strlen(rest) + 1);

	if (text == NULL)
		return NULL;
	memcpy(text, shown, kept);
	while (kept > 0 && text[kept - 1] == ' ')
		kept--;
	if (kept > 0 && *rest != '\0')
		text[kept++] = ' ';
	memcpy(text + kept, rest, strlen(rest) + 1);
	return text;
}

bool
InterimTake(Interim *interim, char *decoded, char **text)
{
	char *joined;
	int agreed;

	if (decoded == NULL)
		return false;
	if (interim->last != NULL)
	{
		agreed = CommonWords(interim->last, decoded);
		/* What is agreed on is what is shown, as far as it was not kept before. */
		if (agreed > interim->kept)
			interim->kept = agreed;
	}
	joined = Join(interim, decoded);
	TextFree(interim->last);
	interim->last = decoded;
	if (joined == NULL || (interim->shown != NULL && strcmp(joined, interim->shown) == 0))
	{
		TextFree(joined);
		return false;
	}
	TextFree(interim->shown);
	interim->shown = joined;
	*text = strdup(joined);
	return *text != NULL;
}

bool
InterimGrow(Interim *interim, const char *decoded, char **text)
{
	if (interim->shown != NULL && strcmp(decoded, interim->shown) == 0)
		return false;
	TextFree(interim->shown);
	interim->shown = strdup(decoded);
	*text = strdup(decoded);
	return *text != NULL;
}

void
InterimReset(Interim *interim)
{
	TextFree(interim->last);
	TextFree(interim->shown);
	memset(interim, 0, sizeof(*interim));
}
