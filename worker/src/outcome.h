/*
 * outcome.h
 *	  What an answer of the database, or its absence, means for a segment.
 */
#ifndef CAUCE_OUTCOME_H
#define CAUCE_OUTCOME_H

typedef enum Outcome
{
	OUTCOME_STORED, /* committed */
	OUTCOME_RETRY, /* not now: the same again later, on a new connection if this one is lost */
	OUTCOME_TAKEN, /* the segment's number is taken by a segment that is not this one */
	OUTCOME_REFUSED /* never: the same again would be answered the same */
} Outcome;

/*
 * OutcomeOfState classifies an SQLSTATE (PostgreSQL documentation, appendix A); NULL is a
 * connection that ended or never came about.
 */
extern Outcome OutcomeOfState(const char *sqlstate);

#endif
