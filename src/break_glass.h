/*
 * break_glass.h
 *		Access of a support account to somebody else's content, for a time and a reason.
 */
#ifndef CAUCE_BREAK_GLASS_H
#define CAUCE_BREAK_GLASS_H

#include "identity.h"

/* Grants that an account has at once; cauce.break_glass() refuses more. */
#define BREAK_GLASS_MAX 16

/*
 * BreakGlassAccounts gives the accounts that whoever is asking may read under a grant, at most
 * BREAK_GLASS_MAX; in memory as below.
 */
extern int BreakGlassAccounts(const Identity *who, Datum *accounts);

/*
 * BreakGlassReason is why whoever is asking may read an account's content now, in memory of
 * this module's that is good until the next statement; NULL when they may not.
 */
extern const char *BreakGlassReason(const Identity *who, const pg_uuid_t *account);

/* BreakGlassForget has grants read anew: one may have been made, ended or undone. */
extern void BreakGlassForget(void);

#endif
