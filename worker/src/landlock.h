/*
 * landlock.h
 *	  Access to the file system, given up (Linux, Documentation/userspace-api/landlock.rst).
 */
#ifndef CAUCE_LANDLOCK_H
#define CAUCE_LANDLOCK_H

/*
 * LandlockEnter gives up all that changes a file system, with the highest version of the interface that
 * this kernel has and this code knows. Returns that version, 0 if the kernel has none, or -1, with a
 * report, if it has one and refuses.
 */
extern int LandlockEnter(void);

#endif
