/*
 * wipe.h
 *	  Every block of the heap is overwritten before it is given back, whoever gives it back.
 *
 * There is nothing to call: a program that is linked with wipe.c has its free and realloc, which
 * overwrite a block to its last byte, and so have all libraries in it. A block that realloc moves or
 * makes smaller is overwritten where it no longer is.
 */
#ifndef CAUCE_WIPE_H
#define CAUCE_WIPE_H

#ifndef __has_feature
#define __has_feature(feature) 0 /* gcc says it by macros */
#endif

/* A sanitizer brings a heap of its own, which is left alone. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                               \
	__has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
	__has_feature(memory_sanitizer)
#define WIPE_ON_FREE 0
#else
#define WIPE_ON_FREE 1
#endif

#endif
