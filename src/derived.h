/*
 * derived.h
 *		No statistics, index or generated column of content.
 */
#ifndef CAUCE_DERIVED_H
#define CAUCE_DERIVED_H

/* DerivedInit installs the hook that refuses them. */
extern void DerivedInit(void);

#endif
