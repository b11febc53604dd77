/*
 * outcome.c
 *	  Sorts SQLSTATEs into those that pass and those that stay.
 */
#include "outcome.h"

#include <stddef.h>
#include <string.h>

/* A class (two characters) or a state (five) that says nothing of the segment itself. */
static const char *const passing[] = {
	"08", /* connection exception */
	"40", /* transaction rollback: serialization failure, deadlock */
	"53", /* insufficient resources */
	"57P", /* admin shutdown, crash shutdown, cannot connect now, ... */
	"58", /* system error: a disk that is full or failing */
	"25006", /* read-only transaction: a standby that is being promoted */
	"25P03", /* idle-in-transaction timeout */
	"55P03", /* lock not available */
	"57014" /* query canceled: a statement timeout */
};

Outcome
OutcomeOfState(const char *sqlstate)
{
	size_t i;

	if (sqlstate == NULL)
		return OUTCOME_RETRY;
	for (i = 0; i < sizeof(passing) / sizeof(passing[0]); i++)
	{
		if (strncmp(sqlstate, passing[i], strlen(passing[i])) == 0)
			return OUTCOME_RETRY;
	}
	return OUTCOME_REFUSED;
}
