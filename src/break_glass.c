/*
 * break_glass.c
 *		Which accounts' content a support account may read now.
 *
 * cauce.break_glass() makes the grants. They are read once a statement, and only for an
 * account that has one; each ends by itself.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "audit.h"
#include "break_glass.h"
#include "spi.h"

typedef struct Grant
{
	pg_uuid_t account;
	TimestampTz until;
	char reason[AUDIT_MAX_REASON];
} Grant;

/* Those of one account, as they were when its statement began. */
static Grant grants[BREAK_GLASS_MAX];
static int grant_count = 0;
static pg_uuid_t grantee;
static TimestampTz grant_statement = 0;
static SubTransactionId grant_subxact = InvalidSubTransactionId;

/* ReadGrants reads what is in force. */
static void
ReadGrants(const pg_uuid_t *account)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {UUIDOID, INT4OID};
	Datum values[] = {UUIDPGetDatum(account), Int32GetDatum(BREAK_GLASS_MAX)};
	SpiScope scope;

	grant_count = 0;
	SpiEnter(&scope, true);
	SpiRun(&plan,
		   "SELECT account_id, until, reason FROM cauce.break_glass_grant"
		   " WHERE grantee_id = $1 AND until > clock_timestamp() ORDER BY until DESC LIMIT $2",
		   2, types, values, NULL, true);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Grant *grant = &grants[grant_count++];
		bool isnull;

		grant->account = *DatumGetUUIDP(SpiValue(i, 1, &isnull));
		grant->until = DatumGetTimestampTz(SpiValue(i, 2, &isnull));
		strlcpy(grant->reason, TextDatumGetCString(SpiValue(i, 3, &isnull)), AUDIT_MAX_REASON);
	}
	SpiLeave(&scope);
	grantee = *account;
	grant_statement = GetCurrentStatementStartTimestamp();
	grant_subxact = GetCurrentSubTransactionId();
}

/* BreakGlassForget has them read anew. No catalog access here. */
void
BreakGlassForget(void)
{
	grant_statement = 0;
}

/* KnowGrants has grants filled for whoever is asking; false where there are none. */
static bool
KnowGrants(const Identity *who)
{
	pg_uuid_t account;

	if (who == NULL || who->scope != SCOPE_APP || !who->breaks_glass)
		return false;
	account = who->account;
	if (grant_statement != GetCurrentStatementStartTimestamp() ||
		grant_subxact != GetCurrentSubTransactionId() || !SameUuid(&grantee, &account))
		ReadGrants(&account);
	return grant_count > 0;
}

/* BreakGlassReason looks for a grant that has not ended. */
const char *
BreakGlassReason(const Identity *who, const pg_uuid_t *account)
{
	if (!KnowGrants(who))
		return NULL;
	for (int i = 0; i < grant_count; i++)
	{
		if (SameUuid(&grants[i].account, account) && grants[i].until > GetCurrentTimestamp())
			return grants[i].reason;
	}
	return NULL;
}

/* BreakGlassAccounts lists them. */
int
BreakGlassAccounts(const Identity *who, Datum *accounts)
{
	int count = KnowGrants(who) ? grant_count : 0;

	for (int i = 0; i < count; i++)
		accounts[i] = UUIDPGetDatum(&grants[i].account);
	return count;
}
