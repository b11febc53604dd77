/*
 * literals.h
 *		Sealed literals in cached plans, when the identity changes.
 */
#ifndef CAUCE_LITERALS_H
#define CAUCE_LITERALS_H

/* LiteralsInit installs the hook that notices sealed literals. */
extern void LiteralsInit(void);

/* LiteralsForget has cached plans parsed anew when their literals were sealed for another subject. */
extern void LiteralsForget(const char *subject);

#endif
