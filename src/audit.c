/*
 * audit.c
 *		Writing the audit log.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "audit.h"
#include "spi.h"

/* AuditAppend adds one entry; cauce.append_audit() keeps the chain under the account's lock. */
void
AuditAppend(const pg_uuid_t *account, const pg_uuid_t *session, const char *actor, const char *role,
			const char *action, const char *reason)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {UUIDOID, UUIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	Datum values[6];
	char nulls[] = "      ";
	SpiScope scope;

	values[0] = UUIDPGetDatum(account);
	values[1] = UUIDPGetDatum(session);
	values[2] = CStringGetTextDatum(actor);
	values[3] = CStringGetTextDatum(role);
	values[4] = CStringGetTextDatum(action);
	values[5] = reason != NULL ? CStringGetTextDatum(reason) : (Datum) 0;
	nulls[1] = session != NULL ? ' ' : 'n';
	nulls[5] = reason != NULL ? ' ' : 'n';
	SpiEnter(&scope, false);
	SpiRun(&plan, "SELECT cauce.append_audit($1, $2, $3, $4, $5, $6)", 6, types, values, nulls,
		   false);
	SpiLeave(&scope);
}
