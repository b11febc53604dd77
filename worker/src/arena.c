/*
 * arena.c
 *	  Locked memory for audio and secrets.
 */
#include "arena.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "report.h"

/* A cache line: parts of different users do not share one. */
#define ARENA_ALIGNMENT ((size_t) 64)

static void
ReportLockFailure(size_t size, int reason)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
		Report("cannot lock %zu KiB of memory for audio (%s); the limit is %llu KiB: raise it with "
			   "ulimit -l or systemd's LimitMEMLOCK=",
			   size / 1024, strerror(reason), (unsigned long long) limit.rlim_cur / 1024);
	else
		Report("cannot lock %zu KiB of memory for audio: %s", size / 1024, strerror(reason));
}

bool
ArenaCreate(Arena *arena, size_t size)
{
	size_t page = (size_t) sysconf(_SC_PAGESIZE);
	void *base;

	memset(arena, 0, sizeof(*arena));
	size = (size + page - 1) / page * page;
	base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (base == MAP_FAILED)
	{
		Report("cannot map %zu KiB of memory for audio: %s", size / 1024, strerror(errno));
		return false;
	}
	if (mlock(base, size) != 0)
	{
		ReportLockFailure(size, errno);
		munmap(base, size);
		return false;
	}
	if (madvise(base, size, MADV_DONTDUMP) != 0 || madvise(base, size, MADV_DONTFORK) != 0)
	{
		Report("cannot keep audio memory out of dumps and children: %s", strerror(errno));
		munmap(base, size);
		return false;
	}
	arena->base = base;
	arena->size = size;
	return true;
}

size_t
ArenaRoom(size_t size)
{
	return (size + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
}

void *
ArenaTake(Arena *arena, size_t size)
{
	unsigned char *part;

	if (size > arena->size || ArenaRoom(size) > arena->size - arena->used)
		return NULL;
	part = arena->base + arena->used;
	arena->used += ArenaRoom(size);
	return part;
}

void
ArenaWipe(void *part, size_t size)
{
	explicit_bzero(part, size);
}

void
ArenaDestroy(Arena *arena)
{
	if (arena->base == NULL)
		return;
	ArenaWipe(arena->base, arena->size);
	munmap(arena->base, arena->size);
	memset(arena, 0, sizeof(*arena));
}
