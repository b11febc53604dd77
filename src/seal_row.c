/*
 * seal_row.c
 *		The BEFORE ROW trigger that binds every sealed column to its row.
 *
 *		cauce.seal_row()             the row belongs to its account
 *		cauce.seal_row('session_id') the row belongs to the session in that column
 *		cauce.seal_row('session_id', 'adopting')
 *									 so does it, but who may write is not cauce's to say yet
 *		cauce.seal_row('session_id', 'rebinding', schema, table, column, former column)
 *									 so does it, and what is bound to a former name is bound anew
 *
 * The table has a column account_id and a primary key. Every value of a sealed type,
 * in a column or in an array, is opened and sealed again under the account's or the
 * session's key, with a fresh nonce, bound to table, column and primary key, and in
 * an array to its place. A value that lies there already, bound so, is left alone.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "authority.h"
#include "binding.h"
#include "datakey.h"
#include "identity.h"
#include "row_shape.h"
#include "sealed_type.h"
#include "secret.h"
#include "session.h"

PG_FUNCTION_INFO_V1(cauce_seal_row);

/* Where values of a row lie: whose it is, and the fields that their bindings begin with. */
typedef struct Place
{
	const RowShape *shape;
	pg_uuid_t account;
	pg_uuid_t session;
	StringInfoData name;
	StringInfoData former; /* as it was before a renaming */
} Place;

/* ShapeOf describes the trigger's table, once for as long as it stays as it is. */
static RowShape *
ShapeOf(FunctionCallInfo fcinfo, const TriggerData *trigger)
{
	RowShape *shape = fcinfo->flinfo->fn_extra;
	Relation relation = trigger->tg_relation;

	if (shape != NULL && shape->relation == RelationGetRelid(relation) &&
		shape->columns == RelationGetDescr(relation)->natts)
		return shape;
	shape = RowShapeMake(relation, trigger->tg_trigger, fcinfo->flinfo->fn_mcxt);
	fcinfo->flinfo->fn_extra = shape;
	return shape;
}

/* KeyFor finds the key of the row's account or session; one that was never needed before is made. */
static const DataKey *
KeyFor(const RowShape *shape, const pg_uuid_t *account, const pg_uuid_t *session)
{
	const DataKey *key;

	if (shape->session == 0)
		return DataKeyForAccount(account);
	key = DataKeyForSession(account, session);
	if (key == NULL && SessionMakeKey(account, session))
		key = DataKeyForSession(account, session);
	if (key == NULL)
	{
		const Identity *who = CurrentIdentity();

		if (who != NULL && who->scope == SCOPE_STREAM)
			AuthorityRefuseSession();
	}
	return key;
}

/*
 * LiesThere tells whether a value is bound to its place already. Its header tells, so
 * of a long value only the first bytes are fetched: most UPDATEs leave it alone.
 */
static bool
LiesThere(const Place *place, SealedKind kind, Datum value, const uint8 *binding)
{
	Sealed *head;
	const DataKey *key;

	if (VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(value)))
		head = (Sealed *) PG_DETOAST_DATUM_SLICE(value, 0, SEALED_MIN_BYTES);
	else
		head = (Sealed *) PG_DETOAST_DATUM_PACKED(value);
	SealedCheckForm(head, kind);
	if (AuthorityIsLoading() && SealedIsBoundTo(head, binding))
		return true; /* a dump's row, whose key may come after it */
	key = KeyFor(place->shape, &place->account, &place->session);
	return key != NULL && SealedIsBound(head, &key->id, key->generation, binding);
}

/* WasRenamed tells whether a value is bound to its place as it was called before a renaming. */
static bool
WasRenamed(Place *place, const Sealed *sealed, const char *former_last)
{
	uint8 former[SEALED_BINDING_BYTES];

	if (place->shape->former == NULL)
		return false;
	BindingOf(&place->former, former_last, former);
	return SealedIsBoundTo(sealed, former);
}

/*
 * Reseal opens a value and seals it for its place, whose binding ends with the field
 * last; unchanged when it lies there already. What was bound to this very place under
 * a former name cauce itself opens.
 */
static Datum
Reseal(Place *place, SealedKind kind, Datum value, const char *last, const char *former_last)
{
	uint8 binding[SEALED_BINDING_BYTES];
	Sealed *sealed;
	bool was_renamed;
	Sealed *fresh;
	uint8 form;
	char *bytes = NULL;
	Size size = 0;

	BindingOf(&place->name, last, binding);
	if (LiesThere(place, kind, value, binding))
		return value;
	sealed = (Sealed *) PG_DETOAST_DATUM_PACKED(value);
	was_renamed = WasRenamed(place, sealed, former_last);
	if (was_renamed)
		CustodyBegin(&place->account, &place->session);
	if (SealedOpenToReseal(sealed, kind, &place->account, &form, &bytes, &size) != OPEN_OK)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied to move a sealed value"),
						errdetail("It is sealed for another row, and the identity in force cannot "
								  "open it."),
						errhint("Copy it as its owner.")));
	if (was_renamed)
		CustodyEnd();
	fresh = place->shape->session != 0
				? SealForSession(form, bytes, size, &place->account, &place->session, binding)
				: SealForAccount(form, bytes, size, &place->account, binding);
	SecretWipe(bytes, size);
	pfree(bytes);
	return PointerGetDatum(fresh);
}

/* ResealArray does so with every element, bound to its place; the array unchanged when all lie there already. */
static Datum
ResealArray(Place *place, const SealedColumn *column, Datum value)
{
	ArrayType *array = DatumGetArrayTypeP(value);
	Datum *elements;
	bool *nulls;
	int count;
	bool changed = false;

	deconstruct_array(array, column->element, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		char at[12];
		Datum fresh;

		if (nulls[i])
			continue;
		pg_ltoa(i + 1, at);
		fresh = Reseal(place, column->kind, elements[i], at, at);
		changed = changed || fresh != elements[i];
		elements[i] = fresh;
	}
	if (!changed)
		return value;
	array = construct_md_array(elements, nulls, ARR_NDIM(array), ARR_DIMS(array), ARR_LBOUND(array),
							   column->element, -1, false, TYPALIGN_INT);
	return PointerGetDatum(array);
}

/* ResealColumn seals what one column of the row holds for its place. */
static Datum
ResealColumn(Place *place, const SealedColumn *column, const char *name, Datum value)
{
	const char *former_name =
		place->shape->former != NULL ? RowFormerColumn(place->shape, name) : name;
	int size = place->name.len;
	int former_size = place->former.len;

	if (!OidIsValid(column->element))
		return Reseal(place, column->kind, value, name, former_name);
	RowNameAdd(&place->name, name);
	RowNameAdd(&place->former, former_name);
	value = ResealArray(place, column, value);
	place->name.len = size;
	place->former.len = former_size;
	return value;
}

/* cauce.seal_row(): the trigger. */
Datum
cauce_seal_row(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Relation relation;
	TupleDesc descriptor;
	RowShape *shape;
	HeapTuple row;
	Place place;
	bool isnull;
	Datum value;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) || TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("seal_row is a trigger BEFORE INSERT OR UPDATE FOR EACH ROW")));
	relation = trigger->tg_relation;
	descriptor = RelationGetDescr(relation);
	shape = ShapeOf(fcinfo, trigger);
	row = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;

	place.shape = shape;
	if (!RowOwner(shape, relation, row, &place.account, &place.session))
	{
		if (!IdentityInForce() && !shape->is_adopting)
			AuthorityToWrite(&place.session, NULL);
		return PointerGetDatum(row); /* the column's NOT NULL says it best */
	}
	if (!shape->is_adopting)
		AuthorityToWrite(&place.account, shape->session != 0 ? &place.session : NULL);

	initStringInfo(&place.name);
	initStringInfo(&place.former);
	RowName(&place.name, shape, relation, row);
	if (shape->former != NULL)
		RowFormerName(&place.former, shape, relation, row);
	for (int i = 0; i < shape->sealed_count; i++)
	{
		const SealedColumn *column = &shape->sealed[i];
		int number = column->number;
		Datum fresh;
		bool no = false;

		value = heap_getattr(row, number, descriptor, &isnull);
		if (isnull)
			continue;
		fresh = ResealColumn(&place, column, RowColumn(shape, relation, number), value);
		if (fresh != value)
			row = heap_modify_tuple_by_cols(row, descriptor, 1, &number, &fresh, &no);
	}
	pfree(place.name.data);
	pfree(place.former.data);
	return PointerGetDatum(row);
}
