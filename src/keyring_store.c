/*
 * keyring_store.c
 *		Reading and writing the keyring: its file, or a program.
 *
 * A file is written beside its place, fsynced, and put there by link() or
 * rename(), so that a reader sees the old keyring or the new one, never a part.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "port.h"
#include "storage/fd.h"
#include "storage/lock.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "command.h"
#include "injection.h"
#include "keyring_store.h"
#include "secret.h"
#include "shared.h"

#define KEYRING_MAX_BYTES (4 * 1024 * 1024)

/* What a vault may take to answer. */
#define KEYRING_COMMAND_SECONDS 30

/* The fourth field of an advisory lock that no SQL function uses; beside spi.c's chains. */
#define LOCK_KEYRING 15

static const char OperationMark[] = "%o";

/* What a keyring is called while it is written; one name, since the lock is held. */
static const char FreshSuffix[] = ".new";

static char *keyring_file = NULL;
static char *keyring_command = NULL;

/* KeyringStoreInit defines the settings. */
void
KeyringStoreInit(void)
{
	DefineCustomStringVariable("cauce.keyring_file",
							   "Path of the keyring, outside of the data directory.",
							   "Mode 0600, owned by the server's operating-system user.",
							   &keyring_file, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable(
		"cauce.keyring_command", "Program that prints the keyring, instead of a file.",
		"%o becomes read or write; on write the new keyring is on its standard input.",
		&keyring_command, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
}

/* IsSet tells whether a setting has a value. */
static bool
IsSet(const char *setting)
{
	return setting != NULL && setting[0] != '\0';
}

/* RequireStore raises unless there is exactly one place to look; true for a command. */
static bool
RequireStore(void)
{
	if (IsSet(keyring_file) && IsSet(keyring_command))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("two keyrings are configured"),
						errdetail("Both cauce.keyring_file and cauce.keyring_command are set."),
						errhint("Set one of them to an empty string and reload.")));
	if (!IsSet(keyring_file) && !IsSet(keyring_command))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no keyring is configured"),
				 errhint("Set cauce.keyring_file in postgresql.conf to a path outside of the "
						 "data directory, reload, and call cauce.keyring_create() once.")));
	return IsSet(keyring_command);
}

/* SameFile tells whether a file is still as it was read. */
static bool
SameFile(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
		   a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* KeyringStoreSame compares. */
bool
KeyringStoreSame(const KeyringStamp *stamp)
{
	struct stat file;

	if (IsSet(keyring_command))
		return !IsSet(keyring_file) && stamp->reload == PgReloadTime &&
			   stamp->changes == SharedKeyringChanges();
	return IsSet(keyring_file) && stat(keyring_file, &file) == 0 && SameFile(&file, &stamp->file);
}

/* CommandFor replaces the mark by the operation. */
static Command
CommandFor(const char *operation)
{
	const char *mark = strstr(keyring_command, OperationMark);
	Command command = {.line = keyring_command,
					   .what = "cauce.keyring_command",
					   .seconds = KEYRING_COMMAND_SECONDS,
					   .sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE};

	if (mark != NULL)
		command.line = psprintf("%.*s%s%s", (int) (mark - keyring_command), keyring_command,
								operation, mark + sizeof(OperationMark) - 1);
	return command;
}

/* ReadCommand gives what the program prints, malloc'd. */
static char *
ReadCommand(KeyringStamp *stamp, Size *size)
{
	Command command = CommandFor("read");
	char *text = malloc(KEYRING_MAX_BYTES);

	if (text == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory for the keyring")));
	stamp->reload = PgReloadTime;
	stamp->changes = SharedKeyringChanges();
	PG_TRY();
	{
		*size = RunCommand(&command, "", 0, text, KEYRING_MAX_BYTES);
	}
	PG_CATCH();
	{
		WipingFree(text);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return text;
}

/* CheckFile refuses a keyring that others could read, or that a base backup would carry. */
static void
CheckFile(const char *path, const struct stat *file)
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

/* OpenFile opens the file and looks at it. */
static int
OpenFile(struct stat *file)
{
	int fd = OpenTransientFile(keyring_file, O_RDONLY | PG_BINARY);

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
	CheckFile(keyring_file, file);
	if (file->st_size > KEYRING_MAX_BYTES)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the keyring is too large"),
						errdetail("It has %lld bytes; the limit is %d.", (long long) file->st_size,
								  KEYRING_MAX_BYTES)));
	return fd;
}

/* ReadFile gives the file's bytes, malloc'd; NULL when they cannot be read. */
static char *
ReadFile(KeyringStamp *stamp, Size *size)
{
	int fd = OpenFile(&stamp->file);
	char *text = malloc((Size) stamp->file.st_size + 1);
	ssize_t got = text != NULL ? read(fd, text, (Size) stamp->file.st_size) : -1;

	CloseTransientFile(fd);
	if (got != stamp->file.st_size)
	{
		WipingFree(text);
		return NULL;
	}
	*size = (Size) got;
	return text;
}

/* ReadOnce reads and parses; NULL when it is not JSON. */
static json_t *
ReadOnce(KeyringStamp *stamp)
{
	json_error_t error;
	json_t *root;
	char *text;
	Size size = 0;

	memset(stamp, 0, sizeof(*stamp));
	if (RequireStore())
	{
		text = ReadCommand(stamp, &size);
		if (size == 0)
		{
			WipingFree(text);
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
							errmsg("cauce.keyring_command printed no keyring"),
							errhint("Call cauce.keyring_create() for a new database, or put this "
									"database's keyring back.")));
		}
	}
	else
		text = ReadFile(stamp, &size);
	if (text == NULL)
		return NULL;
	root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
	WipingFree(text);
	return root;
}

/*
 * KeyringStoreRead reads the keyring. A file that is replaced while it is read may
 * be seen overwritten; the one that took its place is whole.
 */
json_t *
KeyringStoreRead(KeyringStamp *stamp)
{
	json_t *root = ReadOnce(stamp);

	if (root == NULL && !KeyringStoreSame(stamp))
		root = ReadOnce(stamp);
	if (root == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the keyring is damaged"), errdetail("It is not JSON."),
						errhint("Restore the keyring from its backup.")));
	return root;
}

/* KeyringStoreExists looks for it. A command that fails has perhaps nothing to print yet. */
bool
KeyringStoreExists(void)
{
	KeyringStamp stamp;
	char *text;
	Size size = 0;

	if (!RequireStore())
		return access(keyring_file, F_OK) == 0;
	text = ReadCommand(&stamp, &size);
	WipingFree(text);
	return size > 0;
}

/* KeyringStoreIsCommand tells which it is. */
bool
KeyringStoreIsCommand(void)
{
	return RequireStore();
}

/* KeyringStoreWritable looks for the mark. What a program keeps is the primary's to change. */
bool
KeyringStoreWritable(void)
{
	return !RequireStore() ||
		   (strstr(keyring_command, OperationMark) != NULL && !RecoveryInProgress());
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
 * OverwriteFile puts zeros over a file that no name leads to any more. It is the best
 * that can be done above a file system; where that fails, nobody is better off for an
 * error.
 */
static void
OverwriteFile(int fd)
{
	static const char zeros[BLCKSZ];
	struct stat file;

	if (fstat(fd, &file) != 0 || file.st_nlink != 0)
		return; /* a copy of the administrator's that is linked to it */
	for (off_t at = 0; at < file.st_size; at += sizeof(zeros))
	{
		if (pg_pwrite(fd, zeros, Min((off_t) sizeof(zeros), file.st_size - at), at) < 0)
			return;
	}
	(void) pg_fsync(fd);
}

/* KeyringThere raises: it is made once. */
static void
KeyringThere(void)
{
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("there is a keyring already"),
					errhint("A keyring is made once; cauce.rotate_master_key() changes its master "
							"key.")));
}

/* FsyncDirectoryOf makes a name last. */
static void
FsyncDirectoryOf(const char *path)
{
	char directory[MAXPGPATH];

	strlcpy(directory, path, sizeof(directory));
	get_parent_directory(directory);
	fsync_fname(directory[0] == '\0' ? "." : directory, true);
}

/*
 * PutInPlace gives the written file its name. Not before that is on disk are the bytes
 * of the one that had it overwritten: after a crash there is the one or the other.
 */
static void
PutInPlace(const char *fresh, const char *path, bool create)
{
	int old = create ? -1 : OpenTransientFile(path, O_RDWR | PG_BINARY);

	if (create ? link(fresh, path) != 0 : rename(fresh, path) != 0)
	{
		if (errno == EEXIST)
			KeyringThere();
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not put the keyring in place: %m")));
	}
	FsyncDirectoryOf(path);
	CAUCE_POINT("keyring_renamed");
	if (old >= 0)
	{
		OverwriteFile(old);
		CloseTransientFile(old);
	}
}

/* RemoveFresh removes a file that has not got, or does not need, its name; left over from a crash, too. */
static void
RemoveFresh(const char *fresh)
{
	int fd = OpenTransientFile(fresh, O_RDWR | O_NOFOLLOW | PG_BINARY);

	(void) unlink(fresh);
	if (fd >= 0)
	{
		OverwriteFile(fd);
		CloseTransientFile(fd);
	}
}

/* WriteFresh writes and fsyncs a new file for the server alone. */
static void
WriteFresh(const char *fresh, const char *text, struct stat *file)
{
	int fd =
		OpenTransientFilePerm(fresh, O_WRONLY | O_CREAT | O_EXCL | PG_BINARY, S_IRUSR | S_IWUSR);

	if (fd < 0 || !WriteWhole(fd, text, strlen(text)) || fstat(fd, file) != 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not write the keyring: %m"),
						errhint("The directory of cauce.keyring_file must be writable for the "
								"server's operating-system user.")));
	CloseTransientFile(fd);
}

/* WriteFile writes the key set beside its place and puts it there; where a link leads, not over the link. */
static void
WriteFile(const char *text, bool create)
{
	char path[PATH_MAX];
	char fresh[PATH_MAX + sizeof(FreshSuffix)];
	struct stat file;

	if (create || realpath(keyring_file, path) == NULL)
		strlcpy(path, keyring_file, sizeof(path));
	snprintf(fresh, sizeof(fresh), "%s%s", path, FreshSuffix);
	RemoveFresh(fresh);
	PG_TRY();
	{
		CAUCE_POINT("keyring_unwritten");
		WriteFresh(fresh, text, &file);
		CAUCE_POINT("keyring_written");
		CheckFile(fresh, &file);
		PutInPlace(fresh, path, create);
		CAUCE_POINT("keyring_in_place");
	}
	PG_CATCH();
	{
		RemoveFresh(fresh);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (create)
		(void) unlink(fresh); /* the other name of what was linked */
}

/* WriteCommand hands the key set to the program. */
static void
WriteCommand(const char *text, bool create)
{
	Command command = CommandFor("write");
	char ignored[BLCKSZ];

	if (!KeyringStoreWritable())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the keyring is read-only"),
				 errdetail("cauce.keyring_command has no %%o, so it is never asked to write."),
				 errhint("Add %%o to the command, or change the keyring where it is kept.")));
	if (create && KeyringStoreExists())
		KeyringThere();
	(void) RunCommand(&command, text, strlen(text), ignored, sizeof(ignored));
}

/* KeyringStoreWrite writes. */
void
KeyringStoreWrite(const json_t *root, bool create)
{
	bool command = RequireStore();
	char *text = json_dumps(root, JSON_INDENT(1));

	if (text == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory for the keyring")));
	SharedKeyringChanged(); /* before, in case this process ends when the program has stored it */
	PG_TRY();
	{
		if (command)
			WriteCommand(text, create);
		else
			WriteFile(text, create);
	}
	PG_FINALLY();
	{
		WipingFree(text);
		SharedKeyringChanged(); /* also when nobody knows whether the program stored it */
	}
	PG_END_TRY();
}

/* LockTag names the lock. */
static LOCKTAG
LockTag(void)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, InvalidOid, 0, 0, LOCK_KEYRING);
	return tag;
}

/* KeyringStoreLock takes a lock that all databases share. */
bool
KeyringStoreLock(bool wait)
{
	LOCKTAG tag = LockTag();

	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

/* KeyringStoreUnlock gives it back. */
void
KeyringStoreUnlock(void)
{
	LOCKTAG tag = LockTag();

	(void) LockRelease(&tag, ExclusiveLock, false);
}
