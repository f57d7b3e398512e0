#include "surface/pgphys/receive_internal.h"

#include "base/seam.h"
#include "base/time.h"
#include <stdlib.h>

int pgphys_wal_written(const struct surface_context *ctx, struct wal_written *ret, struct error *err) {
    CLEANUP(pg_settings_freep) struct pg_settings *s = NULL;
    CLEANUP(pg_finishp) PGconn *c = NULL;
    CLEANUP(pg_clearp) PGresult *r = NULL;
    struct wal_written w = {0};
    struct wal_name n;
    int rc = pg_settings_load(ctx, NULL, &s, err);
    if (rc == 0) rc = pg_connect(s, NULL, &c, err);
    if (rc == 0) rc = pg_command(c, err, "SET statement_timeout = '15s'");
    if (rc == 0)
        rc = pg_query(
            c, &r, err,
            "SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system()), l IS NULL, l,"
            " CASE WHEN l IS NOT NULL THEN pg_catalog.pg_walfile_name(l) END,"
            " (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'archive_timeout'),"
            " extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.pg_postmaster_start_time())::bigint,"
            " (SELECT checkpoint_lsn FROM pg_catalog.pg_control_checkpoint())"
            " FROM (SELECT CASE WHEN NOT pg_catalog.pg_is_in_recovery()"
            " THEN pg_catalog.pg_current_wal_flush_lsn() END AS l OFFSET 0) w",
            0, NULL);
    if (rc < 0) return rc;
    w.system = strtoull(pg_value(r, 0, 0), NULL, 10);
    w.standby = pg_true(r, 0, 1);
    w.timeout_ns = strtoll(pg_value(r, 0, 4), NULL, 10) * NS_PER_S;
    /* It counts from the start, and says nothing of what was written before it. */
    if (strtoll(pg_value(r, 0, 5), NULL, 10) * NS_PER_S <= w.timeout_ns) w.timeout_ns = 0;
    if (!w.standby) {
        if (!wal_lsn_parse(pg_value(r, 0, 2), &w.lsn) || !wal_lsn_parse(pg_value(r, 0, 6), &w.checkpoint))
            return error_set(err, ERR_PG_QUERY, "the server's place in its WAL is '%s', its checkpoint's '%s'",
                             pg_value(r, 0, 2), pg_value(r, 0, 6));
        if ((rc = wal_name_parse(pg_value(r, 0, 3), &n, err)) < 0) return rc;
        w.timeline = n.timeline;
    }
    *ret = w;
    return 0;
}
