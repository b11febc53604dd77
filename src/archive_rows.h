/*
 * archive_rows.h
 *		Rows of protected tables in a bundle.
 *
 * They are in it as they are stored: sealed values as their sealed form, the rest as text.
 * docs/format.md has the shape. All of it is inside of an SpiScope, and out of custody: code of
 * the tables' owners may run, and nothing opens for it.
 */
#ifndef CAUCE_ARCHIVE_ROWS_H
#define CAUCE_ARCHIVE_ROWS_H

#include "utils/uuid.h"

/*
 * ArchiveRowsTake takes a session's rows out of every protected table and gives them as a JSON
 * array; the session is locked. Raises 0A000 when rows of a table that is not protected hang on
 * the session, 55000 while a table that has rows of it is being adopted, 09000 when a trigger
 * keeps rows.
 */
extern char *ArchiveRowsTake(const pg_uuid_t *account, const pg_uuid_t *session);

/*
 * ArchiveRowsPut puts back the rows that a bundle, a text Datum, holds; since is when it was made. Raises
 * 55000 for a table that is not protected any more, 42703 for a column that is not there, 42804 for one
 * that is not sealed any more, 23503 when rows refer to what is gone.
 */
extern void ArchiveRowsPut(Datum bundle, const pg_uuid_t *account, const pg_uuid_t *session,
						   Datum since);

/*
 * ArchiveRowsShow gives the rows that a bundle, a text Datum, holds as a JSON object, opened for
 * whoever is asking (28000, 42501): an array for each table, its rows as objects.
 */
extern char *ArchiveRowsShow(Datum bundle);

#endif
