/*
 * engine.c
 *	  Stands between the worker and an engine that ends the process on an error.
 */
#include "engine.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report.h"
#include "sherpa.h"

static void (*onEngineDeath)(void) = NULL;
static const char *engineLoads = NULL; /* the kind of model, until it has been taken */

/* Die runs the guard once; a second death while it runs ends the process. */
static void
Die(void)
{
	void (*on_death)(void) = onEngineDeath;

	onEngineDeath = NULL;
	if (on_death != NULL)
		on_death();
}

/*
 * The engine calls _Exit, which runs no handler. As the program's own symbols come before the C
 * library's, this definition is the one that the engine gets.
 */
void
_Exit(int status)
{
	Die();
	_exit(status);
}

/*
 * A C++ exception that nothing catches ends in abort(). It is raised in the thread that called
 * the engine, which holds no lock of ours then, so that the guard may do what is otherwise not
 * allowed in a signal handler.
 */
static void
HandleAbort(int signal_number)
{
	Die();
	_exit(128 + signal_number);
}

bool
EngineCheckVersion(void)
{
	const char *version = SherpaOnnxGetVersionStr();

	if (version != NULL && strcmp(version, SHERPA_VERSION) == 0)
		return true;
	Report("the engine is sherpa-onnx %s, but %s is needed; build again with make",
		   version == NULL ? "of an unknown version" : version, SHERPA_VERSION);
	return false;
}

void
EngineName(const char *kind)
{
	/* Of some models the engine does not see that they are of another kind, and goes astray. */
	struct sigaction action = {.sa_handler = kind == NULL ? SIG_DFL : HandleAbort};

	engineLoads = kind;
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGFPE, &action, NULL);
}

void
EngineReport(void)
{
	if (engineLoads == NULL)
		Report("the engine ended on an error of its own; check the models, see --models");
	else
		Report("the engine does not take the recognition model as \"%s\": it is of another kind or "
			   "damaged; see --models",
			   engineLoads);
}

void
EngineGuard(void (*on_death)(void))
{
	struct sigaction action = {.sa_handler = HandleAbort};

	onEngineDeath = on_death;
	sigaction(SIGABRT, &action, NULL);
}
