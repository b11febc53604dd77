/*
 * binding.h
 *		Where a sealed value belongs: table, primary key, column.
 *
 * A binding is the first 16 bytes of SHA-256 over a list of fields, each behind
 * its length: schema, table, the primary key's values in the key's order as
 * text, column. For a partition, schema and table are those of the root.
 */
#ifndef CAUCE_BINDING_H
#define CAUCE_BINDING_H

#include "lib/stringinfo.h"
#include "utils/uuid.h"

/* RowNameAdd adds one field to the list. */
extern void RowNameAdd(StringInfo row_name, const char *field);

/* RowNameAddUuid adds the canonical text of a UUID, as uuid_out gives it. */
extern void RowNameAddUuid(StringInfo row_name, const pg_uuid_t *uuid);

/* BindingOf computes the 16-byte binding of one column of the row; row_name stays as it was. */
extern void BindingOf(StringInfo row_name, const char *column, uint8 *binding);

#endif
