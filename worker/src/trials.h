/*
 * trials.h
 *	  Tries to break the rules of the sandbox.
 */
#ifndef CAUCE_TRIALS_H
#define CAUCE_TRIALS_H

#include <stdbool.h>

typedef enum TrialsLayer
{
	TRIALS_LANDLOCK, /* what Landlock alone has to hold; skipped where the kernel has none */
	TRIALS_ALL /* what seccomp has to hold, and the limits */
} TrialsLayer;

/*
 * TrialsRun tries everything of a layer. Returns whether all of it was denied; what was not is reported,
 * and undone where it can be. abi is Landlock's version.
 */
extern bool TrialsRun(TrialsLayer layer, int abi, bool print);

#endif
