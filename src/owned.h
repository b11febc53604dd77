/*
 * owned.h
 *		What DROP OWNED BY of a role of cauce's would take along.
 */
#ifndef CAUCE_OWNED_H
#define CAUCE_OWNED_H

/* OwnedInit installs the hook. */
extern void OwnedInit(void);

#endif
