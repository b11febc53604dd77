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
 * The table has a column account_id and a primary key. Every column of type
 * cauce.encrypted_text is opened and sealed again under the account's or the
 * session's key, with a fresh nonce, bound to table, column and primary key.
 * A value that lies there already, bound so, is left alone.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "authority.h"
#include "binding.h"
#include "datakey.h"
#include "identity.h"
#include "row_shape.h"
#include "sealed.h"
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

/*
 * Reseal opens a value and seals it for its place; unchanged when it lies there already.
 * What was bound to this very place under its former name (NULL: none) cauce itself opens.
 */
static Datum
Reseal(RowShape *shape, Datum value, const pg_uuid_t *account, const pg_uuid_t *session,
	   const uint8 *binding, const uint8 *former)
{
	bool renamed;
	Sealed *sealed = (Sealed *) PG_DETOAST_DATUM_PACKED(value);
	const DataKey *key;
	Sealed *fresh;
	char *bytes = NULL;
	Size size = 0;

	SealedCheckForm(sealed, SEALED_TEXT);
	if (AuthorityIsLoading() && SealedIsBoundTo(sealed, binding))
		return value; /* a dump's row, whose key may come after it */
	key = KeyFor(shape, account, session);
	if (key != NULL && SealedIsBound(sealed, &key->id, key->generation, binding))
		return value;
	renamed = former != NULL && SealedIsBoundTo(sealed, former);
	if (renamed)
		CustodyBegin(account, session);
	if (SealedOpenToReseal(sealed, SEALED_TEXT, account, &bytes, &size) != OPEN_OK)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied to move a sealed value"),
						errdetail("It is sealed for another row, and the identity in force cannot "
								  "open it."),
						errhint("Copy it as its owner.")));
	if (renamed)
		CustodyEnd();
	fresh = shape->session != 0
				? SealForSession(SEALED_TEXT, bytes, size, account, session, binding)
				: SealForAccount(SEALED_TEXT, bytes, size, account, binding);
	SecretWipe(bytes, size);
	pfree(bytes);
	return PointerGetDatum(fresh);
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

	if (!RowOwner(shape, relation, row, &account, &session))
	{
		if (!TokenInForce() && !shape->is_adopting)
			AuthorityToWrite(&session, NULL);
		return PointerGetDatum(row); /* the column's NOT NULL says it best */
	}
	if (!shape->is_adopting)
		AuthorityToWrite(&account, shape->session != 0 ? &session : NULL);

	initStringInfo(&row_name);
	RowName(&row_name, shape, relation, row);
	for (int i = 0; i < shape->sealed_count; i++)
	{
		int column = shape->sealed[i];
		uint8 binding[SEALED_BINDING_BYTES];
		uint8 former[SEALED_BINDING_BYTES];
		Datum fresh;
		bool no = false;

		value = heap_getattr(row, column, descriptor, &isnull);
		if (isnull)
			continue;
		BindingOf(&row_name, RowColumn(shape, relation, column), binding);
		if (shape->former != NULL)
			RowFormerBinding(shape, relation, row, column, former);
		fresh = Reseal(shape, value, &account, &session, binding,
					   shape->former != NULL ? former : NULL);
		if (fresh != value)
			row = heap_modify_tuple_by_cols(row, descriptor, 1, &column, &fresh, &no);
	}
	pfree(row_name.data);
	return PointerGetDatum(row);
}
