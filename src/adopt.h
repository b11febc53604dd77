/*
 * adopt.h
 *		Sealing what an application's table held before.
 */
#ifndef CAUCE_ADOPT_H
#define CAUCE_ADOPT_H

/* AdoptInit defines the setting cauce.pgcrypto_key. */
extern void AdoptInit(void);

#endif
