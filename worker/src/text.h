/*
 * text.h
 *	  Recognised text: what a person said, kept no longer than until it is stored.
 */
#ifndef CAUCE_TEXT_H
#define CAUCE_TEXT_H

/*
 * TextCopy gives a copy in valid UTF-8 (RFC 3629) without control characters or white space at
 * its ends; bytes that are no part of a character are left out, as the database takes none.
 * Returns NULL if there is no memory.
 */
extern char *TextCopy(const char *raw);

/* TextFree wipes and frees a text; NULL is no text. */
extern void TextFree(char *text);

#endif
