/*
 * compress.c
 *		Compression of long plaintext, with zlib.
 *
 * What zlib keeps while it works is plaintext, too, and is wiped. Nothing raises between its
 * beginning and its end but an interrupt, which is looked for between pieces.
 */
#include "postgres.h"

#include <zlib.h>

#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/memutils.h"

#include "compress.h"
#include "dictionary.h"
#include "secret.h"

/* Values from this size on are compressed when that saves an eighth or more. */
#define COMPRESS_FROM_BYTES 256

/*
 * What fits into 8 KB together with the dictionary needs no larger window: a smaller
 * one is made and wiped faster. zlib.h has the meaning of these numbers.
 */
#define SMALL_WINDOW_BITS 13
#define SMALL_MEMORY_LEVEL 7
#define LARGE_MEMORY_LEVEL 8

/* So many plain bytes are worked on, a few hundredths of a second, before an interrupt is looked for. */
#define PIECE_BYTES (1024 * 1024)

/*
 * What zlib works in: taken from the system once a transaction, as its pages cost more than wiping them; all
 * zeros between two uses. It takes what does not fit elsewhere.
 */
#define WORKSPACE_BYTES (320 * 1024)

static char *workspace = NULL;
static Size workspace_used = 0;

/* ForgetWorkspace is the end of the memory that it lies in. */
static void
ForgetWorkspace(void *unused)
{
	workspace = NULL;
}

/* PrepareWorkspace makes it. */
static void
PrepareWorkspace(void)
{
	MemoryContextCallback *forget;

	if (workspace != NULL)
		return;
	forget = MemoryContextAllocZero(TopTransactionContext, sizeof(MemoryContextCallback));
	forget->func = ForgetWorkspace;
	workspace = MemoryContextAllocZero(TopTransactionContext, WORKSPACE_BYTES);
	MemoryContextRegisterResetCallback(TopTransactionContext, forget);
}

/* WipeWorkspace wipes what was used of it. */
static void
WipeWorkspace(void)
{
	SecretWipe(workspace, workspace_used);
	workspace_used = 0;
}

/* Take is zlib's malloc; zeros. */
static voidpf
Take(voidpf unused, uInt items, uInt size)
{
	Size bytes = MAXALIGN((Size) items * size);
	char *at = workspace + workspace_used;

	if (bytes > WORKSPACE_BYTES - workspace_used)
		return calloc(items, size);
	workspace_used += bytes;
	return at;
}

/* Give is zlib's free. */
static void
Give(voidpf unused, voidpf bytes)
{
	if ((char *) bytes < workspace || (char *) bytes >= workspace + WORKSPACE_BYTES)
		WipingFree(bytes);
}

/* DeflateAll compresses piece by piece; false when there is no room. */
static bool
DeflateAll(z_stream *stream, Size size)
{
	if (deflateSetDictionary(stream, (const Bytef *) Dictionary, DICTIONARY_BYTES) != Z_OK)
		return false;
	while (size > PIECE_BYTES)
	{
		stream->avail_in = PIECE_BYTES;
		if (deflate(stream, Z_NO_FLUSH) != Z_OK || stream->avail_in > 0)
			return false;
		size -= PIECE_BYTES;
		CHECK_FOR_INTERRUPTS();
	}
	stream->avail_in = (uInt) size;
	return deflate(stream, Z_FINISH) == Z_STREAM_END;
}

/* InflateAll expands piece by piece; false unless the stream ends when size bytes are full, or before. */
static bool
InflateAll(z_stream *stream, Size size)
{
	int result;

	for (;;)
	{
		Size left = size - stream->total_out;

		stream->avail_out = (uInt) Min(left, PIECE_BYTES);
		result = inflate(stream, left > PIECE_BYTES ? Z_NO_FLUSH : Z_FINISH);
		if (result == Z_NEED_DICT && stream->adler == DICTIONARY_ADLER32)
			result = inflateSetDictionary(stream, (const Bytef *) Dictionary, DICTIONARY_BYTES);
		if (result != Z_OK)
			return result == Z_STREAM_END;
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Guarded has one of the two work into room bytes; when it raises, what zlib holds and what it
 * has given are wiped.
 */
static bool
Guarded(bool (*all)(z_stream *stream, Size size), int (*end)(z_streamp stream), z_stream *stream,
		Size size, char *into, Size room)
{
	volatile bool done = false;

	PG_TRY();
	{
		done = all(stream, size);
	}
	PG_CATCH();
	{
		(void) end(stream);
		WipeWorkspace();
		SecretWipe(into, room);
		PG_RE_THROW();
	}
	PG_END_TRY();
	(void) end(stream);
	WipeWorkspace();
	return done;
}

/* RunDeflate compresses into at most room bytes; the number of bytes, 0 when they do not suffice. */
static Size
RunDeflate(const char *bytes, Size size, int level, char *packed, Size room)
{
	z_stream stream = {.zalloc = Take, .zfree = Give};
	bool small = size + DICTIONARY_BYTES <= (1 << SMALL_WINDOW_BITS);
	bool done;

	PrepareWorkspace();
	if (deflateInit2(&stream, level, Z_DEFLATED, small ? SMALL_WINDOW_BITS : MAX_WBITS,
					 small ? SMALL_MEMORY_LEVEL : LARGE_MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
		return 0;
	stream.next_in = (z_const Bytef *) bytes;
	stream.next_out = (Bytef *) packed;
	stream.avail_out = (uInt) room;
	done = Guarded(DeflateAll, deflateEnd, &stream, size, packed, room);
	return done ? stream.total_out : 0;
}

/* RunInflate expands to exactly size bytes, or tells why that is not possible; NULL when it is done. */
static const char *
RunInflate(const char *packed, Size packed_size, char *bytes, Size size)
{
	z_stream stream = {.zalloc = Take, .zfree = Give};

	PrepareWorkspace();
	if (inflateInit(&stream) != Z_OK)
		return "There is no memory to expand its compressed content.";
	stream.next_in = (z_const Bytef *) packed;
	stream.avail_in = (uInt) packed_size;
	stream.next_out = (Bytef *) bytes;
	return Guarded(InflateAll, inflateEnd, &stream, size, bytes, size) && stream.total_out == size
			   ? NULL
			   : "Its compressed content does not expand.";
}

/* Compress gives length and stream. */
char *
Compress(const char *bytes, Size size, int level, Size *packed_size)
{
	uint32 length = pg_hton32((uint32) size);
	Size room = size - size / 8;
	char *packed;
	Size stream_size;

	if (size < COMPRESS_FROM_BYTES)
		return NULL;
	packed = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(length) + room);
	stream_size = RunDeflate(bytes, size, level, packed + sizeof(length), room);
	if (stream_size == 0)
	{
		SecretWipe(packed, sizeof(length) + room);
		pfree(packed);
		return NULL;
	}
	memcpy(packed, &length, sizeof(length));
	*packed_size = sizeof(length) + stream_size;
	return packed;
}

/* Expand reads length and stream. */
char *
Expand(const char *packed, Size packed_size, Size spare, Size *size, const char **problem)
{
	uint32 length;
	char *bytes;

	*problem = "Its compressed content is too short.";
	if (packed_size < sizeof(length))
		return NULL;
	memcpy(&length, packed, sizeof(length));
	*size = pg_ntoh32(length);
	*problem = "Its compressed content is too long.";
	if (*size > MaxAllocSize - 1 - spare)
		return NULL;
	bytes = palloc(*size + 1 + spare);
	*problem = RunInflate(packed + sizeof(length), packed_size - sizeof(length), bytes, *size);
	if (*problem != NULL)
		return NULL;
	bytes[*size] = '\0';
	return bytes;
}
