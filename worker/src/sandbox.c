/*
 * sandbox.c
 *	  Limits that are set before audio may arrive and cannot be raised again.
 */
#include "sandbox.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "report.h"

static bool
ForbidResource(int resource, const char *name)
{
	struct rlimit limit = {.rlim_cur = 0, .rlim_max = 0};

	if (setrlimit(resource, &limit) != 0 || getrlimit(resource, &limit) != 0)
	{
		Report("cannot set %s to 0: %s", name, strerror(errno));
		return false;
	}
	if (limit.rlim_cur != 0 || limit.rlim_max != 0)
	{
		Report("%s is not 0 after it was set to 0", name);
		return false;
	}
	return true;
}

/*
 * A write to a file then fails with EFBIG. The signal that comes with it would end the process
 * and take recognised text along, only because some library tried to log: it is ignored, and
 * the write fails all the same.
 */
static bool
IgnoreFileSizeSignal(void)
{
	struct sigaction action = {.sa_handler = SIG_IGN};

	if (sigaction(SIGXFSZ, &action, NULL) != 0)
	{
		Report("cannot ignore SIGXFSZ: %s", strerror(errno));
		return false;
	}
	return true;
}

static bool
ForbidInspection(void)
{
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
	{
		Report("cannot make the process undumpable: %s", strerror(errno));
		return false;
	}
	return true;
}

bool
SandboxEnter(void)
{
	return IgnoreFileSizeSignal() && ForbidResource(RLIMIT_FSIZE, "RLIMIT_FSIZE") &&
		   ForbidResource(RLIMIT_CORE, "RLIMIT_CORE") && ForbidInspection();
}
