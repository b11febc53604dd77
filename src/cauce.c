/*
 * cauce.c
 *		Loading the module: one Init a concern.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/guc.h"

#include "adopt.h"
#include "audit.h"
#include "authority.h"
#include "channel.h"
#include "clock.h"
#include "datakey.h"
#include "derived.h"
#include "erase.h"
#include "identity.h"
#include "jose.h"
#include "keyring_edit.h"
#include "keyring_store.h"
#include "lasting.h"
#include "launcher.h"
#include "injection.h"
#include "libjose.h"
#include "literals.h"
#include "login.h"
#include "oracle.h"
#include "owned.h"
#include "redact.h"
#include "session.h"
#include "shared.h"
#include "signing.h"
#include "spi.h"
#include "storage.h"
#include "upkeep.h"
#include "witness.h"

PG_MODULE_MAGIC;

#if PG_VERSION_NUM < 160000
extern PGDLLEXPORT void _PG_init(void);
#endif

/* _PG_init sets the module up in the postmaster, before any backend is forked. */
void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("cauce must be loaded when the server starts"),
						errhint("Add cauce to shared_preload_libraries and restart the server.")));
	LibJoseInit();
	SharedInit();
	WitnessInit();
	KeyringStoreInit();
	KeyringEditInit();
	JoseInit();
	SpiInit();
	SigningInit();
	EraseInit();
	ChannelInit();
	LoginInit();
	IdentityInit();
	LastingInit();
	AuthorityInit();
	AuditInit();
	DataKeyInit();
	SessionInit();
	AdoptInit();
	LiteralsInit();
	DerivedInit();
	OracleInit();
	OwnedInit();
	RedactInit();
	ClockInit();
	StorageInit();
	UpkeepInit();
	LauncherInit();
#ifdef CAUCE_INJECTION
	InjectionInit();
#endif
	MarkGUCPrefixReserved("cauce");
}
