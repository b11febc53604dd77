/*
 * witness.h
 *		Audit entries that stay whatever becomes of the transaction that gave rise to them.
 *
 * A background process of each database writes them in transactions of its own. It is
 * started by the first entry, and leaves after a while without any.
 */
#ifndef CAUCE_WITNESS_H
#define CAUCE_WITNESS_H

#include "audit.h"

/* WitnessInit asks for shared memory. */
extern void WitnessInit(void);

/*
 * WitnessCommit returns once the entry is committed. Raises 25006 on a standby, 53000 when the
 * process cannot be started, 55000 when it does not write within ten seconds.
 */
extern void WitnessCommit(const AuditEntry *entry);

/*
 * WitnessRefusal hands on that an identity was refused, and waits for nobody; subject is NULL
 * unless its signature was verified. So many a minute are written one by one, the rest are
 * counted.
 */
extern void WitnessRefusal(const char *subject, const char *reason);

/* The writer's entry point; its argument is the database's OID. */
extern PGDLLEXPORT void cauce_witness_main(Datum argument);

#endif
