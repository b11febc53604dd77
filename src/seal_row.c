/*
 * seal_row.c
 *		The BEFORE ROW trigger that binds every sealed column to its row.
 *
 *		cauce.seal_row()             the row belongs to its account
 *		cauce.seal_row('session_id') the row belongs to the session in that column
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

/* Reseal opens a value and seals it for its place; unchanged when it lies there already. */
static Datum
Reseal(const RowShape *shape, SealedKind kind, Datum value, const pg_uuid_t *account,
	   const pg_uuid_t *session, const uint8 *binding)
{
	Sealed *sealed = (Sealed *) PG_DETOAST_DATUM_PACKED(value);
	const DataKey *key;
	Sealed *fresh;
	uint8 form;
	char *bytes = NULL;
	Size size = 0;

	SealedCheckForm(sealed, kind);
	if (AuthorityIsLoading() && SealedIsBoundTo(sealed, binding))
		return value; /* a dump's row, whose key may come after it */
	key = KeyFor(shape, account, session);
	if (key != NULL && SealedIsBound(sealed, &key->id, key->generation, binding))
		return value;
	if (SealedOpenToReseal(sealed, kind, account, &form, &bytes, &size) != OPEN_OK)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied to move a sealed value"),
						errdetail("It is sealed for another row, and the identity in force cannot "
								  "open it."),
						errhint("Copy it as its owner.")));
	fresh = shape->session != 0 ? SealForSession(form, bytes, size, account, session, binding)
								: SealForAccount(form, bytes, size, account, binding);
	SecretWipe(bytes, size);
	pfree(bytes);
	return PointerGetDatum(fresh);
}

/* ResealArray does so with every element, bound to its place; the array unchanged when all lie there already. */
static Datum
ResealArray(const RowShape *shape, const SealedColumn *column, Datum value,
			const pg_uuid_t *account, const pg_uuid_t *session, StringInfo column_name)
{
	ArrayType *array = DatumGetArrayTypeP(value);
	Datum *elements;
	bool *nulls;
	int count;
	bool changed = false;

	deconstruct_array(array, column->element, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		uint8 binding[SEALED_BINDING_BYTES];
		char place[12];
		Datum fresh;

		if (nulls[i])
			continue;
		pg_ltoa(i + 1, place);
		BindingOf(column_name, place, binding);
		fresh = Reseal(shape, column->kind, elements[i], account, session, binding);
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
ResealColumn(const RowShape *shape, const SealedColumn *column, const char *name, Datum value,
			 const pg_uuid_t *account, const pg_uuid_t *session, StringInfo row_name)
{
	uint8 binding[SEALED_BINDING_BYTES];
	int row_size = row_name->len;

	if (!OidIsValid(column->element))
	{
		BindingOf(row_name, name, binding);
		return Reseal(shape, column->kind, value, account, session, binding);
	}
	RowNameAdd(row_name, name);
	value = ResealArray(shape, column, value, account, session, row_name);
	row_name->len = row_size;
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
	StringInfoData row_name;
	pg_uuid_t account;
	pg_uuid_t session = {{0}};
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

	value = heap_getattr(row, shape->account, descriptor, &isnull);
	if (!isnull)
		account = *DatumGetUUIDP(value);
	if (!isnull && shape->session != 0)
	{
		value = heap_getattr(row, shape->session, descriptor, &isnull);
		if (!isnull)
			session = *DatumGetUUIDP(value);
	}
	if (isnull)
	{
		if (!TokenInForce())
			AuthorityToWrite(&session, NULL);
		return PointerGetDatum(row); /* the column's NOT NULL says it best */
	}
	AuthorityToWrite(&account, shape->session != 0 ? &session : NULL);

	initStringInfo(&row_name);
	RowName(&row_name, shape, relation, row);
	for (int i = 0; i < shape->sealed_count; i++)
	{
		const SealedColumn *column = &shape->sealed[i];
		int number = column->number;
		Datum fresh;
		bool no = false;

		value = heap_getattr(row, number, descriptor, &isnull);
		if (isnull)
			continue;
		fresh = ResealColumn(shape, column, NameStr(TupleDescAttr(descriptor, number - 1)->attname),
							 value, &account, &session, &row_name);
		if (fresh != value)
			row = heap_modify_tuple_by_cols(row, descriptor, 1, &number, &fresh, &no);
	}
	pfree(row_name.data);
	return PointerGetDatum(row);
}
