/*
 * keyring_edit.c
 *		Making, extending, rotating and thinning out the keyring.
 *
 *		epoch key:   made ahead ──► in use ──► its day passes ──► nothing needs it ──► destroyed
 *		master key:  added ──► in use ──► replaced ──► retired (by the administrator) ──► destroyed
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "cipher.h"
#include "keyring_edit.h"
#include "keyring_store.h"
#include "libjose.h"
#include "secret.h"

/* Epoch keys are made this far past the horizon, so that a standby's copy stays good for long. */
#define SPARE_DAYS 366

/* Room for a kid: "epoch-" and a date of up to five digits of year, "master-" and ten digits. */
#define KID_BYTES 32

static int epoch_days = 7;

/* An edit changes the key set; false when there is nothing to change. */
typedef bool (*Edit)(json_t *root, void *argument);

/* KeyringEditInit defines the setting. */
void
KeyringEditInit(void)
{
	DefineCustomIntVariable("cauce.epoch_days", "Length of an epoch in days.",
							"A session's key dies in every backup at most so long after its "
							"retention has ended. Applies to epoch keys made from now on.",
							&epoch_days, 7, 1, 366, PGC_SIGHUP, 0, NULL, NULL, NULL);
}

/* NoMemory raises. */
static void
NoMemory(void)
{
	ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory for the keyring")));
}

/* EditKeyring reads, edits and stores the keyring under its lock; false when it has changed nothing. */
static bool
EditKeyring(bool wait, Edit edit, void *argument)
{
	KeyringStamp stamp;
	json_t *root;
	volatile bool changed = false;

	if (!KeyringStoreLock(wait))
		return false;
	root = KeyringStoreRead(&stamp);
	PG_TRY();
	{
		changed = edit(root, argument);
		if (changed)
			KeyringStoreWrite(root, false);
	}
	PG_FINALLY();
	{
		json_decref(root);
	}
	PG_END_TRY();
	KeyringStoreUnlock();
	return changed;
}

/* AddSymmetric appends a fresh random 256-bit key. */
static void
AddSymmetric(json_t *keys, const char *kid)
{
	uint8 secret[CIPHER_KEY_BYTES];
	json_t *key;

	CipherRandom(secret, sizeof(secret));
	key = json_pack("{s:s,s:s,s:o}", "kty", "oct", "kid", kid, "k",
					libjose.b64_enc(secret, sizeof(secret)));
	SecretWipe(secret, sizeof(secret));
	if (key == NULL || json_array_append_new(keys, key) != 0)
		NoMemory();
}

/* AddEpochs appends an epoch key for every cauce.epoch_days days after from, up to to. */
static void
AddEpochs(json_t *keys, EpochDay from, EpochDay to)
{
	for (EpochDay day = from; day < to;)
	{
		char kid[KID_BYTES];
		int year;
		int month;
		int mday;

		day += epoch_days;
		j2date(day + POSTGRES_EPOCH_JDATE, &year, &month, &mday);
		snprintf(kid, sizeof(kid), "epoch-%04d-%02d-%02d", year, month, mday);
		AddSymmetric(keys, kid);
	}
}

/* AddMaster appends the master key of that number. */
static void
AddMaster(json_t *keys, uint32 number)
{
	char kid[KID_BYTES];

	snprintf(kid, sizeof(kid), "master-%u", number);
	AddSymmetric(keys, kid);
}

/* NewKeyring makes the JSON of a keyring that starts today. */
static json_t *
NewKeyring(void)
{
	EpochDay today = KeyringDayOf(GetCurrentTimestamp());
	json_t *keys = json_array();
	json_t *sign = json_pack("{s:s}", "alg", "ES256");
	pg_uuid_t id;
	char *text;

	CipherRandomUuid(&id);
	text = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&id)));
	AddMaster(keys, 1);
	AddEpochs(keys, today - 1, today + KEYRING_HORIZON_DAYS + SPARE_DAYS);
	if (sign == NULL || !libjose.jwk_gen(NULL, sign) ||
		json_object_set_new(sign, "kid", json_string(KEYRING_SIGN)) != 0 ||
		json_array_append_new(keys, sign) != 0)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not make a signing key")));
	return json_pack("{s:s,s:o}", "keyring", text, "keys", keys);
}

/* KeyringCreate makes the keyring. */
void
KeyringCreate(void)
{
	json_t *root;

	(void) KeyringStoreWritable(); /* raises where nothing is configured */
	KeyringStoreLock(true);
	root = NewKeyring();
	PG_TRY();
	{
		KeyringStoreWrite(root, true);
	}
	PG_FINALLY();
	{
		json_decref(root);
	}
	PG_END_TRY();
	KeyringStoreUnlock();
}

/* NameOf reads the name of one key of the set; false for the signing key. */
static bool
NameOf(const json_t *keys, size_t at, KeyName *name)
{
	json_t *key = json_array_get(keys, at);
	const char *kid = json_string_value(json_object_get(key, "kid"));

	if (kid == NULL || !KeyringParseName(kid, name))
		return false;
	name->retired = json_is_true(json_object_get(key, KEYRING_RETIRED));
	return true;
}

/* ExtendEdit adds epoch keys up to the day at argument. */
static bool
ExtendEdit(json_t *root, void *argument)
{
	json_t *keys = json_object_get(root, "keys");
	EpochDay wanted = *(EpochDay *) argument;
	EpochDay last = KeyringDayOf(GetCurrentTimestamp()) - 1;
	KeyName name;

	for (size_t i = 0; i < json_array_size(keys); i++)
	{
		if (NameOf(keys, i, &name) && name.is_epoch)
			last = Max(last, name.epoch);
	}
	AddEpochs(keys, last, wanted);
	return true;
}

/* KeyringExtend keeps epoch keys ahead of the longest retention; another process may be at it. */
void
KeyringExtend(void)
{
	EpochDay wanted = KeyringDayOf(GetCurrentTimestamp()) + KEYRING_HORIZON_DAYS + SPARE_DAYS;

	if (KeyringLastEpoch() < wanted - SPARE_DAYS / 2)
		(void) EditKeyring(false, ExtendEdit, &wanted);
}

/* What AddMasterEdit is asked for, and what came of it. */
typedef struct AddedMaster
{
	bool use;
	uint32 number;
} AddedMaster;

/* AddMasterEdit finds the highest master key, adds one if that is in use, and puts it in use if asked to. */
static bool
AddMasterEdit(json_t *root, void *argument)
{
	AddedMaster *added = argument;
	json_t *keys = json_object_get(root, "keys");
	uint32 current = (uint32) json_integer_value(json_object_get(root, KEYRING_MASTER));
	KeyName name;

	for (size_t i = 0; i < json_array_size(keys); i++)
	{
		if (NameOf(keys, i, &name) && !name.is_epoch)
			added->number = Max(added->number, name.master);
	}
	if (current == 0)
		current = added->number;
	if (added->number == current)
		AddMaster(keys, ++added->number);
	else if (!added->use)
		return false;
	if (added->use)
		current = added->number;
	if (json_object_set_new(root, KEYRING_MASTER, json_integer(current)) != 0)
		NoMemory();
	return true;
}

/* KeyringAddMaster adds. */
uint32
KeyringAddMaster(bool use)
{
	AddedMaster added = {.use = use};

	(void) EditKeyring(true, AddMasterEdit, &added);
	return added.number;
}

/* RetireEdit marks the master key at argument. */
static bool
RetireEdit(json_t *root, void *argument)
{
	json_t *keys = json_object_get(root, "keys");
	uint32 wanted = *(uint32 *) argument;
	KeyName name;

	for (size_t i = 0; i < json_array_size(keys); i++)
	{
		if (NameOf(keys, i, &name) && !name.is_epoch && name.master == wanted)
		{
			if (json_object_set_new(json_array_get(keys, i), KEYRING_RETIRED, json_true()) != 0)
				NoMemory();
			return true;
		}
	}
	return false;
}

/* KeyringRetireMaster marks. */
void
KeyringRetireMaster(uint32 master)
{
	if (master >= KeyringMaster())
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("master key %u has not been replaced", master),
						errdetail("Master key %u is in use.", KeyringMaster()),
						errhint("Call cauce.rotate_master_key() first.")));
	if (!EditKeyring(true, RetireEdit, &master))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("the keyring has no master key %u", master),
						errhint("cauce.keyring_status() lists those that it has.")));
}

/* IsEnded tells whether a key's time has passed: an epoch's before the day, a retired master's at once. */
static bool
IsEnded(const KeyName *name, EpochDay today)
{
	return name->is_epoch ? name->epoch < today : name->retired;
}

/* KeyringEnded looks for one. */
bool
KeyringEnded(EpochDay today)
{
	int count;
	const KeyName *names = KeyringNames(&count);

	if (!KeyringStoreWritable())
		return false;
	for (int i = 0; i < count; i++)
	{
		if (IsEnded(&names[i], today))
			return true;
	}
	return false;
}

/* What DestroyEdit may destroy, and what it has. */
typedef struct Destruction
{
	EpochDay today;
	const KeyringNeeds *needs;
	int destroyed;
} Destruction;

/* DestroyEdit removes what has ended and is not needed. */
static bool
DestroyEdit(json_t *root, void *argument)
{
	Destruction *order = argument;
	json_t *keys = json_object_get(root, "keys");
	KeyName name;

	for (size_t i = json_array_size(keys); i-- > 0;)
	{
		if (!NameOf(keys, i, &name) || !IsEnded(&name, order->today) ||
			KeyringIsNeeded(order->needs, &name))
			continue;
		(void) json_array_remove(keys, i);
		order->destroyed++;
	}
	return order->destroyed > 0;
}

/* KeyringDestroy destroys. */
int
KeyringDestroy(EpochDay today, const KeyringNeeds *needs)
{
	Destruction order = {.today = today, .needs = needs};

	(void) EditKeyring(false, DestroyEdit, &order);
	return order.destroyed;
}
