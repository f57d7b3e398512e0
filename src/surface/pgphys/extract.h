/* Databases and tables out of a whole cluster: a scratch server that has them as they were is dumped, and the dump restored by the
 * logical method, beside the live database, compared, and swapped in on demand. */
#ifndef PK_SURFACE_PGPHYS_EXTRACT_H
#define PK_SURFACE_PGPHYS_EXTRACT_H

#include "surface/surface.h"

/* As surface_driver.plan of the logical method, with the physical backup's facts and what q->include names: "db/NAME", "db/NAME/SCHEMA.TABLE",
 * or "SCHEMA.TABLE" where the cluster has one database besides its own. Asks the live server. ERR_USAGE. */
int pgphys_extract_plan(const struct surface_context *ctx, const struct restore_request *q, json_t **ret, struct error *err) PK_CHECK;
/* q as for the plan; scratch: connection facts of the server. Of each database that is named the definitions are
 * dumped, into its folder, and the rows of the tables that are restored (extract_narrow.c). What the dump found is
 * compared with what was restored of it, as always. ERR_NO_POINT when there is no such database. */
int pgphys_extract(const struct surface_context *ctx, const json_t *scratch, const struct restore_request *q,
                   struct restore_result *ret, struct error *err) PK_CHECK;

/* ---- extract_narrow.c ---- */
/* Puts into `settings`, which lead to that server, the arguments that keep pg_dump from rows of tables which the
 * request does not restore. Which those are, a dump of definitions alone says, into `path`, that is there and empty,
 * and is emptied. Nothing for a database that is restored as a whole, or of which something is asked for that
 * definitions do not name. */
int pgphys_extract_narrow(const struct surface_context *ctx, const struct restore_request *q, const char *path,
                          json_t *settings, struct error *err) PK_CHECK;

#endif
