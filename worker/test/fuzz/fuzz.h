/*
 * fuzz.h
 *	  What the fuzzers share. Each is a function that libFuzzer calls with bytes as a hostile client
 *	  could send them; it has to return, without a fault that a sanitizer sees and with every Require met.
 */
#ifndef CAUCE_FUZZ_H
#define CAUCE_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Require ends the process if a promise of the code is broken. */
#define Require(promise)                                                                           \
	do                                                                                             \
	{                                                                                              \
		if (!(promise))                                                                            \
		{                                                                                          \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #promise);                  \
			abort();                                                                               \
		}                                                                                          \
	} while (0)

/* FuzzCopy copies bytes to a place of just their size, where a sanitizer sees a step beyond it. */
static inline void *
FuzzCopy(const uint8_t *bytes, size_t size)
{
	void *copy = malloc(size > 0 ? size : 1);

	Require(copy != NULL);
	memcpy(copy, bytes, size);
	return copy;
}

/* FuzzText likewise, with a zero byte behind them. */
static inline char *
FuzzText(const uint8_t *bytes, size_t size)
{
	char *text = malloc(size + 1);

	Require(text != NULL);
	memcpy(text, bytes, size);
	text[size] = '\0';
	return text;
}

#endif
