/*
 * transcript.h
 *	  Prints what has been stored, for a person who watches.
 */
#ifndef CAUCE_TRANSCRIPT_H
#define CAUCE_TRANSCRIPT_H

#include <stdbool.h>

#include "queue.h"

/*
 * TranscriptCheckOutput tells whether utterances are to be printed: if standard output is a
 * terminal or asked is true. Returns false, with a report, if they are to be printed to a regular
 * file, which the worker may not write.
 */
extern bool TranscriptCheckOutput(bool asked, bool *print);

/*
 * TranscriptPrint writes "[mm:ss.cc - mm:ss.cc] speaker: text" and a line end to standard
 * output. If that fails, it reports so once and prints no more: the text is in the database.
 */
extern void TranscriptPrint(const Utterance *utterance);

#endif
