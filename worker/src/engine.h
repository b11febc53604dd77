/*
 * engine.h
 *	  The recognition engine: that it is the right one, and that its death loses no text.
 */
#ifndef CAUCE_ENGINE_H
#define CAUCE_ENGINE_H

#include <stdbool.h>

/*
 * EngineCheckVersion returns false, with a report, if the library is not the version whose
 * interface sherpa.h declares.
 */
extern bool EngineCheckVersion(void);

/*
 * EngineName says which kind of model the engine is being given, NULL once it has taken it. EngineReport
 * reports that it did not or, if it had, that it failed.
 */
extern void EngineName(const char *kind);
extern void EngineReport(void);

/*
 * EngineGuard installs what is done when the engine ends the process, as it does on a model it
 * cannot use (it calls _Exit) or on an error of the runtime under it (it calls abort). The
 * function runs in the thread that called the engine, stores what was recognised before, and
 * does not return.
 */
extern void EngineGuard(void (*on_death)(void));

#endif
