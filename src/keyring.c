/*
 * keyring.c
 *		The keys of the keyring in this process, and which of them serves.
 *
 * The keyring is read at the first use in each process and again when its store
 * has changed (keyring_store.c). What is read is kept in locked memory.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "cipher.h"
#include "keyring.h"
#include "keyring_store.h"
#include "libjose.h"
#include "secret.h"

#define KEYRING_MAX_KEYS 8192
#define KEYRING_ID_BYTES 37
#define KEYRING_SIGN_BYTES 1024

static const char MasterPrefix[] = "master-";
static const char EpochPrefix[] = "epoch-";
static const char WrapSalt[] = "cauce keyring 1";

typedef struct Keyring
{
	char id[KEYRING_ID_BYTES];
	uint32 master; /* the one in use */
	int count;
	KeyName *names;
	uint8 *secrets; /* 32 bytes each, in the order of names */
	Size room; /* of secrets, in bytes */
	char *sign;
	KeyringStamp stamp;
} Keyring;

static Keyring keyring;
static bool loaded = false;
static uint64 serial = 0;

static void LoadKeyring(void);
static const char *ParseKeyring(const json_t *root, Keyring *into);

/* KeyringId names the keyring in use. */
const char *
KeyringId(void)
{
	LoadKeyring();
	return keyring.id;
}

/* KeyringSerial counts the keyrings that this process has read. */
uint64
KeyringSerial(void)
{
	if (loaded && !KeyringStoreSame(&keyring.stamp))
		loaded = false; /* the next use reads it, and raises where that is due */
	return loaded ? serial : 0;
}

/* KeyringSerialRead does without a look at the store. */
uint64
KeyringSerialRead(void)
{
	return loaded ? serial : 0;
}

/* KeyringMaster is the number of the master key in use. */
uint32
KeyringMaster(void)
{
	LoadKeyring();
	return keyring.master;
}

/* KeyringNames lists the symmetric keys. */
const KeyName *
KeyringNames(int *count)
{
	LoadKeyring();
	*count = keyring.count;
	return keyring.names;
}

/*
 * KeyringWrappingKey derives a key-encrypting key. Master and epoch key are
 * concatenated as the input keying material (NIST SP 800-56C, section 2, hybrid
 * secrets): without either one nothing about the result is known.
 */
bool
KeyringWrappingKey(uint32 master, EpochDay epoch, const void *info, Size info_size, uint8 *kek)
{
	uint8 material[2 * CIPHER_KEY_BYTES];
	bool have_master = false;
	bool have_epoch = false;

	LoadKeyring();
	for (int i = 0; i < keyring.count; i++)
	{
		const KeyName *name = &keyring.names[i];
		const uint8 *secret = keyring.secrets + i * CIPHER_KEY_BYTES;

		if (!name->is_epoch && name->master == master)
		{
			memcpy(material, secret, CIPHER_KEY_BYTES);
			have_master = true;
		}
		if (name->is_epoch && name->epoch == epoch)
		{
			memcpy(material + CIPHER_KEY_BYTES, secret, CIPHER_KEY_BYTES);
			have_epoch = true;
		}
	}
	if (have_master && have_epoch)
		CipherDerive(material, sizeof(material), WrapSalt, sizeof(WrapSalt) - 1, info, info_size,
					 kek);
	SecretWipe(material, sizeof(material));
	return have_master && have_epoch;
}

/* KeyringDayOf is the UTC day that a moment falls in. */
EpochDay
KeyringDayOf(TimestampTz moment)
{
	TimestampTz day = moment / USECS_PER_DAY;

	if (moment % USECS_PER_DAY < 0)
		day--;
	return (EpochDay) day;
}

/* KeyringEpoch picks the first epoch that ends on the day of until or later, and not before today. */
EpochDay
KeyringEpoch(TimestampTz until)
{
	EpochDay day = Max(KeyringDayOf(until), KeyringDayOf(GetCurrentTimestamp()));
	EpochDay best = 0;
	bool found = false;

	LoadKeyring();
	for (int i = 0; i < keyring.count; i++)
	{
		const KeyName *name = &keyring.names[i];

		if (name->is_epoch && name->epoch >= day && (!found || name->epoch < best))
		{
			best = name->epoch;
			found = true;
		}
	}
	if (!found)
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the keyring has no epoch key that lasts until %s", timestamptz_to_str(until)),
			 errhint("The retention worker adds epoch keys; check that the keyring file is "
					 "writable for the server.")));
	return best;
}

/* KeyringEpochEnded tells whether the epoch's day has passed. */
bool
KeyringEpochEnded(EpochDay epoch)
{
	return epoch < KeyringDayOf(GetCurrentTimestamp());
}

/* KeyringLastEpoch is the end of the last epoch that the keyring holds. */
EpochDay
KeyringLastEpoch(void)
{
	EpochDay last = PG_INT32_MIN;

	LoadKeyring();
	for (int i = 0; i < keyring.count; i++)
	{
		if (keyring.names[i].is_epoch)
			last = Max(last, keyring.names[i].epoch);
	}
	return last;
}

/* KeyringSigningKey gives the private JWK as JSON text in locked memory. */
const char *
KeyringSigningKey(void)
{
	LoadKeyring();
	return keyring.sign;
}

/* KeyringSigningKeyDamaged raises. */
void
KeyringSigningKeyDamaged(void)
{
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("the keyring's signing key is damaged"),
					errhint("Restore the keyring file from its backup.")));
}

/* ForgetKeyring wipes what this process holds of the keyring. */
static void
ForgetKeyring(Keyring *old)
{
	SecretFree(old->secrets, old->room);
	SecretFree(old->sign, KEYRING_SIGN_BYTES);
	if (old->names != NULL)
		pfree(old->names);
	memset(old, 0, sizeof(*old));
}

/* DamagedKeyring raises 55000 with a sentence about what is wrong. */
static void
DamagedKeyring(const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("the keyring is damaged"),
			 errdetail("%s", problem),
			 errhint("Restore the keyring from its backup; without it the sealed values cannot be "
					 "opened.")));
}

/* LoadKeyring reads the keyring unless this process has it as its store is now. */
static void
LoadKeyring(void)
{
	Keyring fresh = {0};
	json_t *root;
	const char *problem;

	if (loaded && KeyringStoreSame(&keyring.stamp))
		return;

	root = KeyringStoreRead(&fresh.stamp);
	loaded = false;
	ForgetKeyring(&keyring);
	PG_TRY();
	{
		problem = ParseKeyring(root, &fresh);
	}
	PG_FINALLY();
	{
		json_decref(root);
	}
	PG_END_TRY();
	if (problem != NULL)
	{
		ForgetKeyring(&fresh);
		DamagedKeyring(problem);
	}
	keyring = fresh;
	loaded = true;
	serial++;
}

/* KeyringParseName reads master-N or epoch-YYYY-MM-DD; false for any other name. */
bool
KeyringParseName(const char *kid, KeyName *name)
{
	memset(name, 0, sizeof(*name));
	if (strncmp(kid, MasterPrefix, sizeof(MasterPrefix) - 1) == 0)
	{
		const char *digits = kid + sizeof(MasterPrefix) - 1;
		char *end;
		unsigned long number = strtoul(digits, &end, 10);

		name->master = (uint32) number;
		return *digits >= '1' && *digits <= '9' && *end == '\0' && number <= PG_INT32_MAX;
	}
	if (strncmp(kid, EpochPrefix, sizeof(EpochPrefix) - 1) == 0)
	{
		int year;
		int month;
		int day;
		int end = 0;

		if (sscanf(kid + sizeof(EpochPrefix) - 1, "%4d-%2d-%2d%n", &year, &month, &day, &end) !=
				3 ||
			kid[sizeof(EpochPrefix) - 1 + end] != '\0' || month < 1 || month > 12 || day < 1 ||
			day > day_tab[isleap(year)][month - 1])
			return false;
		name->is_epoch = true;
		name->epoch = date2j(year, month, day) - POSTGRES_EPOCH_JDATE;
		return true;
	}
	return false;
}

/* ReadSign keeps the signing key as JSON text; a sentence about what is wrong, or NULL. */
static const char *
ReadSign(json_t *key, Keyring *into)
{
	size_t size = json_dumpb(key, NULL, 0, JSON_COMPACT);

	if (size == 0 || size >= KEYRING_SIGN_BYTES || into->sign != NULL)
		return "Its signing key is malformed or there are two.";
	into->sign = SecretAlloc(KEYRING_SIGN_BYTES);
	json_dumpb(key, into->sign, size, JSON_COMPACT);
	return NULL;
}

/* IsThere tells whether the keyring has a key of that name already. */
static bool
IsThere(const Keyring *into, const KeyName *name)
{
	for (int i = 0; i < into->count; i++)
	{
		if (into->names[i].is_epoch == name->is_epoch && into->names[i].master == name->master &&
			into->names[i].epoch == name->epoch)
			return true;
	}
	return false;
}

/* ReadKeys reads every key of the set; a sentence about what is wrong, or NULL. */
static const char *
ReadKeys(json_t *keys, Keyring *into)
{
	size_t total = json_array_size(keys);

	for (size_t i = 0; i < total; i++)
	{
		json_t *key = json_array_get(keys, i);
		const char *kid = json_string_value(json_object_get(key, "kid"));
		KeyName *name = &into->names[into->count];
		const char *problem;

		if (kid == NULL)
			return "A key has no \"kid\".";
		if (strcmp(kid, KEYRING_SIGN) == 0)
		{
			problem = ReadSign(key, into);
			if (problem != NULL)
				return problem;
			continue;
		}
		if (!KeyringParseName(kid, name) ||
			libjose.b64_dec(json_object_get(key, "k"),
							into->secrets + into->count * CIPHER_KEY_BYTES,
							CIPHER_KEY_BYTES) != CIPHER_KEY_BYTES)
			return "A key has an unknown name or not 32 bytes.";
		if (IsThere(into, name))
			return "There are two keys of one name.";
		name->retired = json_is_true(json_object_get(key, KEYRING_RETIRED));
		into->count++;
	}
	return into->sign == NULL ? "It has no signing key." : NULL;
}

/* FindMaster finds the master key in use: the one that the set names, or the highest. */
static bool
FindMaster(const json_t *root, Keyring *into)
{
	json_t *in_use = json_object_get(root, KEYRING_MASTER);
	json_int_t named = json_integer_value(in_use);
	bool found = false;

	for (int i = 0; i < into->count; i++)
	{
		if (into->names[i].is_epoch)
			continue;
		into->master = Max(into->master, into->names[i].master);
		found = found || into->names[i].master == named;
	}
	if (found)
		into->master = (uint32) named;
	return found || in_use == NULL;
}

/* ParseKeyring fills into from the key set; gives a sentence about what is wrong, or NULL. */
static const char *
ParseKeyring(const json_t *root, Keyring *into)
{
	const char *id = json_string_value(json_object_get(root, "keyring"));
	json_t *keys = json_object_get(root, "keys");
	size_t total = json_array_size(keys);
	const char *problem;

	if (id == NULL || strlen(id) != KEYRING_ID_BYTES - 1)
		return "It has no member \"keyring\" with a UUID.";
	strlcpy(into->id, id, sizeof(into->id));
	if (total == 0 || total > KEYRING_MAX_KEYS)
		return "It has no keys, or too many.";
	into->names = MemoryContextAllocZero(TopMemoryContext, total * sizeof(KeyName));
	into->secrets = SecretAlloc(total * CIPHER_KEY_BYTES);
	into->room = total * CIPHER_KEY_BYTES;
	problem = ReadKeys(keys, into);
	if (problem != NULL)
		return problem;
	return FindMaster(root, into) ? NULL : "It has not the master key that it says is in use.";
}
