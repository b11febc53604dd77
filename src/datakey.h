/*
 * datakey.h
 *		Data keys: one per session, one per account, one inbox per database.
 *
 * A data key is 32 random bytes. The table cauce.data_key holds it wrapped; keyrow.h.
 */
#ifndef CAUCE_DATAKEY_H
#define CAUCE_DATAKEY_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

#include "keyring.h"

typedef struct DataKey
{
	pg_uuid_t id;
	uint16 generation;
	pg_uuid_t account; /* all zero for the inbox */
	pg_uuid_t organization;
	pg_uuid_t session;
	bool has_organization;
	bool has_session;
	const uint8 *secret; /* 32 bytes of locked memory, good until the next call of this module */
} DataKey;

/* DataKeyInit registers what wipes the cache: transaction abort, invalidation, exit. */
extern void DataKeyInit(void);

/*
 * DataKeyById finds the key that a sealed value names, first among the keys of
 * account where account is known. NULL when it was destroyed or has expired.
 */
extern const DataKey *DataKeyById(const pg_uuid_t *id, uint16 generation, const pg_uuid_t *account);

/* DataKeyCheckKeyring raises 55000 unless the keyring in use is this database's. */
extern void DataKeyCheckKeyring(void);

/* DataKeyCheckKeyringOnce is that, once a statement. */
extern void DataKeyCheckKeyringOnce(void);

/*
 * DataKeyHoldEpochs keeps epoch keys from being destroyed until the transaction ends;
 * whoever wraps a key calls it before choosing an epoch.
 */
extern void DataKeyHoldEpochs(void);

/* DataKeyFarAway is the moment until which keys that belong to no session are wrapped. */
extern TimestampTz DataKeyFarAway(void);

/* DataKeyForSession is the current key of a session; NULL when there is none. */
extern const DataKey *DataKeyForSession(const pg_uuid_t *account, const pg_uuid_t *session);

/* DataKeyForAccount is the current key of an account, made at its first use; NULL where nothing can be written. */
extern const DataKey *DataKeyForAccount(const pg_uuid_t *account);

/* DataKeyIsInbox tells whether a key is the database's inbox key. */
extern bool DataKeyIsInbox(const DataKey *key);

/* DataKeyInbox is the database's own key, made at the first use. */
extern const DataKey *DataKeyInbox(void);

/*
 * DataKeyCreate makes the key of an account (session NULL) or a session, wrapped
 * under the epoch that outlives until. False, and nothing done, when there is one.
 * Raises 28000 for the key of an account that was erased; for a session's the caller has
 * called LockKeys and then seen that its account is there, or has called the next.
 */
extern bool DataKeyCreate(const pg_uuid_t *account, const pg_uuid_t *organization,
						  const pg_uuid_t *session, TimestampTz until);

/*
 * DataKeyRequireNotErased raises 28000 for an account that was erased, and keeps any other
 * from being erased until the transaction ends.
 */
extern void DataKeyRequireNotErased(const pg_uuid_t *account);

/*
 * What was destroyed: ids, palloc'd, each once and in their order, and the last day on which a
 * backup holds one of them alive.
 */
typedef struct DestroyedKeys
{
	int count;
	pg_uuid_t *ids;
	EpochDay last_epoch;
} DestroyedKeys;

/* DataKeyDestroy deletes a session's key, in every generation. */
extern void DataKeyDestroy(const pg_uuid_t *account, const pg_uuid_t *session,
						   DestroyedKeys *destroyed);

/* DataKeyDestroyQuietly is DataKeyDestroy where QuietMay and QuietCanSessions. */
extern void DataKeyDestroyQuietly(const pg_uuid_t *account, const pg_uuid_t *session,
								  DestroyedKeys *destroyed);

/*
 * DataKeyDestroyAll deletes every key of an account, its own and those of its sessions and
 * archives, in every generation, and adds them to destroyed. Called again it destroys what
 * was made since.
 */
extern void DataKeyDestroyAll(const pg_uuid_t *account, DestroyedKeys *destroyed);

#endif
