/*
 * interim.h
 *	  The text so far of a segment that is still being spoken, as it is shown.
 *
 * Each time the segment is decoded anew, its first words may come out otherwise than before. Words on
 * which two decodings in a row agree are kept as they are from then on, so that what a person has
 * read does not change under his eyes, except once, when the final text comes.
 */
#ifndef CAUCE_INTERIM_H
#define CAUCE_INTERIM_H

#include <stdbool.h>

typedef struct Interim
{
	char *last; /* the last decoding, or NULL */
	char *shown; /* the last text that was shown, or NULL */
	int kept; /* words of shown that do not change any more */
} Interim;

/*
 * InterimTake takes over a new decoding (NULL: nothing was said) and makes the text to show. Returns
 * false if that is the text that was shown last, or there is no memory; else *text is to be freed with
 * TextFree.
 */
extern bool InterimTake(Interim *interim, char *decoded, char **text);

/*
 * InterimGrow is InterimTake for the text of a streaming model, which writes on and takes nothing back but
 * may be in the middle of a word: it is shown as it is.
 */
extern bool InterimGrow(Interim *interim, const char *decoded, char **text);

/* InterimReset forgets the segment. */
extern void InterimReset(Interim *interim);

#endif
