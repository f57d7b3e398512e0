#include "surface/pgphys/receive_internal.h"

#include "base/seam.h"

int pgphys_wal_switch(const struct surface_context *ctx, bool *ret_switched, struct wal_name *ret, struct error *err) {
    CLEANUP(pg_settings_freep) struct pg_settings *s = NULL;
    CLEANUP(pg_finishp) PGconn *c = NULL;
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc = pg_settings_load(ctx, NULL, &s, err);
    if (rc == 0) rc = pg_connect(s, NULL, &c, err);
    /* At the very beginning of a segment the server does nothing, and answers that place. */
    if (rc == 0)
        rc = pg_query(
            c, &r, err,
            "SELECT pg_catalog.pg_walfile_name(l), (SELECT file_offset FROM pg_catalog.pg_walfile_name_offset(l))"
            " FROM pg_catalog.pg_switch_wal() l",
            0, NULL);
    if (rc < 0) return rc;
    bool switched = strcmp(pg_value(r, 0, 1), "0") != 0;
    if (switched && (rc = wal_name_parse(pg_value(r, 0, 0), ret, err)) < 0) return rc;
    *ret_switched = switched;
    return 0;
}
