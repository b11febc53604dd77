/*
 * spi.h
 *		Running cauce's own SQL as the extension's owner.
 *
 * Every statement of ours runs with search_path = pg_catalog, pg_temp, as the
 * owner of the schema's tables, so that neither the caller's path nor the
 * caller's lack of rights matters.
 */
#ifndef CAUCE_SPI_H
#define CAUCE_SPI_H

#include "executor/spi.h"
#include "utils/uuid.h"

typedef struct SpiScope
{
	Oid user;
	int security;
	int guc_level;
	bool snapshot;
} SpiScope;

/*
 * SpiEnter connects to SPI and becomes the owner; SpiLeave undoes both. With
 * latest, reads see what is committed now, whatever the transaction's isolation
 * (in parallel mode: what the transaction sees). On error, transaction abort
 * undoes the scope.
 */
extern void SpiEnter(SpiScope *scope, bool latest);
extern void SpiLeave(SpiScope *scope);

/*
 * SpiRun prepares sql once a process into *plan and runs it. It gives the number
 * of rows and leaves them in SPI_tuptable. read_only keeps the snapshot.
 */
extern uint64 SpiRun(SPIPlanPtr *plan, const char *sql, int nargs, Oid *types, Datum *values,
					 const char *nulls, bool read_only);

/*
 * SpiRunGeneric is SpiRun for values that may be large and are not NULL: a plan made for them would hold
 * them, and be copied with them, beyond the reach of interrupts.
 */
extern uint64 SpiRunGeneric(SPIPlanPtr *plan, const char *sql, int nargs, Oid *types, Datum *values,
							bool read_only);

/*
 * SpiRunLatest is SpiRun for a statement that must miss nothing that is committed now,
 * whatever the transaction's isolation: one that writes, or locks. What others have
 * changed since a REPEATABLE READ transaction began is written over, or is a 40001 when
 * they change it meanwhile. SpiExecuteLatest does so with a plan of the caller's.
 */
extern uint64 SpiRunLatest(SPIPlanPtr *plan, const char *sql, int nargs, Oid *types, Datum *values,
						   const char *nulls);
extern uint64 SpiExecuteLatest(SPIPlanPtr plan, Datum *values, const char *nulls);

/* SpiRunSession is SpiRun for statements about one session: $1 is its account, $2 its id. */
extern uint64 SpiRunSession(SPIPlanPtr *plan, const char *sql, const pg_uuid_t *account,
							const pg_uuid_t *session, bool read_only);

/* SpiNulls writes as SPI has it which of so many values are NULL. palloc'd. */
extern char *SpiNulls(const bool *nulls, int count);

/* SpiValue reads column (from 1) of row (from 0) of the last result. */
extern Datum SpiValue(uint64 row, int column, bool *isnull);

/* Who cauce's own code was before it became somebody else. */
typedef struct SpiActor
{
	Oid user;
	int security;
} SpiActor;

/*
 * SpiBecome goes on as the owner of an application's table, past that table's policies, so that
 * code which the owner put on it never runs with our rights; also restricted, nothing opens for
 * it, and it can leave nothing behind for the end of the transaction. SpiReturn undoes it.
 */
extern void SpiBecome(Oid owner, bool restricted, SpiActor *before);
extern void SpiReturn(const SpiActor *before);

/*
 * LockChain serializes, until the transaction ends, whatever appends to one chain
 * of an account. Its lock is out of reach of the SQL functions for advisory locks.
 */
typedef enum Chain
{
	CHAIN_CERTIFICATES = 16,
	CHAIN_AUDIT
} Chain;

extern void LockChain(Chain chain, const pg_uuid_t *account);

/*
 * LockKeys keeps an account from being erased until the transaction ends; whoever makes a
 * key for it calls it before looking whether it is still there. LockKeysToErase is for the
 * erasure, and waits for them.
 */
extern void LockKeys(const pg_uuid_t *account);
extern void LockKeysToErase(const pg_uuid_t *account);

/* SpiInit registers what forgets the OID of the schema. */
extern void SpiInit(void);

/* CauceSchema is the OID of schema cauce; CauceTable of a table in it. Both raise 3F000/42P01 when missing. */
extern Oid CauceSchema(void);
extern Oid CauceTable(const char *name);

#endif
