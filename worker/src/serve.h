/*
 * serve.h
 *	  The command "serve": many streams, each into its own session.
 */
#ifndef CAUCE_SERVE_H
#define CAUCE_SERVE_H

#include "exitcode.h"
#include "options.h"

/*
 * Serve listens until a signal and returns once all streams have ended. It has reported whatever kept
 * it from that.
 */
extern ExitCode Serve(Options *options);

#endif
