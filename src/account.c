/*
 * account.c
 *		The trigger that gives every account its key.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "commands/trigger.h"
#include "utils/rel.h"
#include "utils/lsyscache.h"

#include "datakey.h"

PG_FUNCTION_INFO_V1(cauce_keep_account);

/* cauce.keep_account(), BEFORE INSERT FOR EACH ROW: makes the account's key. */
Datum
cauce_keep_account(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	bool isnull;
	Datum id;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("keep_account is a trigger BEFORE INSERT FOR EACH ROW")));
	id = heap_getattr(trigger->tg_trigtuple,
					  get_attnum(RelationGetRelid(trigger->tg_relation), "id"),
					  RelationGetDescr(trigger->tg_relation), &isnull);
	if (!isnull)
		(void) DataKeyCreate(DatumGetUUIDP(id), NULL, NULL, 0);
	return PointerGetDatum(trigger->tg_trigtuple);
}
