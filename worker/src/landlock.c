/*
 * landlock.c
 *	  Raw system calls: neither Debian 12's C library nor its kernel headers know all of Landlock.
 */
#include "landlock.h"

#include <errno.h>
#include <linux/landlock.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "report.h"

/* What came after the headers of Linux 6.1, from the documentation of each version. */
#define FS_TRUNCATE (1ULL << 14) /* version 3 */
#define FS_IOCTL_DEV (1ULL << 15) /* version 5 */
#define NET_BIND_TCP (1ULL << 0) /* version 4 */
#define SCOPE_SIGNAL (1ULL << 1) /* version 6 */

/* Reading stays: libpq reads certificates and password files, the C library its databases. */
#define FS_VERSION_1                                                                               \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |  \
	 LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | \
	 LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |   \
	 LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM)

#define VERSION_MAX 6

/* As struct landlock_ruleset_attr is in version 6; older kernels take the start of it. */
typedef struct Ruleset
{
	uint64_t fs;
	uint64_t net; /* version 4 */
	uint64_t scoped; /* version 6 */
} Ruleset;

/* Describe gives up all that a version can, and tells how much of the structure it knows. */
static size_t
Describe(int version, Ruleset *ruleset)
{
	memset(ruleset, 0, sizeof(*ruleset));
	ruleset->fs = FS_VERSION_1;
	if (version >= 2)
		ruleset->fs |= LANDLOCK_ACCESS_FS_REFER;
	if (version >= 3)
		ruleset->fs |= FS_TRUNCATE;
	if (version >= 5)
		ruleset->fs |= FS_IOCTL_DEV;
	if (version >= 4)
		ruleset->net = NET_BIND_TCP;
	if (version >= 6)
		ruleset->scoped = SCOPE_SIGNAL;
	if (version >= 6)
		return sizeof(*ruleset);
	return version >= 4 ? offsetof(Ruleset, scoped) : offsetof(Ruleset, net);
}

int
LandlockEnter(void)
{
	int version = (int) syscall(SYS_landlock_create_ruleset, NULL, (size_t) 0,
								LANDLOCK_CREATE_RULESET_VERSION);
	Ruleset ruleset;
	size_t size;
	int descriptor;
	bool entered;

	if (version < 1)
		return 0;
	if (version > VERSION_MAX)
		version = VERSION_MAX;
	size = Describe(version, &ruleset);
	descriptor = (int) syscall(SYS_landlock_create_ruleset, &ruleset, size, 0);
	entered = descriptor >= 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
			  syscall(SYS_landlock_restrict_self, descriptor, 0) == 0;
	if (!entered)
		Report("Landlock (version %d) refuses: %s", version, strerror(errno));
	if (descriptor >= 0)
		close(descriptor);
	return entered ? version : -1;
}
