/*
 * sealed_type.c
 *		The common part of the sealed types: the sealed form, and who gets what.
 *
 * Input seals at once, so that plaintext never reaches a plan, a tuple or the
 * WAL. Output opens for an authorised identity and gives "cauce1:" and base64 to
 * anybody else, which is what dumps and replicas hold.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "access/tupdesc.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/base64.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "authority.h"
#include "sealed_type.h"
#include "secret.h"

PG_FUNCTION_INFO_V1(cauce_is_sealed_type);

static const char SealedPrefix[] = "cauce1:";
#define PREFIX_BYTES (sizeof(SealedPrefix) - 1)

/* KindOf finds the kind of one of the types, given without domains; 0 for any other. */
static SealedKind
KindOf(Oid type)
{
	static const struct
	{
		const char *name;
		SealedKind kind;
	} types[] = {{"encrypted_text", SEALED_TEXT},
				 {"encrypted_jsonb", SEALED_JSONB},
				 {"encrypted_bytea", SEALED_BYTEA}};
	SealedKind kind = 0;
	HeapTuple tuple;
	Form_pg_type form;

	if (type < FirstNormalObjectId)
		return 0; /* PostgreSQL's own types cost no look-up */
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	if (!HeapTupleIsValid(tuple))
		return 0;
	form = (Form_pg_type) GETSTRUCT(tuple);
	for (Size i = 0; i < lengthof(types) && kind == 0; i++)
		if (strcmp(NameStr(form->typname), types[i].name) == 0 &&
			form->typnamespace == get_namespace_oid("cauce", true))
			kind = types[i].kind;
	ReleaseSysCache(tuple);
	return kind;
}

/* SealedTypeOf looks below domains, and into an array. */
bool
SealedTypeOf(Oid type, SealedKind *kind, Oid *element)
{
	Oid base;

	if (type < FirstNormalObjectId)
		return false;
	base = getBaseType(type);
	*element = InvalidOid;
	*kind = KindOf(base);
	if (*kind == 0)
	{
		*element = get_element_type(base);
		if (OidIsValid(*element))
			*kind = KindOf(getBaseType(*element));
	}
	return *kind != 0;
}

/* cauce.is_sealed_type(type): whether a type is a sealed one, a domain over one or an array of one. */
Datum
cauce_is_sealed_type(PG_FUNCTION_ARGS)
{
	SealedKind kind;
	Oid element;

	PG_RETURN_BOOL(SealedTypeOf(PG_GETARG_OID(0), &kind, &element));
}

/* HasSealedColumn looks into a row type. */
static bool
HasSealedColumn(Oid type)
{
	TupleDesc descriptor = lookup_rowtype_tupdesc(type, -1);
	bool found = false;

	for (int i = 0; i < descriptor->natts && !found; i++)
	{
		Form_pg_attribute column = TupleDescAttr(descriptor, i);

		found = !column->attisdropped && TypeHoldsSealed(column->atttypid);
	}
	ReleaseTupleDesc(descriptor);
	return found;
}

/* TypeHoldsSealed looks below domains, into arrays and into row types. */
bool
TypeHoldsSealed(Oid type)
{
	SealedKind kind;
	Oid element;
	Oid base;

	if (type < FirstNormalObjectId)
		return false;
	check_stack_depth();
	if (SealedTypeOf(type, &kind, &element))
		return true;
	if (OidIsValid(element))
		return TypeHoldsSealed(element);
	base = getBaseType(type);
	return get_typtype(base) == TYPTYPE_COMPOSITE && HasSealedColumn(base);
}

/*
 * MayHandInSealed tells whether the caller may hand in sealed values. It asks
 * for the role behind any SECURITY DEFINER function: an application must not be
 * able to pass a stolen value through one of ours.
 */
static bool
MayHandInSealed(void)
{
	Oid role = GetOuterUserId();
	Oid cauce_operator;

	if (InCustody())
		return false;
	if (IsLogicalWorker() || superuser_arg(role))
		return true;
	cauce_operator = get_role_oid("cauce_operator", true);
	return OidIsValid(cauce_operator) && has_privs_of_role(role, cauce_operator);
}

/* HasSealedPrefix tells text that looks like the form of a sealed value. */
static bool
HasSealedPrefix(const char *bytes, Size size)
{
	return size >= PREFIX_BYTES && memcmp(bytes, SealedPrefix, PREFIX_BYTES) == 0;
}

/* SealedFromForm decodes. */
Sealed *
SealedFromForm(SealedKind kind, const char *text, Size size)
{
	Size room;
	Sealed *sealed;
	int got;

	if (!HasSealedPrefix(text, size))
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("a sealed value is damaged"),
						errdetail("It does not begin with \"%s\".", SealedPrefix)));
	room = (size - PREFIX_BYTES) / 4 * 3 + 3; /* pg_b64_dec_len() overflows, too */
	sealed = palloc(VARHDRSZ + room);
	/* By major, bytes are of char or of uint8. */
	got = pg_b64_decode(text + PREFIX_BYTES, (int) (size - PREFIX_BYTES), (void *) VARDATA(sealed),
						(int) room);
	if (got < 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("a sealed value is damaged"),
						errdetail("What follows \"%s\" is not base64.", SealedPrefix),
						errhint("Only values that a dump or a replica holds begin so.")));
	SET_VARSIZE(sealed, VARHDRSZ + got);
	SealedCheckForm(sealed, kind != 0 ? kind : SealedKindOf(sealed));
	return sealed;
}

/* TakeSealedForm looks at the prefix, then at who is asking. */
Sealed *
TakeSealedForm(SealedKind kind, const char *bytes, Size size)
{
	if (!HasSealedPrefix(bytes, size) || !MayHandInSealed())
		return NULL;
	return SealedFromForm(kind, bytes, size);
}

/* SealText seals. */
Sealed *
SealText(SealedKind kind, const char *text, Size size)
{
	char *utf8 = pg_server_to_any(text, (int) size, PG_UTF8);
	Sealed *sealed;

	if (utf8 == text)
		return SealAtInput(kind, text, size);
	size = strlen(utf8);
	sealed = SealAtInput(kind, utf8, size);
	SecretWipe(utf8, size);
	pfree(utf8);
	return sealed;
}

/* TextFromUtf8 converts. */
char *
TextFromUtf8(char *utf8, Size utf8_size, Size *size)
{
	char *text = pg_any_to_server(utf8, (int) utf8_size, PG_UTF8);

	*size = utf8_size;
	if (text != utf8)
	{
		*size = strlen(text);
		SecretWipe(utf8, utf8_size);
		pfree(utf8);
	}
	return text;
}

/* DestroyedKey is what everyone gets who could otherwise open the value. */
static void
DestroyedKey(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED), errmsg("the key of a sealed value is not there"),
			 errdetail("It was destroyed with its session, its time has passed, or the value "
					   "is damaged."),
			 errhint("Nothing can open it in the first two cases; in the third, restore the "
					 "row from a backup.")));
}

/* SealedToForm encodes. */
char *
SealedToForm(const Sealed *sealed, Size *size)
{
	Size bytes = VARSIZE_ANY_EXHDR(sealed);
	Size room = (bytes + 2) / 3 * 4; /* pg_b64_enc_len() overflows from 512 MB on */
	char *text;
	int wrote;

	if (bytes > SEALED_MAX_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a sealed value is too long for its text form"),
				 errdetail("It has %zu bytes; the limit is %zu.", bytes, (Size) SEALED_MAX_BYTES),
				 errhint("Read it as its owner.")));
	text = palloc(PREFIX_BYTES + room + 1);
	memcpy(text, SealedPrefix, PREFIX_BYTES);
	wrote = pg_b64_encode((const void *) VARDATA_ANY(sealed), (int) bytes, text + PREFIX_BYTES,
						  (int) room);
	if (wrote < 0)
		elog(ERROR, "could not encode a sealed value");
	*size = PREFIX_BYTES + wrote;
	text[*size] = '\0';
	return text;
}

/* OpenToShow opens, or encodes. */
bool
OpenToShow(const Sealed *sealed, SealedKind kind, char **bytes, Size *size)
{
	switch (SealedOpen(sealed, kind, bytes, size))
	{
		case OPEN_OK:
			return true;
		case OPEN_DESTROYED:
			DestroyedKey();
			break;
		case OPEN_NO_IDENTITY:
		case OPEN_NOT_YOURS:
			if (InCustody())
				DestroyedKey(); /* an archive must hold content, never what looks like it */
			break;
	}
	*bytes = SealedToForm(sealed, size);
	return false;
}

/* RefuseToOpen raises. */
void
RefuseToOpen(OpenResult result)
{
	switch (result)
	{
		case OPEN_OK:
			break;
		case OPEN_NO_IDENTITY:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
					 errmsg("a sealed value cannot be opened without identity"),
					 InSecurityRestrictedOperation()
						 ? errdetail("No identity is in force while statistics, an index or a "
									 "materialized view is made.")
						 : errdetail("cauce.token is not set, and the login is no account."),
					 errhint("SELECT set_config('cauce.token', $1, true), or select the "
							 "column without a cast to "
							 "get its sealed form.")));
			break;
		case OPEN_NOT_YOURS:
			ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
							errmsg("permission denied to open a sealed value"),
							errdetail("It belongs to another account."),
							errhint("Select the column without a cast to get its sealed form.")));
			break;
		case OPEN_DESTROYED:
			DestroyedKey();
			break;
	}
}

/* OpenOrRaise opens. */
void
OpenOrRaise(const Sealed *sealed, SealedKind kind, char **bytes, Size *size)
{
	OpenResult result = SealedOpen(sealed, kind, bytes, size);

	if (result != OPEN_OK)
		RefuseToOpen(result);
}

/* WithholdInput marks the error that is being raised. */
void
WithholdInput(void *unused)
{
	(void) errdetail_log("It is about content, and kept out of the log.");
	(void) errhidestmt(true);
	(void) errhidecontext(true);
}
