/*
 * duty.h
 *		What background processes do, one transaction each, without dying of it.
 */
#ifndef CAUCE_DUTY_H
#define CAUCE_DUTY_H

/*
 * AttemptDuty runs a duty in a transaction of its own. It gives false when the duty raised an
 * error, which is logged at elevel behind "could not …" and what, and undone; a cancel or
 * shutdown goes on up.
 */
extern bool AttemptDuty(void (*duty)(void *argument), void *argument, int elevel, const char *what);

#endif
