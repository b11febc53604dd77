/*
 * wipe.c
 *	  The heap of the whole process: no block is given back with something in it.
 *
 * The engine, libsoxr, libpq and OpenSSL keep audio, tokens and text in memory of their own. What
 * they release is out of reach from outside, except at the one place where all of it passes: the
 * program's free and realloc stand in front of glibc's for every library, operator delete included,
 * as the dynamic linker finds the program's symbols first. Everything else stays glibc's, which
 * gives its own functions under the names of __libc_ to those who replace the public ones.
 *
 * mallopt(M_PERTURB) does not do: it passes over blocks that go to a thread's cache, which are most.
 *
 * The price: a block that is freed twice no longer bears the mark by which glibc's cache of a thread
 * would know it.
 */
#include "wipe.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#if WIPE_ON_FREE

extern void __libc_free(void *block);
extern void *__libc_realloc(void *block, size_t size);

/* free leaves errno as it is (POSIX 2024), as all that it calls do. */
void
free(void *block)
{
	if (block == NULL)
		return;
	explicit_bzero(block, malloc_usable_size(block));
	__libc_free(block);
}

/* Grow moves a block to a larger one; on failure the block is as it was. */
static void *
Grow(void *block, size_t kept, size_t size)
{
	void *larger = malloc(size);

	if (larger == NULL)
		return NULL;
	memcpy(larger, block, kept);
	free(block);
	return larger;
}

/*
 * realloc moves a block only here, as glibc would leave the old one behind as it is. It gives up
 * the end of a block in place; size 0 frees, as glibc has it.
 */
void *
realloc(void *block, size_t size)
{
	size_t usable;

	if (block == NULL)
		return malloc(size);
	if (size == 0)
	{
		free(block);
		return NULL;
	}
	usable = malloc_usable_size(block);
	if (size > usable)
		return Grow(block, usable, size);
	explicit_bzero((char *) block + size, usable - size);
	return __libc_realloc(block, size);
}

#endif
