/*
 * compress.h
 *		Compressing long plaintext before it is sealed.
 *
 * The compressed form is 4 bytes of length, big-endian, then a zlib stream (RFC
 * 1950) whose preset dictionary is that of dictionary.h.
 */
#ifndef CAUCE_COMPRESS_H
#define CAUCE_COMPRESS_H

/*
 * Levels of zlib's: of a value; of a bundle, whose JSON repeats itself so much that 3 takes two fifths
 * of 6's time for a ninth more.
 */
#define COMPRESS_VALUE 6
#define COMPRESS_BUNDLE 3

/*
 * Compress gives the compressed form, palloc'd, of what is long enough when that
 * saves an eighth; else NULL.
 */
extern char *Compress(const char *bytes, Size size, int level, Size *packed_size);

/*
 * Expand undoes Compress: palloc'd bytes with spare bytes, and a zero before them,
 * free behind. It gives NULL and sets problem to a sentence when the form is damaged.
 */
extern char *Expand(const char *packed, Size packed_size, Size spare, Size *size,
					const char **problem);

#endif
