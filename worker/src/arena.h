/*
 * arena.h
 *	  Locked memory: the only kind of buffer that audio and the token are kept in.
 *
 * An arena is one mapping that the kernel keeps out of swap (mlock) and out of core dumps
 * (MADV_DONTDUMP) and that a forked child does not get (MADV_DONTFORK). Parts are taken from
 * it in order and live as long as the arena. There is one way to wipe: ArenaWipe for a part
 * that is no longer needed, ArenaDestroy for all.
 */
#ifndef CAUCE_ARENA_H
#define CAUCE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

typedef struct Arena
{
	unsigned char *base;
	size_t size; /* bytes, a whole number of pages */
	size_t used; /* bytes taken */
} Arena;

/*
 * ArenaCreate maps and locks room for size bytes. On failure it returns false, has reported
 * what to raise, and the arena is empty.
 */
extern bool ArenaCreate(Arena *arena, size_t size);

/*
 * ArenaTake gives size zeroed bytes, aligned for any type, or NULL if the arena has not that
 * much left.
 */
extern void *ArenaTake(Arena *arena, size_t size);

/* ArenaRoom tells how many bytes of an arena ArenaTake uses up for a part of size bytes. */
extern size_t ArenaRoom(size_t size);

/* ArenaWipe overwrites size bytes with zeros, which the compiler may not leave out. */
extern void ArenaWipe(void *part, size_t size);

/* ArenaDestroy wipes and unmaps all of the arena. An empty arena is left as it is. */
extern void ArenaDestroy(Arena *arena);

#endif
