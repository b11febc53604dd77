/*
 * intake.c
 *	  A ring of bytes with marks between them.
 */
#include "intake.h"

#include <string.h>

/* Marks that are kept free: one message can be under way when it gets crowded; and the end. */
#define MARKS_RESERVE 8

bool
IntakeInit(Intake *intake, Arena *arena)
{
	memset(intake, 0, sizeof(*intake));
	intake->bytes = ArenaTake(arena, INTAKE_BYTES);
	return intake->bytes != NULL && pthread_mutex_init(&intake->lock, NULL) == 0;
}

static size_t
Least(size_t a, size_t b)
{
	return a < b ? a : b;
}

bool
IntakePut(Intake *intake, const unsigned char *bytes, size_t size)
{
	size_t end;
	size_t straight;
	bool fits;

	pthread_mutex_lock(&intake->lock);
	fits = !intake->ended && size <= INTAKE_BYTES - intake->count;
	if (fits)
	{
		end = (intake->start + intake->count) % INTAKE_BYTES;
		straight = Least(size, INTAKE_BYTES - end);
		memcpy(intake->bytes + end, bytes, straight);
		memcpy(intake->bytes, bytes + straight, size - straight);
		intake->count += size;
	}
	pthread_mutex_unlock(&intake->lock);
	return fits;
}

bool
IntakePutMark(Intake *intake, IntakeMark mark)
{
	size_t most = mark == MARK_END ? INTAKE_MARKS : INTAKE_MARKS - 1;
	bool fits;

	pthread_mutex_lock(&intake->lock);
	fits = !intake->ended && intake->mark_count < most;
	if (fits)
	{
		size_t place = (intake->first_mark + intake->mark_count++) % INTAKE_MARKS;

		intake->marks[place].position = intake->taken + intake->count;
		intake->marks[place].mark = mark;
		intake->ended = mark == MARK_END;
	}
	pthread_mutex_unlock(&intake->lock);
	return fits;
}

bool
IntakeCrowded(Intake *intake)
{
	bool crowded;

	pthread_mutex_lock(&intake->lock);
	crowded = intake->count > INTAKE_BYTES - 2 * INTAKE_RESERVE ||
			  intake->mark_count >= INTAKE_MARKS - MARKS_RESERVE;
	pthread_mutex_unlock(&intake->lock);
	return crowded;
}

/* TakeMark takes the next mark if its place is reached; the intake is locked. */
static IntakeMark
TakeMark(Intake *intake)
{
	IntakeMark mark = MARK_NONE;

	if (intake->mark_count > 0 && intake->marks[intake->first_mark].position == intake->taken)
	{
		mark = intake->marks[intake->first_mark].mark;
		intake->first_mark = (intake->first_mark + 1) % INTAKE_MARKS;
		intake->mark_count--;
	}
	return mark;
}

/* TakeBytes takes and wipes size bytes that are there; the intake is locked. */
static void
TakeBytes(Intake *intake, unsigned char *bytes, size_t size)
{
	size_t straight = Least(size, INTAKE_BYTES - intake->start);

	memcpy(bytes, intake->bytes + intake->start, straight);
	memcpy(bytes + straight, intake->bytes, size - straight);
	ArenaWipe(intake->bytes + intake->start, straight);
	ArenaWipe(intake->bytes, size - straight);
	intake->start = (intake->start + size) % INTAKE_BYTES;
	intake->count -= size;
	intake->taken += size;
}

size_t
IntakeTake(Intake *intake, unsigned char *bytes, size_t most, IntakeMark *mark)
{
	size_t size = 0;

	pthread_mutex_lock(&intake->lock);
	*mark = TakeMark(intake);
	if (*mark == MARK_NONE)
	{
		size = Least(most, intake->count);
		if (intake->mark_count > 0)
			size =
				Least(size, (size_t) (intake->marks[intake->first_mark].position - intake->taken));
		TakeBytes(intake, bytes, size);
	}
	pthread_mutex_unlock(&intake->lock);
	return size;
}

size_t
IntakeCount(Intake *intake)
{
	size_t count;

	pthread_mutex_lock(&intake->lock);
	count = intake->count;
	pthread_mutex_unlock(&intake->lock);
	return count;
}

bool
IntakeEmpty(Intake *intake)
{
	bool empty;

	pthread_mutex_lock(&intake->lock);
	empty = intake->count == 0 && intake->mark_count == 0;
	pthread_mutex_unlock(&intake->lock);
	return empty;
}

void
IntakeDestroy(Intake *intake)
{
	pthread_mutex_destroy(&intake->lock);
}
