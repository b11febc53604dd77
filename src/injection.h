/*
 * injection.h
 *		Places at which a test build can be killed; nothing at all in any other build.
 */
#ifndef CAUCE_INJECTION_H
#define CAUCE_INJECTION_H

#ifdef CAUCE_INJECTION
/* CaucePoint ends the process, or the postmaster with it, if the test asks for that here; test/injection. */
extern void CaucePoint(const char *point);
extern void InjectionInit(void);
#define CAUCE_POINT(point) CaucePoint(point)
#else
#define CAUCE_POINT(point) ((void) 0)
#endif

#endif
