/*
 * bundle.h
 *		Taking a session's rows out of cauce's tables, as the JSON of a bundle (docs/format.md).
 */
#ifndef CAUCE_BUNDLE_H
#define CAUCE_BUNDLE_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/uuid.h"

/* What a bundle says of its format; those of version 1 have no rows of protected tables. */
#define BUNDLE_VERSION "2"
#define BUNDLE_VERSIONS "1, 2"

/* What an archive's row repeats of the session's. */
typedef struct TakenSession
{
	bool has_organization;
	pg_uuid_t organization;
	TimestampTz started_at;
} TakenSession;

/*
 * BundleMay tells whether BundleTake can be used: nobody else watches the tables (QuietMay), and all
 * of their columns are of types that it knows.
 */
extern bool BundleMay(List *protected);

/*
 * BundleTake deletes a session, whose row the transaction has locked, and what hangs on it in cauce's own tables, and
 * gives the bundle's JSON of just these rows and of rows, the JSON of those taken out of protected tables; NULL
 * where there is no such session. The caller has custody. Raises 55006 under legal hold.
 */
extern char *BundleTake(const pg_uuid_t *account, const pg_uuid_t *session, const char *rows,
						TakenSession *taken, Size *size);

#endif
