/*
 * keyring.c
 *		Reading, making and extending the keyring file.
 *
 * The file is read at the first use in each process and again when it has
 * changed (device, inode, size or time). Writes go to a new file in the same
 * directory, are fsynced, and put in place by link() or rename(), so that a
 * reader sees the old keyring or the new one, never a part.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "port.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "cipher.h"
#include "keyring.h"
#include "libjose.h"
#include "secret.h"

#define KEYRING_MAX_BYTES (4 * 1024 * 1024)
#define KEYRING_MAX_KEYS 8192
#define KEYRING_ID_BYTES 37
#define KEYRING_SIGN_BYTES 1024

/* Epoch keys are made this far past the horizon, so that a standby's copy stays good for long. */
#define KEYRING_SPARE_DAYS 366

static const char MasterPrefix[] = "master-";
static const char EpochPrefix[] = "epoch-";
static const char SignName[] = "sign";
static const char WrapSalt[] = "cauce keyring 1";

/* One symmetric key's name; its 32 bytes stand at the same place in Keyring.secrets. */
typedef struct KeyName
{
	bool is_epoch;
	uint32 master;
	EpochDay epoch;
} KeyName;

typedef struct Keyring
{
	char id[KEYRING_ID_BYTES];
	int count;
	KeyName *names;
	uint8 *secrets;
	char *sign;
	struct stat file;
} Keyring;

static char *keyring_file = NULL;
static int epoch_days = 7;

static Keyring keyring;
static bool loaded = false;
static uint64 serial = 0;

static void LoadKeyring(void);
static const char *ParseKeyring(const json_t *root, Keyring *into);
static json_t *ReadKeyringFile(struct stat *file);
static void StoreKeyring(const json_t *root, bool replace);
static void AddEpochs(json_t *keys, EpochDay from, EpochDay to);

/* KeyringInit defines the keyring's settings. */
void
KeyringInit(void)
{
	DefineCustomStringVariable("cauce.keyring_file",
							   "Path of the keyring, outside of the data directory.",
							   "Mode 0600, owned by the server's operating-system user.",
							   &keyring_file, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomIntVariable("cauce.epoch_days", "Length of an epoch in days.",
							"A session's key dies in every backup at most so long after its "
							"retention has ended. Applies to epoch keys made from now on.",
							&epoch_days, 7, 1, 366, PGC_SIGHUP, 0, NULL, NULL, NULL);
}

/* KeyringId names the keyring in use. */
const char *
KeyringId(void)
{
	LoadKeyring();
	return keyring.id;
}

/* SameFile tells whether a file is still as it was read. */
static bool
SameFile(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
		   a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* KeyringSerial counts the keyrings that this process has read. */
uint64
KeyringSerial(void)
{
	struct stat file;

	if (loaded && (stat(keyring_file, &file) != 0 || !SameFile(&file, &keyring.file)))
		loaded = false; /* the next use reads it, and raises where that is due */
	return loaded ? serial : 0;
}

/* KeyringMaster finds the highest master number. */
uint32
KeyringMaster(void)
{
	uint32 master = 0;

	LoadKeyring();
	for (int i = 0; i < keyring.count; i++)
	{
		if (!keyring.names[i].is_epoch)
			master = Max(master, keyring.names[i].master);
	}
	return master;
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

/* DayOf is the UTC day that a moment falls in. */
static EpochDay
DayOf(TimestampTz moment)
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
	EpochDay day = Max(DayOf(until), DayOf(GetCurrentTimestamp()));
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
	return epoch < DayOf(GetCurrentTimestamp());
}

/* KeyringSigningKey gives the private JWK as JSON text in locked memory. */
const char *
KeyringSigningKey(void)
{
	LoadKeyring();
	return keyring.sign;
}

/* ForgetKeyring wipes what this process holds of the keyring. */
static void
ForgetKeyring(Keyring *old)
{
	SecretFree(old->secrets, (Size) old->count * CIPHER_KEY_BYTES);
	SecretFree(old->sign, KEYRING_SIGN_BYTES);
	if (old->names != NULL)
		pfree(old->names);
	memset(old, 0, sizeof(*old));
}

/* LoadKeyring reads the keyring unless this process has it as the file is now. */
static void
LoadKeyring(void)
{
	struct stat file;
	Keyring fresh = {0};
	json_t *root;
	const char *problem;

	if (loaded && stat(keyring_file, &file) == 0 && SameFile(&file, &keyring.file))
		return;

	root = ReadKeyringFile(&fresh.file);
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
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the keyring is damaged"), errdetail("%s", problem),
						errhint("Restore the keyring file from its backup; without it the sealed "
								"values cannot be opened.")));
	}
	keyring = fresh;
	loaded = true;
	serial++;
}

/* CheckKeyringFile refuses a keyring that others could read, or that a base backup would carry. */
static void
CheckKeyringFile(const char *path, const struct stat *file)
{
	char real_path[PATH_MAX];
	char real_data[PATH_MAX];
	Size data_size;

	if (!S_ISREG(file->st_mode))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the keyring is not a regular file"),
						errhint("Correct cauce.keyring_file.")));
	if (file->st_uid != geteuid() || (file->st_mode & (S_IRWXG | S_IRWXO)) != 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the keyring file has unsafe permissions"),
						errdetail("It must be owned by the server's operating-system user and have "
								  "mode 0600; it has mode 0%o.",
								  (unsigned int) (file->st_mode & 07777)),
						errhint("Use chown and chmod on the file.")));
	if (realpath(path, real_path) == NULL || realpath(DataDir, real_data) == NULL)
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not resolve the keyring's path: %m")));
	data_size = strlen(real_data);
	if (strncmp(real_path, real_data, data_size) == 0 && real_path[data_size] == '/')
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the keyring lies inside of the data directory"),
						errdetail("Every base backup would carry the keys beside what they seal."),
						errhint("Move the file elsewhere and set cauce.keyring_file.")));
}

/* RequireKeyringFile raises when no file is configured. */
static void
RequireKeyringFile(void)
{
	if (keyring_file == NULL || keyring_file[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no keyring is configured"),
				 errhint("Set cauce.keyring_file in postgresql.conf to a path outside of the "
						 "data directory, reload, and call cauce.keyring_create() once.")));
}

/* ReadKeyringFile parses the file into JSON, and tells which file it was. */
static json_t *
ReadKeyringFile(struct stat *file)
{
	json_error_t error;
	json_t *root = NULL;
	char *text;
	ssize_t got = -1;
	int fd;

	RequireKeyringFile();
	fd = OpenTransientFile(keyring_file, O_RDONLY | PG_BINARY);
	if (fd < 0)
	{
		int reason = errno;

		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("could not open the keyring: %m"),
						reason == ENOENT
							? errhint("Call cauce.keyring_create() for a new database, or put "
									  "this database's keyring back.")
							: errhint("Check cauce.keyring_file and the file's permissions.")));
	}
	if (fstat(fd, file) != 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not stat the keyring: %m")));
	CheckKeyringFile(keyring_file, file);
	if (file->st_size > KEYRING_MAX_BYTES)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the keyring is too large"),
						errdetail("It has %lld bytes; the limit is %d.", (long long) file->st_size,
								  KEYRING_MAX_BYTES)));

	text = malloc((Size) file->st_size + 1);
	if (text != NULL)
	{
		got = read(fd, text, (Size) file->st_size);
		if (got == file->st_size)
			root = json_loadb(text, (Size) got, JSON_REJECT_DUPLICATES, &error);
	}
	WipingFree(text);
	CloseTransientFile(fd);
	if (root == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the keyring is damaged"),
						errdetail(got < 0 ? "It could not be read." : "It is not JSON."),
						errhint("Restore the keyring file from its backup.")));
	return root;
}

/* ParseName reads master-N or epoch-YYYY-MM-DD; false for any other name. */
static bool
ParseName(const char *kid, KeyName *name)
{
	if (strncmp(kid, MasterPrefix, sizeof(MasterPrefix) - 1) == 0)
	{
		char *end;
		unsigned long number = strtoul(kid + sizeof(MasterPrefix) - 1, &end, 10);

		name->is_epoch = false;
		name->master = (uint32) number;
		return *end == '\0' && number > 0 && number <= PG_INT32_MAX;
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
			day > 31)
			return false;
		name->is_epoch = true;
		name->epoch = date2j(year, month, day) - POSTGRES_EPOCH_JDATE;
		return true;
	}
	return false;
}

/* ParseKeyring fills into from the key set; gives a sentence about what is wrong, or NULL. */
static const char *
ParseKeyring(const json_t *root, Keyring *into)
{
	const char *id = json_string_value(json_object_get(root, "keyring"));
	json_t *keys = json_object_get(root, "keys");
	size_t total = json_array_size(keys);

	if (id == NULL || strlen(id) != KEYRING_ID_BYTES - 1)
		return "It has no member \"keyring\" with a UUID.";
	strlcpy(into->id, id, sizeof(into->id));
	if (total == 0 || total > KEYRING_MAX_KEYS)
		return "It has no keys, or too many.";
	into->names = MemoryContextAllocZero(TopMemoryContext, total * sizeof(KeyName));
	into->secrets = SecretAlloc(total * CIPHER_KEY_BYTES);
	into->count = (int) total;

	for (size_t i = 0; i < total; i++)
	{
		json_t *key = json_array_get(keys, i);
		const char *kid = json_string_value(json_object_get(key, "kid"));

		if (kid == NULL)
			return "A key has no \"kid\".";
		if (strcmp(kid, SignName) == 0)
		{
			size_t size = json_dumpb(key, NULL, 0, JSON_COMPACT);

			if (size == 0 || size >= KEYRING_SIGN_BYTES || into->sign != NULL)
				return "Its signing key is malformed or there are two.";
			into->sign = SecretAlloc(KEYRING_SIGN_BYTES);
			json_dumpb(key, into->sign, size, JSON_COMPACT);
		}
		else if (!ParseName(kid, &into->names[i]) ||
				 libjose.b64_dec(json_object_get(key, "k"), into->secrets + i * CIPHER_KEY_BYTES,
								 CIPHER_KEY_BYTES) != CIPHER_KEY_BYTES)
			return "A key has an unknown name or not 32 bytes.";
	}
	if (into->sign == NULL)
		return "It has no signing key.";
	return NULL;
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
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory for the keyring")));
}

/* AddEpochs appends an epoch key for every cauce.epoch_days days after from, up to to. */
static void
AddEpochs(json_t *keys, EpochDay from, EpochDay to)
{
	for (EpochDay day = from; day < to;)
	{
		char kid[sizeof("epoch-YYYY-MM-DD") + 8];
		int year;
		int month;
		int mday;

		day += epoch_days;
		j2date(day + POSTGRES_EPOCH_JDATE, &year, &month, &mday);
		snprintf(kid, sizeof(kid), "%s%04d-%02d-%02d", EpochPrefix, year, month, mday);
		AddSymmetric(keys, kid);
	}
}

/* NewKeyring makes the JSON of a keyring that starts today. */
static json_t *
NewKeyring(void)
{
	pg_uuid_t id;
	char *text;
	json_t *keys;
	json_t *sign;
	EpochDay today = DayOf(GetCurrentTimestamp());

	CipherRandomUuid(&id);
	text = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&id)));

	keys = json_array();
	AddSymmetric(keys, "master-1");
	AddEpochs(keys, today - 1, today + KEYRING_HORIZON_DAYS + KEYRING_SPARE_DAYS);
	sign = json_pack("{s:s}", "alg", "ES256");
	if (sign == NULL || !libjose.jwk_gen(NULL, sign) ||
		json_object_set_new(sign, "kid", json_string(SignName)) != 0 ||
		json_array_append_new(keys, sign) != 0)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not make a signing key")));
	return json_pack("{s:s,s:o}", "keyring", text, "keys", keys);
}

/* KeyringExists looks for the file. */
bool
KeyringExists(void)
{
	RequireKeyringFile();
	return access(keyring_file, F_OK) == 0;
}

/* KeyringCreate makes the keyring file. */
void
KeyringCreate(void)
{
	json_t *root;

	RequireKeyringFile();
	root = NewKeyring();
	PG_TRY();
	{
		StoreKeyring(root, false);
	}
	PG_FINALLY();
	{
		json_decref(root);
	}
	PG_END_TRY();
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

/* KeyringExtend keeps epoch keys ahead of the longest retention, one process at a time. */
void
KeyringExtend(void)
{
	EpochDay today = DayOf(GetCurrentTimestamp());
	EpochDay wanted = today + KEYRING_HORIZON_DAYS + KEYRING_SPARE_DAYS;
	struct stat file;
	json_t *root;
	int lock;

	if (KeyringLastEpoch() >= wanted - KEYRING_SPARE_DAYS / 2)
		return;

	lock = OpenTransientFile(keyring_file, O_RDONLY | PG_BINARY);
	if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) != 0)
	{
		if (lock >= 0)
			CloseTransientFile(lock);
		return; /* another process extends it */
	}
	root = ReadKeyringFile(&file);
	PG_TRY();
	{
		AddEpochs(json_object_get(root, "keys"), Max(KeyringLastEpoch(), today - 1), wanted);
		StoreKeyring(root, true);
	}
	PG_FINALLY();
	{
		json_decref(root);
	}
	PG_END_TRY();
	CloseTransientFile(lock);
}

/* WriteWhole writes and fsyncs the file. */
static bool
WriteWhole(int fd, const char *text, Size size)
{
	Size done = 0;

	while (done < size)
	{
		ssize_t wrote = write(fd, text + done, size - done);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0)
			return false;
		done += (Size) wrote;
	}
	return pg_fsync(fd) == 0;
}

/*
 * StoreKeyring writes the key set beside its place and puts it there. A new
 * keyring is linked, which fails when there is one already.
 */
static void
StoreKeyring(const json_t *root, bool replace)
{
	char fresh[MAXPGPATH];
	struct stat file;
	char *text;
	bool written;
	int reason;
	int fd;

	text = json_dumps(root, JSON_INDENT(1));
	if (text == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory for the keyring")));
	snprintf(fresh, sizeof(fresh), "%s.%d.new", keyring_file, MyProcPid);
	(void) unlink(fresh);
	fd = OpenTransientFilePerm(fresh, O_WRONLY | O_CREAT | O_EXCL | PG_BINARY, S_IRUSR | S_IWUSR);
	reason = errno;
	written = fd >= 0 && WriteWhole(fd, text, strlen(text)) && fstat(fd, &file) == 0;
	if (fd >= 0 && !written)
		reason = errno;
	WipingFree(text);
	if (fd >= 0)
		CloseTransientFile(fd);

	PG_TRY();
	{
		errno = reason;
		if (!written)
			ereport(ERROR, (errcode_for_file_access(), errmsg("could not write the keyring: %m"),
							errhint("The directory of cauce.keyring_file must be writable for the "
									"server's operating-system user.")));
		CheckKeyringFile(fresh, &file);
		if (replace ? rename(fresh, keyring_file) != 0 : link(fresh, keyring_file) != 0)
		{
			if (errno == EEXIST)
				ereport(ERROR,
						(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						 errmsg("there is a keyring already"),
						 errhint("A keyring is made once; to change the master key, rotate it.")));
			ereport(ERROR,
					(errcode_for_file_access(), errmsg("could not put the keyring in place: %m")));
		}
	}
	PG_FINALLY();
	{
		(void) unlink(fresh);
	}
	PG_END_TRY();
	strlcpy(fresh, keyring_file, sizeof(fresh));
	get_parent_directory(fresh);
	fsync_fname(fresh[0] == '\0' ? "." : fresh, true);
}
