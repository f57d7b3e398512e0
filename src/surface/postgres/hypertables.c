/* TimescaleDB: tables that are made of chunks. Its catalogue is stable in what is asked of it here from 2.0 on. */
#include "surface/postgres/postgres_internal.h"

#include "base/seam.h"
#include <stdlib.h>

static int installed(PGconn *c, bool *ret, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc = pg_query(c, &r, err, "SELECT FROM pg_catalog.pg_extension WHERE extname = 'timescaledb'", 0, NULL);
    if (rc == 0) *ret = PQntuples(r) == 1;
    return rc;
}

int pg_hypertables(PGconn *c, json_t **ret, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    bool there = false;
    *ret = NULL;
    int rc = installed(c, &there, err);
    if (rc < 0 || !there) return rc;
    /* What the catalogue says, and what a query of the table would read. */
    rc = pg_query(c, &r, err,
                  "SELECT pg_catalog.format('%I.%I', h.schema_name, h.table_name),"
                  " (SELECT count(*) FROM _timescaledb_catalog.chunk k WHERE k.hypertable_id = h.id AND NOT k.dropped),"
                  " (SELECT count(*) FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class p ON p.oid = i.inhparent"
                  "  JOIN pg_catalog.pg_namespace n ON n.oid = p.relnamespace WHERE n.nspname = h.schema_name AND "
                  "p.relname = h.table_name)"
                  " FROM _timescaledb_catalog.hypertable h ORDER BY 1",
                  0, NULL);
    if (rc < 0) return error_wrap(err, "ask TimescaleDB for its tables");
    json_t *out = json_object();
    if (!out) return error_set(err, ERR_NO_MEMORY, "no memory");
    for (int i = 0; rc == 0 && i < PQntuples(r); i++)
        rc = pg_json_put(out, BYTES_STR(pg_value(r, i, 0)),
                         json_pack("{s:I, s:I}", "chunks", (json_int_t)strtoll(pg_value(r, i, 1), NULL, 10), "attached",
                                   (json_int_t)strtoll(pg_value(r, i, 2), NULL, 10)),
                         err);
    if (rc < 0)
        json_decref(out);
    else
        *ret = out;
    return rc;
}

int pg_hypertables_put(PGconn *c, const char *database, json_t *invariants, struct error *err) {
    json_t *value = NULL;
    int rc = pg_hypertables(c, &value, err);
    if (rc < 0 || !value) return rc;
    json_t *both = json_pack("{s:o, s:s}", "value", value, "expect", "equal");
    return both ? pg_key_put(invariants, database, BYTES_STR("hypertables"), both, err)
                : error_set(err, ERR_NO_MEMORY, "no memory");
}

int pg_restoring_check(PGconn *c, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc = pg_query(
        c, &r, err,
        "SELECT d.datname FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase"
        " WHERE 'timescaledb.restoring=on' = ANY (s.setconfig) ORDER BY 1",
        0, NULL);
    if (rc < 0 || PQntuples(r) == 0) return rc;
    error_set(err, ERR_PG_RESTORING,
              "the database %s is in TimescaleDB's restoring mode: a restore into it runs, or broke off",
              pg_value(r, 0, 0));
    return error_next(err, "When no restore runs, drop it: it is not whole.");
}
