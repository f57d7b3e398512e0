/* Databases and tables out of a whole cluster: a scratch server that has them as they were is dumped, and the dump restored by the
 * logical method, beside the live database, compared, and swapped in on demand. */
#ifndef PK_SURFACE_PGPHYS_EXTRACT_H
#define PK_SURFACE_PGPHYS_EXTRACT_H

#include "surface/surface.h"

/* As surface_driver.plan of the logical method, with the physical backup's facts and what q->include names: "db/NAME", "db/NAME/SCHEMA.TABLE",
 * or "SCHEMA.TABLE" where the cluster has one database besides its own. Asks the live server. ERR_USAGE. */
int pgphys_extract_plan(const struct surface_context *ctx, const struct restore_request *q, json_t **ret, struct error *err) PK_CHECK;
/* q as for the plan; scratch: connection facts of the server. All of each database that is named is dumped, into its folder. What
 * the dump found is compared with what was restored of it, as always. ERR_NO_POINT when there is no such database. */
int pgphys_extract(const struct surface_context *ctx, const json_t *scratch, const struct restore_request *q,
                   struct restore_result *ret, struct error *err) PK_CHECK;

#endif
