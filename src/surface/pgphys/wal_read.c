#include "surface/pgphys/receive_internal.h"

#include "base/seam.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CHUNK_BYTES (4u << 20)

/* What the server writes to now, and whatever it keeps ready for later, is no finished segment. */
static int finished(const struct wal_name *n, const PGresult *r, struct error *err) {
    char name[WAL_NAME_BYTES];
    struct wal_name now;
    uint64_t flushed;
    long bytes = strtol(pg_value(r, 0, 3), NULL, 10);
    wal_name_format(n, name);
    if (!*pg_value(r, 0, 1))
        return error_set(err, ERR_PG_WAL, "the server is in recovery: what its pg_wal has may not be whole");
    int rc = wal_name_parse(pg_value(r, 0, 1), &now, err);
    if (rc < 0) return rc;
    if (bytes < (long)WAL_SEGMENT_MIN || bytes > (long)WAL_SEGMENT_MAX || !wal_lsn_parse(pg_value(r, 0, 2), &flushed))
        return error_set(err, ERR_PG_QUERY, "the server does not say where its WAL ends");
    if (n->timeline < now.timeline ||
        (n->timeline == now.timeline && wal_name_lsn(n, (uint32_t)bytes) + (uint64_t)bytes <= flushed))
        return 0;
    return error_set(err, ERR_PG_WAL, "the server has not finished %s: it is at %s", name, pg_value(r, 0, 2));
}

static int chunk(PGconn *c, const char *name, uint64_t at, struct buf *ret, bool *ret_end, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    char from[24], length[24];
    snprintf(from, sizeof from, "%" PRIu64, at);
    snprintf(length, sizeof length, "%u", CHUNK_BYTES);
    const char *params[] = {name, from, length};
    int rc = pg_query(
        c, &r, err,
        "SELECT pg_catalog.encode(pg_catalog.pg_read_binary_file('pg_wal/' || $1, $2::bigint, $3::bigint, true),"
        " 'hex')",
        3, params);
    if (rc < 0) return rc;
    if (PQgetisnull(r, 0, 0)) return error_set(err, ERR_WAL_ABSENT, "%s is not in the server's pg_wal", name);
    const char *hex = PQgetvalue(r, 0, 0);
    size_t n = strlen(hex) / 2;
    *ret_end = n < CHUNK_BYTES;
    rc = buf_reserve(ret, n, err);
    if (rc == 0 && n && !hex_decode(hex, strlen(hex), ret->ptr + ret->len, n))
        rc = error_set(err, ERR_PG_QUERY, "the server did not answer with bytes");
    if (rc == 0) ret->len += n;
    return rc;
}

int pgphys_wal_read(const struct surface_context *ctx, uint64_t system, const struct wal_name *n, struct buf *ret,
                    struct error *err) {
    CLEANUP(pg_settings_freep) struct pg_settings *s = NULL;
    CLEANUP(pg_finishp) PGconn *c = NULL;
    CLEANUP(pg_clearp) PGresult *r = NULL;
    char name[WAL_NAME_BYTES], want[24];
    size_t start = ret->len;
    bool end = false;
    wal_name_format(n, name);
    snprintf(want, sizeof want, "%" PRIu64, system);
    int rc = pg_settings_load(ctx, NULL, &s, err);
    if (rc == 0) rc = pg_connect(s, NULL, &c, err);
    if (rc == 0)
        rc = pg_query(
            c, &r, err,
            "SELECT system_identifier::text, CASE WHEN pg_catalog.pg_is_in_recovery() THEN ''"
            " ELSE pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_flush_lsn()) END,"
            " CASE WHEN pg_catalog.pg_is_in_recovery() THEN '' ELSE pg_catalog.pg_current_wal_flush_lsn()::text END,"
            " (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'wal_segment_size')"
            " FROM pg_catalog.pg_control_system()",
            0, NULL);
    if (rc == 0 && strcmp(pg_value(r, 0, 0), want) != 0)
        rc = error_set(err, ERR_RECEIVE_SYSTEM, "the server is the cluster %s, and the WAL is of %s", pg_value(r, 0, 0),
                       want);
    if (rc == 0 && n->kind == WAL_SEGMENT) rc = finished(n, r, err);
    while (rc == 0 && !end) rc = chunk(c, name, ret->len - start, ret, &end, err);
    if (rc < 0) ret->len = start;
    return rc;
}
