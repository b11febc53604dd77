/*
 * clock.h
 *		Whether the calendar clock is to be believed, before time destroys anything.
 *
 * docs/operations.md has the rule.
 */
#ifndef CAUCE_CLOCK_H
#define CAUCE_CLOCK_H

/* ClockInit defines cauce.clock_hold. */
extern void ClockInit(void);

/* ClockIsTrusted tells whether this database goes by the calendar clock as it is now. */
extern bool ClockIsTrusted(void);

/* ClockNote remembers in the database what time it is, if that is trusted, and says in the log if not. */
extern void ClockNote(void);

#endif
