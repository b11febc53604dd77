/*
 * spi.c
 *		A scope for cauce's own SQL.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/float.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "spi.h"

/* Beside the chains of an account, the lock on the set of its keys. */
#define ACCOUNT_KEYS (CHAIN_AUDIT + 1)

#define SEARCH_PATH "pg_catalog, pg_temp"

static Oid schema = InvalidOid; /* InvalidOid: not known */

/* ForgetSchema forgets it when any schema has changed. */
static void
ForgetSchema(Datum argument, int cache, uint32 hash)
{
	schema = InvalidOid;
}

/* SpiInit registers. */
void
SpiInit(void)
{
	CacheRegisterSyscacheCallback(NAMESPACEOID, ForgetSchema, (Datum) 0);
}

/* CauceSchema finds the schema. */
Oid
CauceSchema(void)
{
	if (!OidIsValid(schema))
		schema = get_namespace_oid("cauce", false);
	return schema;
}

/* CauceTable finds one of the extension's tables. */
Oid
CauceTable(const char *name)
{
	Oid table = get_relname_relid(name, CauceSchema());

	if (!OidIsValid(table))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table cauce.%s is missing", name),
						errhint("Run CREATE EXTENSION cauce in this database.")));
	return table;
}

/* OwnerOfTables is the role that owns the extension's tables. */
static Oid
OwnerOfTables(void)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(CauceTable("data_key")));
	Oid owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for cauce.data_key");
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* IsSettled tells whether the settings are those of a scope already, as inside of another one. */
static bool
IsSettled(void)
{
	return extra_float_digits == 1 && strcmp(namespace_search_path, SEARCH_PATH) == 0;
}

/* Settle makes them so until the scope ends. */
static void
Settle(void)
{
	/* what is archived as JSON must come back to the last digit */
	(void) set_config_option("extra_float_digits", "1", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
	(void) set_config_option("search_path", SEARCH_PATH, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/* SpiEnter starts a scope. */
void
SpiEnter(SpiScope *scope, bool latest)
{
	GetUserIdAndSecContext(&scope->user, &scope->security);
	SetUserIdAndSecContext(OwnerOfTables(), scope->security | SECURITY_LOCAL_USERID_CHANGE);
	scope->guc_level = NewGUCNestLevel();
	if (!IsSettled())
		Settle();
	scope->snapshot = true;
	if (latest && !IsInParallelMode())
		PushActiveSnapshot(GetLatestSnapshot());
	else if (!ActiveSnapshotSet())
		PushActiveSnapshot(GetTransactionSnapshot());
	else
		scope->snapshot = false;
	SPI_connect();
}

/* SpiLeave ends it. */
void
SpiLeave(SpiScope *scope)
{
	SPI_finish();
	if (scope->snapshot)
		PopActiveSnapshot();
	AtEOXact_GUC(true, scope->guc_level);
	SetUserIdAndSecContext(scope->user, scope->security);
}

/* SpiBecome switches. */
void
SpiBecome(Oid owner, bool restricted, SpiActor *before)
{
	int security = SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS;

	GetUserIdAndSecContext(&before->user, &before->security);
	if (restricted)
		security |= SECURITY_RESTRICTED_OPERATION;
	SetUserIdAndSecContext(owner, before->security | security);
}

/* SpiReturn switches back. */
void
SpiReturn(const SpiActor *before)
{
	SetUserIdAndSecContext(before->user, before->security);
}

/* Prepare prepares a statement whose plan is kept, once a process; options are of cursors. */
static void
Prepare(SPIPlanPtr *plan, const char *sql, int nargs, Oid *types, int options)
{
	SPIPlanPtr fresh;

	if (*plan != NULL)
		return;
	fresh = SPI_prepare_cursor(sql, nargs, types, options);
	if (fresh == NULL || SPI_keepplan(fresh) != 0)
		elog(ERROR, "could not prepare: %s", SPI_result_code_string(SPI_result));
	*plan = fresh;
}

/* SpiRun runs a statement whose plan is kept. */
uint64
SpiRun(SPIPlanPtr *plan, const char *sql, int nargs, Oid *types, Datum *values, const char *nulls,
	   bool read_only)
{
	int result;

	Prepare(plan, sql, nargs, types, 0);
	result = SPI_execute_plan(*plan, values, nulls, read_only, 0);
	if (result < 0)
		elog(ERROR, "could not run: %s", SPI_result_code_string(result));
	return SPI_processed;
}

/* SpiRunGeneric runs a statement whose one plan is kept. */
uint64
SpiRunGeneric(SPIPlanPtr *plan, const char *sql, int nargs, Oid *types, Datum *values,
			  bool read_only)
{
	Prepare(plan, sql, nargs, types, CURSOR_OPT_GENERIC_PLAN);
	return SpiRun(plan, sql, nargs, types, values, NULL, read_only);
}

/* SpiExecuteLatest runs a plan with the latest snapshot. */
uint64
SpiExecuteLatest(SPIPlanPtr plan, Datum *values, const char *nulls)
{
	int result = SPI_execute_snapshot(plan, values, nulls, GetLatestSnapshot(), InvalidSnapshot,
									  false, true, 0);

	if (result < 0)
		elog(ERROR, "could not run: %s", SPI_result_code_string(result));
	return SPI_processed;
}

/* SpiRunLatest runs a statement whose plan is kept with the latest snapshot. */
uint64
SpiRunLatest(SPIPlanPtr *plan, const char *sql, int nargs, Oid *types, Datum *values,
			 const char *nulls)
{
	Prepare(plan, sql, nargs, types, 0);
	return SpiExecuteLatest(*plan, values, nulls);
}

/* SpiRunSession runs a statement about one session. */
uint64
SpiRunSession(SPIPlanPtr *plan, const char *sql, const pg_uuid_t *account, const pg_uuid_t *session,
			  bool read_only)
{
	Oid types[] = {UUIDOID, UUIDOID};
	Datum values[] = {UUIDPGetDatum(account), UUIDPGetDatum(session)};

	return SpiRun(plan, sql, 2, types, values, NULL, read_only);
}

/* SpiNulls writes as SPI has it which values are NULL. */
char *
SpiNulls(const bool *nulls, int count)
{
	char *flags = palloc(count + 1);

	for (int i = 0; i < count; i++)
		flags[i] = nulls[i] ? 'n' : ' ';
	flags[count] = '\0';
	return flags;
}

/* SpiValue reads one value of the result. */
Datum
SpiValue(uint64 row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
}

/*
 * LockOf takes an advisory lock whose fourth field no SQL function uses (they
 * use 1 and 2; lockfuncs.c). Two accounts with the same hash wait for each other,
 * and no harm is done.
 */
static void
LockOf(const pg_uuid_t *account, uint16 what, LOCKMODE mode)
{
	uint64 hash = DatumGetUInt64(hash_any_extended(account->data, UUID_LEN, 0));
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, what);
	(void) LockAcquire(&tag, mode, false, false);
}

/* LockChain locks a chain. */
void
LockChain(Chain chain, const pg_uuid_t *account)
{
	LockOf(account, (uint16) chain, ExclusiveLock);
}

/* LockKeys is shared by all who make keys. */
void
LockKeys(const pg_uuid_t *account)
{
	LockOf(account, ACCOUNT_KEYS, ShareLock);
}

/* LockKeysToErase excludes them. */
void
LockKeysToErase(const pg_uuid_t *account)
{
	LockOf(account, ACCOUNT_KEYS, ExclusiveLock);
}
