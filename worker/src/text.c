/*
 * text.c
 *	  Takes over what a recognizer put out.
 */
#include "text.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/*
 * CharacterLength tells how many bytes the UTF-8 character at bytes has, or 0 if it is none: a
 * stray or missing continuation byte, an overlong form, a surrogate or beyond U+10FFFF.
 */
static size_t
CharacterLength(const unsigned char *bytes)
{
	unsigned char least = 0x80;
	unsigned char most = 0xBF;
	size_t length;
	size_t i;

	if (bytes[0] < 0x80)
		return 1;
	if (bytes[0] < 0xC2 || bytes[0] > 0xF4)
		return 0;
	length = bytes[0] < 0xE0 ? 2 : bytes[0] < 0xF0 ? 3 : 4;
	if (bytes[0] == 0xE0)
		least = 0xA0;
	else if (bytes[0] == 0xED)
		most = 0x9F;
	else if (bytes[0] == 0xF0)
		least = 0x90;
	else if (bytes[0] == 0xF4)
		most = 0x8F;
	for (i = 1; i < length; i++)
	{
		if (bytes[i] < least || bytes[i] > most)
			return 0;
		least = 0x80;
		most = 0xBF;
	}
	return length;
}

char *
TextCopy(const char *raw)
{
	const unsigned char *from = (const unsigned char *) raw;
	char *text = malloc(strlen(raw) + 1);
	size_t used = 0;

	if (text == NULL)
		return NULL;
	while (*from != '\0')
	{
		size_t length = CharacterLength(from);
		bool space = *from <= ' ' || *from == 0x7F;

		if (length == 0)
			from++;
		else if (space && used == 0)
			from += length;
		else
		{
			memcpy(text + used, space ? " " : (const char *) from, length);
			used += length;
			from += length;
		}
	}
	while (used > 0 && text[used - 1] == ' ')
		used--;
	text[used] = '\0';
	return text;
}

void
TextFree(char *text)
{
	if (text == NULL)
		return;
	explicit_bzero(text, strlen(text));
	free(text);
}
