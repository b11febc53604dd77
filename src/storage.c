/*
 * storage.c
 *		Bundles outside of the database, in the care of programs that the administrator has configured.
 *
 * What goes out is sealed, and called by a session's id and a digest: nothing of a user's ever is in a command line.
 * What comes back is taken for nothing until its digest is that of the bundle that went out.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "command.h"
#include "evidence.h"
#include "identity.h"
#include "sealed.h"
#include "storage.h"

/* What a program may take: so long, and besides a second for each of so many bytes. */
#define COMMAND_SECONDS 300
#define BYTES_A_SECOND (1024 * 1024)

static char *archive_command = NULL;
static char *restore_command = NULL;
static char *archive_cleanup_command = NULL;

/* CheckCommand is the check hook of all three: %f must be there, since without it all bundles would be one file. */
static bool
CheckCommand(char **value, void **extra, GucSource source)
{
	bool names = false;

	for (const char *at = *value; (at = strchr(at, '%')) != NULL; at += 2)
	{
		if (at[1] != 'f' && at[1] != '%')
		{
			GUC_check_errdetail("It has an escape that is not known.");
			GUC_check_errhint("%%f is the name of the file, and %%%% a percent sign.");
			return false;
		}
		names = names || at[1] == 'f';
	}
	if (**value == '\0' || names)
		return true;
	GUC_check_errdetail("It does not name the file.");
	GUC_check_errhint("Write %%f where the name of the file belongs.");
	return false;
}

/* StorageInit defines the settings. */
void
StorageInit(void)
{
	DefineCustomStringVariable(
		"cauce.archive_command", "Program that stores a sealed archive outside of the database.",
		"%f becomes the name of the file; its content is on standard input.", &archive_command, "",
		PGC_SIGHUP, GUC_SUPERUSER_ONLY, CheckCommand, NULL, NULL);
	DefineCustomStringVariable("cauce.restore_command",
							   "Program that prints what cauce.archive_command has stored.",
							   "%f becomes the name of the file.", &restore_command, "", PGC_SIGHUP,
							   GUC_SUPERUSER_ONLY, CheckCommand, NULL, NULL);
	DefineCustomStringVariable("cauce.archive_cleanup_command",
							   "Program that removes what cauce.archive_command has stored.",
							   "%f becomes the name of the file.", &archive_cleanup_command, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, CheckCommand, NULL, NULL);
}

/* StorageTakes looks at the setting, as do the next two. */
bool
StorageTakes(void)
{
	return archive_command[0] != '\0';
}

bool
StorageGives(void)
{
	return restore_command[0] != '\0';
}

bool
StorageRemoves(void)
{
	return archive_cleanup_command[0] != '\0';
}

/* StorageDescribe digests. */
void
StorageDescribe(const pg_uuid_t *session, const struct varlena *bundle, StoredBundle *stored)
{
	stored->session = *session;
	stored->size = VARSIZE_ANY_EXHDR(bundle);
	CipherDigest(VARDATA_ANY(bundle), stored->size, stored->digest);
}

/* StorageRead reads. */
void
StorageRead(Datum digest, Datum bytes, StoredBundle *stored)
{
	struct varlena *value = PG_DETOAST_DATUM_PACKED(digest);
	int32 size = DatumGetInt32(bytes);

	if (VARSIZE_ANY_EXHDR(value) != sizeof(stored->digest) || size < 0 ||
		(Size) size > SEALED_MAX_BYTES)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("the archive cannot be opened"),
						errdetail("Its row does not tell what to bring back.")));
	memcpy(stored->digest, VARDATA_ANY(value), sizeof(stored->digest));
	stored->size = (Size) size;
}

/* CommandLine replaces the escapes; palloc'd. */
static char *
CommandLine(const char *command, const StoredBundle *stored)
{
	StringInfoData line;

	initStringInfo(&line);
	for (const char *at = command; *at != '\0'; at++)
	{
		if (*at != '%')
			appendStringInfoChar(&line, *at);
		else if (*++at == 'f')
			appendStringInfo(&line, "%s-%s", UuidText(&stored->session),
							 EvidenceHex(stored->digest));
		else
			appendStringInfoChar(&line, *at);
	}
	return line.data;
}

/* CommandFor is what runs; 55000 where there is none. */
static Command
CommandFor(const char *setting, const char *name, const StoredBundle *stored)
{
	Command command = {.what = name,
					   .seconds = COMMAND_SECONDS + (int) (stored->size / BYTES_A_SECOND),
					   .sqlerrcode = ERRCODE_IO_ERROR};

	if (setting[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("%s is not set", name),
				 errdetail("The archive is kept outside of the database."),
				 errhint("Set it in postgresql.conf and reload.")));
	command.line = CommandLine(setting, stored);
	return command;
}

/* StoragePut stores. */
void
StoragePut(const StoredBundle *stored, const struct varlena *bundle)
{
	Command command = CommandFor(archive_command, "cauce.archive_command", stored);

	(void) RunCommand(&command, VARDATA_ANY(bundle), stored->size, NULL, 0);
}

/* StorageGet brings back, into memory for just so many bytes, and compares. */
struct varlena *
StorageGet(const StoredBundle *stored)
{
	Command command = CommandFor(restore_command, "cauce.restore_command", stored);
	struct varlena *bundle;
	StoredBundle found;
	Size got;

	bundle = palloc(VARHDRSZ + stored->size);
	got = RunCommand(&command, "", 0, VARDATA(bundle), stored->size);
	SET_VARSIZE(bundle, VARHDRSZ + got);
	StorageDescribe(&stored->session, bundle, &found);
	if (got != stored->size || memcmp(found.digest, stored->digest, sizeof(found.digest)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("what cauce.restore_command gave is not the archive"),
				 got == stored->size
					 ? errdetail("Its digest is another.")
					 : errdetail("It has %zu bytes, and the archive has %zu.", got, stored->size),
				 errhint("The archive's row is as it was; docs/storage.md tells what its "
						 "file is called.")));
	return bundle;
}

/* StorageRemove removes. */
void
StorageRemove(const StoredBundle *stored)
{
	Command command = CommandFor(archive_cleanup_command, "cauce.archive_cleanup_command", stored);

	(void) RunCommand(&command, "", 0, NULL, 0);
}
