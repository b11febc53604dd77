/*
 * intake.h
 *	  What one client has sent and nobody has taken yet: bytes of audio, and marks between them.
 *
 * The event loop puts, a thread of the pool takes. It is a ring in locked memory; what has been taken
 * is wiped. When it is crowded the socket is not read, and the pressure reaches the client.
 */
#ifndef CAUCE_INTAKE_H
#define CAUCE_INTAKE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"

#define INTAKE_BYTES ((size_t) 131072) /* 4 s of 16-bit samples at 16 kHz */
#define INTAKE_MARKS 64

/* There is always room for this much more after IntakeCrowded was first true. */
#define INTAKE_RESERVE ((size_t) 16384)

typedef enum IntakeMark
{
	MARK_NONE,
	MARK_HEARD, /* the end of a message of audio, which is to be answered */
	MARK_FLUSH, /* what came before is to be transcribed now */
	MARK_END /* nothing follows */
} IntakeMark;

typedef struct Intake
{
	pthread_mutex_t lock;
	unsigned char *bytes; /* a ring */
	size_t start;
	size_t count;
	uint64_t taken; /* bytes, since the start of the stream */
	struct
	{
		uint64_t position; /* in bytes since the start of the stream */
		IntakeMark mark;
	} marks[INTAKE_MARKS]; /* a ring */
	size_t first_mark;
	size_t mark_count;
	bool ended;
} Intake;

/* IntakeInit takes its ring from an arena, which needs ArenaRoom(INTAKE_BYTES). */
extern bool IntakeInit(Intake *intake, Arena *arena);

/* IntakePut puts all of some bytes, or, if they do not fit or nothing is to follow, none. */
extern bool IntakePut(Intake *intake, const unsigned char *bytes, size_t size);

/* IntakePutMark puts a mark; MARK_END always fits, and is put once. */
extern bool IntakePutMark(Intake *intake, IntakeMark mark);

/* IntakeCrowded tells whether the client has to wait. */
extern bool IntakeCrowded(Intake *intake);

/*
 * IntakeTake takes up to most bytes, as far as the next mark; if that is reached, it takes the mark
 * instead. Returns how many bytes, and in *mark the mark or MARK_NONE.
 */
extern size_t IntakeTake(Intake *intake, unsigned char *bytes, size_t most, IntakeMark *mark);

/* IntakeCount tells how many bytes wait. */
extern size_t IntakeCount(Intake *intake);

/* IntakeEmpty tells whether there is neither a byte nor a mark. */
extern bool IntakeEmpty(Intake *intake);

extern void IntakeDestroy(Intake *intake);

#endif
