/*
 * audit.c
 *		Writing the audit log.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"

#include "audit.h"
#include "spi.h"

/* ReadLast finds the entry that the next one follows, as it is committed now; false for the first. */
static bool
ReadLast(const pg_uuid_t *account, Datum *digest, Datum *at)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {UUIDOID};
	Datum values[] = {UUIDPGetDatum(account)};
	MemoryContext context = CurrentMemoryContext;
	SpiScope scope;
	bool isnull;
	bool found;

	SpiEnter(&scope, true);
	found = SpiRun(&plan,
				   "SELECT digest, at FROM cauce.audit_log WHERE account_id = $1"
				   " ORDER BY at DESC LIMIT 1",
				   1, types, values, NULL, true) == 1;
	if (found)
	{
		MemoryContext inner = MemoryContextSwitchTo(context);

		*digest = datumCopy(SpiValue(0, 1, &isnull), false, -1);
		*at = SpiValue(0, 2, &isnull);
		MemoryContextSwitchTo(inner);
	}
	SpiLeave(&scope);
	return found;
}

/* AuditAppend adds one entry. */
void
AuditAppend(const pg_uuid_t *account, const pg_uuid_t *session, const char *actor, const char *role,
			const char *action, const char *reason)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {UUIDOID, UUIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, BYTEAOID, TIMESTAMPTZOID};
	Datum values[8];
	char nulls[] = "        ";
	SpiScope scope;
	bool follows;

	LockChain(CHAIN_AUDIT, account);
	follows = ReadLast(account, &values[6], &values[7]);
	values[0] = UUIDPGetDatum(account);
	values[1] = UUIDPGetDatum(session);
	values[2] = CStringGetTextDatum(actor);
	values[3] = CStringGetTextDatum(role);
	values[4] = CStringGetTextDatum(action);
	values[5] = reason != NULL ? CStringGetTextDatum(reason) : (Datum) 0;
	nulls[1] = session != NULL ? ' ' : 'n';
	nulls[5] = reason != NULL ? ' ' : 'n';
	nulls[6] = nulls[7] = follows ? ' ' : 'n';
	SpiEnter(&scope, false);
	SpiRun(&plan, "SELECT cauce.append_audit($1, $2, $3, $4, $5, $6, $7, $8)", 8, types, values,
		   nulls, false);
	SpiLeave(&scope);
}
