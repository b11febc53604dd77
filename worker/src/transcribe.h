/*
 * transcribe.h
 *	  The command "transcribe": one stream into one session.
 */
#ifndef CAUCE_TRANSCRIBE_H
#define CAUCE_TRANSCRIBE_H

#include "exitcode.h"
#include "options.h"

/*
 * Transcribe reads the stream to its end and returns once all that was recognised is in the
 * database, or it is certain that it cannot get there. It has reported whatever kept it from that.
 */
extern ExitCode Transcribe(Options *options);

#endif
