/*
 * audit.h
 *		The append-only log of who did what to whose sessions.
 *
 * Entries are signed and chained: each account has a chain, what is about no account has
 * that of its organization, and what is about neither the server's. A chain is locked from
 * its append to the end of the transaction, so entries are noted while a transaction works
 * and appended when it commits, in the order of their chains.
 */
#ifndef CAUCE_AUDIT_H
#define CAUCE_AUDIT_H

#include "utils/uuid.h"

#define AUDIT_MAX_ACTOR 256
#define AUDIT_MAX_ROLE 16
#define AUDIT_MAX_ACTION 32
#define AUDIT_MAX_REASON 512

typedef struct AuditEntry
{
	pg_uuid_t account; /* all zero where it is about none */
	bool has_organization;
	pg_uuid_t organization;
	bool has_session;
	pg_uuid_t session;
	char actor[AUDIT_MAX_ACTOR]; /* an account's id or subject, a database role, a process */
	char role[AUDIT_MAX_ROLE];
	char action[AUDIT_MAX_ACTION];
	char reason[AUDIT_MAX_REASON]; /* empty for none */
} AuditEntry;

/* AuditInit defines cauce.audit_days and registers the end of transactions. */
extern void AuditInit(void);

/*
 * AuditFill begins an entry; account, organization, session and reason may be NULL. Texts
 * that are too long are clipped. AuditActor adds who is asking.
 */
extern void AuditFill(AuditEntry *entry, const pg_uuid_t *account, const pg_uuid_t *organization,
					  const pg_uuid_t *session, const char *action, const char *reason);
extern void AuditActor(AuditEntry *entry);

/*
 * AuditChange notes that whoever is asking changes something; it is written with the
 * transaction, or not at all. Raises 55000 where nothing can be signed.
 */
extern void AuditChange(const pg_uuid_t *account, const pg_uuid_t *organization,
						const pg_uuid_t *session, const char *action, const char *reason);

/*
 * AuditAppend writes entries now, in this transaction. Raises 55000 in a database that
 * subscribes to another's log.
 */
extern void AuditAppend(const AuditEntry *entries, int count);

/*
 * AuditServer notes which of the server's settings and keys are not as the log has them, in a
 * database that has entries or keys.
 */
extern void AuditServer(void);

/* AuditAppending tells whether entries are being written: whoever is asking may be gone by then. */
extern bool AuditAppending(void);

/*
 * AuditPrune removes the beginnings of chains that are older now than cauce.audit_days, and
 * says so at their ends; how many entries. At most a number of chains in one call.
 */
extern uint64 AuditPrune(TimestampTz now);

#endif
