/*
 * sealed.c
 *		Sealing and opening values.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/memutils.h"

#include "authority.h"
#include "compress.h"
#include "datakey.h"
#include "identity.h"
#include "sealed.h"
#include "secret.h"

/* After so many values a process takes a new salt: the bound on random nonces, SP 800-38D, 8.3. */
#define VALUES_PER_SALT ((uint64) 1 << 31)

static const char InputLabel[] = "cauce input 1";
static const char RowLabel[] = "cauce row 1";

/*
 * The key that this process seals input under. Durable keys are used by every
 * process for years, so none of them seals a value itself: each process derives
 * its own from a random salt.
 */
typedef struct InputKey
{
	int pid;
	uint64 values;
	uint8 salt[SEALED_BINDING_BYTES];
	uint8 *derived; /* locked memory */
	pg_uuid_t id; /* the durable key that derived comes from */
	uint16 generation;
} InputKey;

static InputKey input;

/* DamagedValue raises XX001. */
static void
DamagedValue(const char *detail)
{
	ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("a sealed value is damaged"),
					errdetail("%s", detail), errhint("Restore the row from a backup.")));
}

/* RequireLength raises 54000 for a value that has too many bytes; how says in which form. */
static void
RequireLength(Size size, Size limit, const char *how)
{
	if (size > limit)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("a value is too long to be sealed"),
						errdetail("%s it has %zu bytes; the limit is %zu.", how, size, limit),
						errhint("Store it in parts.")));
}

/* Inflate is Expand for a value that has passed its authentication. */
static char *
Inflate(const char *packed, Size packed_size, Size *size)
{
	const char *problem;
	char *bytes = Expand(packed, packed_size, SEALED_SPARE_BYTES, size, &problem);

	if (bytes == NULL)
		DamagedValue(problem);
	return bytes;
}

/* SealUnder seals bytes under a key; flags and binding go into the header. Compressed bytes, as flags say, stay so. */
static Sealed *
SealUnder(const uint8 *secret, const pg_uuid_t *key, uint16 generation, uint8 flags,
		  const uint8 *binding, const char *bytes, Size size)
{
	SealedHeader header;
	Size packed_size = 0;
	int level = (flags & SEALED_KIND_MASK) == SEALED_BUNDLE ? COMPRESS_BUNDLE : COMPRESS_VALUE;
	char *packed = flags & SEALED_COMPRESSED ? NULL : Compress(bytes, size, level, &packed_size);
	const char *content = packed != NULL ? packed : bytes;
	Size content_size = packed != NULL ? packed_size : size;
	Size total = VARHDRSZ + SEALED_MIN_BYTES + content_size;
	uint16 generation_bytes = pg_hton16(generation);
	Sealed *sealed;
	uint8 *at;

	RequireLength(total - VARHDRSZ, SEALED_MAX_BYTES, "Compressed and sealed");
	sealed = palloc(total);
	SET_VARSIZE(sealed, total);
	at = (uint8 *) VARDATA(sealed);
	header.version = SEALED_VERSION;
	header.flags = flags | (packed != NULL ? SEALED_COMPRESSED : 0);
	memcpy(header.generation, &generation_bytes, sizeof(header.generation));
	memcpy(header.key, key->data, UUID_LEN);
	memcpy(header.binding, binding, SEALED_BINDING_BYTES);
	CipherSeal(secret, &header, offsetof(SealedHeader, nonce), content, content_size, header.nonce,
			   at + sizeof(header), at + sizeof(header) + content_size);
	memcpy(at, &header, sizeof(header));
	if (packed != NULL)
	{
		SecretWipe(packed, packed_size);
		pfree(packed);
	}
	return sealed;
}

/*
 * Derived derives a key from a durable key; good until the next call. The salt may
 * be empty. Locked memory, so that an error in between leaves nothing on the stack.
 */
static const uint8 *
Derived(const DataKey *durable, const uint8 *salt, Size salt_size, const char *label)
{
	static uint8 *derived = NULL;

	if (derived == NULL)
		derived = SecretAlloc(CIPHER_KEY_BYTES);
	CipherDerive(durable->secret, CIPHER_KEY_BYTES, salt, salt_size, label, strlen(label), derived);
	return derived;
}

/* PrepareInputKey makes input fit the durable key. */
static void
PrepareInputKey(const DataKey *durable)
{
	bool fresh = input.pid != MyProcPid || input.values >= VALUES_PER_SALT;

	if (input.derived == NULL || input.pid != MyProcPid)
		input.derived = SecretAlloc(CIPHER_KEY_BYTES);
	if (fresh)
	{
		CipherRandom(input.salt, sizeof(input.salt));
		input.pid = MyProcPid;
		input.values = 0;
	}
	if (fresh || !SameUuid(&input.id, &durable->id) || input.generation != durable->generation)
	{
		memcpy(input.derived, Derived(durable, input.salt, sizeof(input.salt), InputLabel),
			   CIPHER_KEY_BYTES);
		input.id = durable->id;
		input.generation = durable->generation;
	}
}

/* SealAtInput seals under the durable key of whoever is asking. */
Sealed *
SealAtInput(SealedKind kind, const char *bytes, Size size)
{
	const Identity *who = CurrentIdentity();
	const DataKey *durable = NULL;

	CHECK_FOR_INTERRUPTS(); /* a function may read many values in a row and look for none, like json_populate_recordset */
	RequireLength(size, MaxAllocSize - VARHDRSZ - 1, "In the clear");
	if (who != NULL)
		durable = DataKeyForAccount(&who->account);
	else
		durable = DataKeyInbox();
	if (durable == NULL)
		ereport(ERROR, (errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
						errmsg("the account has no key yet, and none can be made here"),
						errhint("Write something in a READ WRITE transaction first.")));
	PrepareInputKey(durable);
	input.values++;
	return SealUnder(input.derived, &input.id, input.generation, (uint8) kind | SEALED_AT_INPUT,
					 input.salt, bytes, size);
}

/* SealForSession seals for one place in one session's row. */
Sealed *
SealForSession(uint8 form, const char *bytes, Size size, const pg_uuid_t *account,
			   const pg_uuid_t *session, const uint8 *binding)
{
	const DataKey *key = DataKeyForSession(account, session);

	if (key == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION), errmsg("the session has no key"),
				 errdetail("Session %s does not exist, or it was erased.", UuidText(session)),
				 errhint("Insert the session first.")));
	return SealUnder(key->secret, &key->id, key->generation, form, binding, bytes, size);
}

/* SealForAccount seals for one place in an account's row. */
Sealed *
SealForAccount(uint8 form, const char *bytes, Size size, const pg_uuid_t *account,
			   const uint8 *binding)
{
	const DataKey *key = DataKeyForAccount(account);

	if (key == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION), errmsg("the account has no key"),
				 errdetail("Account %s does not exist, or it was erased.", UuidText(account))));
	return SealUnder(Derived(key, NULL, 0, RowLabel), &key->id, key->generation, form, binding,
					 bytes, size);
}

/* ReadAnyHeader copies the header of a value of any kind out, after checking the form. */
static SealedHeader
ReadAnyHeader(const Sealed *sealed)
{
	SealedHeader header;

	if (VARSIZE_ANY_EXHDR(sealed) < SEALED_MIN_BYTES)
		DamagedValue("It is too short.");
	memcpy(&header, VARDATA_ANY(sealed), sizeof(header));
	if (header.version != SEALED_VERSION)
		DamagedValue("Its format version is unknown.");
	return header;
}

/* ReadHeader is ReadAnyHeader for a value that must be of one kind. */
static SealedHeader
ReadHeader(const Sealed *sealed, SealedKind kind)
{
	SealedHeader header = ReadAnyHeader(sealed);

	if ((header.flags & SEALED_KIND_MASK) != kind ||
		(header.flags & ~(SEALED_KIND_MASK | SEALED_COMPRESSED | SEALED_AT_INPUT)) != 0)
		DamagedValue("Its flags do not fit its type.");
	return header;
}

/* SealedKindOf reads the flags. */
SealedKind
SealedKindOf(const Sealed *sealed)
{
	return (SealedKind) (ReadAnyHeader(sealed).flags & SEALED_KIND_MASK);
}

/* SealedCheckForm checks the form. */
void
SealedCheckForm(const Sealed *sealed, SealedKind kind)
{
	(void) ReadHeader(sealed, kind);
}

/* GenerationOf reads the generation of the data key. */
static uint16
GenerationOf(const SealedHeader *header)
{
	uint16 generation;

	memcpy(&generation, header->generation, sizeof(generation));
	return pg_ntoh16(generation);
}

/* SealedIsBound compares the header with where the value should lie. */
bool
SealedIsBound(const Sealed *sealed, const pg_uuid_t *key, uint16 generation, const uint8 *binding)
{
	SealedHeader header;

	memcpy(&header, VARDATA_ANY(sealed), sizeof(header));
	return (header.flags & SEALED_AT_INPUT) == 0 && GenerationOf(&header) == generation &&
		   memcmp(header.key, key->data, UUID_LEN) == 0 &&
		   memcmp(header.binding, binding, SEALED_BINDING_BYTES) == 0;
}

/* SealedIsInput reads the flag. */
bool
SealedIsInput(const Sealed *sealed)
{
	SealedHeader header;

	if (VARSIZE_ANY_EXHDR(sealed) < SEALED_MIN_BYTES)
		DamagedValue("It is too short.");
	memcpy(&header, VARDATA_ANY(sealed), sizeof(header));
	return (header.flags & SEALED_AT_INPUT) != 0;
}

/* SealedIsBoundTo compares the binding alone. */
bool
SealedIsBoundTo(const Sealed *sealed, const uint8 *binding)
{
	SealedHeader header;

	memcpy(&header, VARDATA_ANY(sealed), sizeof(header));
	return (header.flags & SEALED_AT_INPUT) == 0 &&
		   memcmp(header.binding, binding, SEALED_BINDING_BYTES) == 0;
}

/* OpenUnder opens with a key that has been found and allowed; compressed bytes stay so. */
static void
OpenUnder(const uint8 *secret, const SealedHeader *header, const Sealed *sealed, char **bytes,
		  Size *size)
{
	const uint8 *content = (const uint8 *) VARDATA_ANY(sealed) + sizeof(*header);
	Size content_size = VARSIZE_ANY_EXHDR(sealed) - SEALED_MIN_BYTES;
	char *plain = palloc(content_size + 1 + SEALED_SPARE_BYTES);

	if (!CipherOpen(secret, header, offsetof(SealedHeader, nonce), header->nonce, content,
					content_size, content + content_size, plain))
		DamagedValue("Its authentication tag does not match.");
	plain[content_size] = '\0';
	*bytes = plain;
	*size = content_size;
}

/* Unpack expands what has been opened, where form calls it compressed. */
static void
Unpack(uint8 form, char **bytes, Size *size)
{
	char *packed = *bytes;
	Size packed_size = *size;

	if (!(form & SEALED_COMPRESSED))
		return;
	*bytes = Inflate(packed, packed_size, size);
	SecretWipe(packed, packed_size);
	pfree(packed);
}

/* FormOf is what a value is sealed again with, wherever it goes: its kind, and whether it is compressed. */
static uint8
FormOf(const SealedHeader *header)
{
	return header->flags & (SEALED_KIND_MASK | SEALED_COMPRESSED);
}

/* SealedHere tells whether this very process sealed the value at input, under its present salt. */
static bool
SealedHere(const SealedHeader *header)
{
	return (header->flags & SEALED_AT_INPUT) != 0 && input.pid == MyProcPid &&
		   memcmp(header->binding, input.salt, SEALED_BINDING_BYTES) == 0;
}

/* OpenWith opens with key, or with what is derived from it for values of this sort. */
static void
OpenWith(const DataKey *key, const SealedHeader *header, const Sealed *sealed, char **bytes,
		 Size *size)
{
	if (SealedHere(header) && SameUuid(&input.id, &key->id) && input.generation == key->generation)
		OpenUnder(input.derived, header, sealed, bytes, size);
	else if (header->flags & SEALED_AT_INPUT)
		OpenUnder(Derived(key, header->binding, SEALED_BINDING_BYTES, InputLabel), header, sealed,
				  bytes, size);
	else if (!key->has_session)
		OpenUnder(Derived(key, NULL, 0, RowLabel), header, sealed, bytes, size);
	else
		OpenUnder(key->secret, header, sealed, bytes, size);
}

/*
 * IsOwnInput tells whether the trigger may open a value because it was just handed
 * in: sealed at input by this process, and under the key that the caller's input
 * is sealed under now. Without the second, a value that another identity stored
 * over the same pooled connection would open.
 */
static bool
IsOwnInput(const DataKey *key, const SealedHeader *header)
{
	const Identity *who;

	if (!SealedHere(header) || key->has_session)
		return false;
	who = CurrentIdentity();
	if (who == NULL)
		return DataKeyIsInbox(key);
	return SameUuid(&who->account, &key->account) || DataKeyIsInbox(key);
}

/* SealedMayOpen asks for authority. */
OpenResult
SealedMayOpen(const DataKey *key)
{
	switch (AuthorityOver(key))
	{
		case AUTHORITY_GRANTED:
			return OPEN_OK;
		case AUTHORITY_NO_IDENTITY:
			return OPEN_NO_IDENTITY;
		case AUTHORITY_NOT_YOURS:
			break;
	}
	return OPEN_NOT_YOURS;
}

/*
 * Allowed decides whether key may be used. On the way into a row of the account
 * reseal_for, a superuser may also move what that account handed in elsewhere.
 */
static OpenResult
Allowed(const DataKey *key, const SealedHeader *header, const pg_uuid_t *reseal_for)
{
	if (reseal_for != NULL && (header->flags & SEALED_AT_INPUT) != 0 &&
		(IsOwnInput(key, header) || (superuser_arg(GetOuterUserId()) &&
									 (DataKeyIsInbox(key) || SameUuid(&key->account, reseal_for)))))
		return OPEN_OK;
	return SealedMayOpen(key);
}

/* OpenFor finds the key, asks for authority and opens. */
static OpenResult
OpenFor(const Sealed *sealed, SealedKind kind, const pg_uuid_t *reseal_for, uint8 *form,
		char **bytes, Size *size)
{
	SealedHeader header = ReadHeader(sealed, kind);
	const Identity *who;
	const DataKey *key = NULL;
	DataKey copy;
	pg_uuid_t id;
	OpenResult result;

	*form = FormOf(&header);
	memcpy(id.data, header.key, UUID_LEN);
	if (reseal_for == NULL && !AuthorityAnyone())
		return OPEN_NO_IDENTITY;
	who = CurrentIdentity();
	if (who != NULL)
		key = DataKeyById(&id, GenerationOf(&header), &who->account);
	if (key == NULL)
		key = DataKeyById(&id, GenerationOf(&header), NULL);
	if (key == NULL)
		return OPEN_DESTROYED;
	if (AuthorityOfOwner(who, key)) /* asks nothing: key is still good */
	{
		OpenWith(key, &header, sealed, bytes, size);
		return OPEN_OK;
	}
	copy = *key;
	result = Allowed(&copy, &header, reseal_for);
	if (result != OPEN_OK)
		return result;

	key = DataKeyById(&id, GenerationOf(&header),
					  &copy.account); /* asking may have wiped the cache */
	if (key == NULL)
		return OPEN_DESTROYED;
	OpenWith(key, &header, sealed, bytes, size);
	return OPEN_OK;
}

/* SealedOpen opens for whoever is asking. */
OpenResult
SealedOpen(const Sealed *sealed, SealedKind kind, char **bytes, Size *size)
{
	uint8 form;
	OpenResult result = OpenFor(sealed, kind, NULL, &form, bytes, size);

	if (result == OPEN_OK)
		Unpack(form, bytes, size);
	return result;
}

/* SealedOpenToReseal opens on the way into a row. */
OpenResult
SealedOpenToReseal(const Sealed *sealed, SealedKind kind, const pg_uuid_t *account, uint8 *form,
				   char **bytes, Size *size)
{
	return OpenFor(sealed, kind, account, form, bytes, size);
}

/*
 * IsCurrent tells whether a value lies under the current generation of its key, or was sealed at
 * input, and else whose key it is.
 */
static bool
IsCurrent(const SealedHeader *header, DataKey *owner)
{
	const DataKey *key;
	pg_uuid_t id;

	if (header->flags & SEALED_AT_INPUT)
		return true;
	memcpy(id.data, header->key, UUID_LEN);
	key = DataKeyById(&id, GenerationOf(header), NULL);
	if (key == NULL)
		DamagedValue("Its key is not there.");
	*owner = *key;
	key = owner->has_session ? DataKeyForSession(&owner->account, &owner->session)
							 : DataKeyForAccount(&owner->account);
	return key == NULL || key->generation == owner->generation;
}

/* SealedIsCurrent asks the header. */
bool
SealedIsCurrent(const Sealed *head)
{
	SealedHeader header = ReadAnyHeader(head);
	DataKey owner;

	return IsCurrent(&header, &owner);
}

/*
 * SealedRenew seals a value under the current generation of its key, in the same place. What
 * lies under that already, and what was sealed at input, stays as it is.
 */
Sealed *
SealedRenew(Sealed *sealed)
{
	SealedHeader header = ReadAnyHeader(sealed);
	uint8 form = FormOf(&header);
	const DataKey *key;
	DataKey owner;
	char *bytes;
	Size size;
	Sealed *fresh;

	if (IsCurrent(&header, &owner))
		return sealed;
	key = DataKeyById(&owner.id, owner.generation, &owner.account);
	if (key == NULL)
		DamagedValue("Its key is not there.");
	OpenWith(key, &header, sealed, &bytes, &size);
	fresh = owner.has_session
				? SealForSession(form, bytes, size, &owner.account, &owner.session, header.binding)
				: SealForAccount(form, bytes, size, &owner.account, header.binding);
	SecretWipe(bytes, size);
	pfree(bytes);
	return fresh;
}

/* SealedExamine opens a value for nobody. */
bool
SealedExamine(const Sealed *sealed, SealedKind kind, DataKey *key)
{
	SealedHeader header = ReadHeader(sealed, kind);
	const DataKey *found;
	pg_uuid_t id;
	char *bytes = NULL;
	Size size = 0;

	memcpy(id.data, header.key, UUID_LEN);
	found = DataKeyById(&id, GenerationOf(&header), NULL);
	if (found == NULL)
		return false;
	*key = *found;
	key->secret = NULL;
	OpenWith(found, &header, sealed, &bytes, &size);
	Unpack(FormOf(&header), &bytes, &size);
	SecretWipe(bytes, size);
	pfree(bytes);
	return true;
}
