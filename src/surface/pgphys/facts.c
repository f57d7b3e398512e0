#include "surface/pgphys/pgphys.h"

#include "base/seam.h"
#include <stdio.h>
#include <stdlib.h>

static int put_text(json_t *o, const char *key, const char *text, struct error *err) {
    json_t *j = json_string(text);
    return json_put(o, key, j ? j : json_name(BYTES_STR(text)), err);
}

/* Settings that are numbers are kept as numbers. */
static int put_settings(PGconn *c, json_t *facts, const char *key, const char *const *names, struct error *err) {
    json_t *o = json_object();
    int r = o ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    for (size_t i = 0; r == 0 && names[i]; i++) {
        CLEANUP(pg_clearp) PGresult *q = NULL;
        const char *params[] = {names[i]};
        r = pg_query(c, &q, err, "SELECT setting, vartype FROM pg_catalog.pg_settings WHERE name = $1", 1, params);
        if (r < 0 || PQntuples(q) != 1) continue;
        if (!strcmp(pg_value(q, 0, 1), "integer"))
            r = json_put_int(o, names[i], strtoll(pg_value(q, 0, 0), NULL, 10), err);
        else
            r = put_text(o, names[i], pg_value(q, 0, 0), err);
    }
    if (r < 0) {
        json_decref(o);
        return r;
    }
    return json_put(facts, key, o, err);
}

/* Each row as an object of texts, by the names of its columns; nulls are left out. */
static int put_rows(PGconn *c, json_t *facts, const char *key, const char *sql, bool optional, struct error *err) {
    CLEANUP(pg_clearp) PGresult *q = NULL;
    struct error refused = ERROR_INIT;
    json_t *list = json_array();
    int r = list ? pg_query(c, &q, &refused, sql, 0, NULL) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r < 0 && refused.code) {
        if (!optional || PQstatus(c) != CONNECTION_OK)
            r = error_set(err, refused.code, "%s", refused.text);
        else
            r = 0;
    }
    for (int row = 0; r == 0 && q && row < PQntuples(q); row++) {
        json_t *o = json_object();
        if (!o) r = error_set(err, ERR_NO_MEMORY, "no memory");
        for (int col = 0; r == 0 && col < PQnfields(q); col++)
            if (!PQgetisnull(q, row, col)) r = put_text(o, PQfname(q, col), pg_value(q, row, col), err);
        if (r == 0)
            r = json_push(list, o, err);
        else
            json_decref(o);
    }
    if (r < 0 || !q) {
        json_decref(list);
        return r;
    }
    return json_put(facts, key, list, err);
}

/* Locales and their versions: another version of the library may sort otherwise, and indexes on text are then wrong.
 * The columns have changed names from version to version. */
static int put_databases(PGconn *c, json_t *facts, struct error *err) {
    int major = PQserverVersion(c) / 10000;
    char sql[1024];
    snprintf(sql, sizeof sql,
             "SELECT datname AS name, oid, pg_catalog.pg_encoding_to_char(encoding) AS encoding, datcollate AS collate,"
             " datctype AS ctype, datlocprovider AS locale_provider, %s AS locale, datcollversion AS collation_version,"
             " pg_catalog.pg_database_collation_actual_version(oid) AS collation_version_now,"
             " CASE WHEN datallowconn THEN 'true' ELSE 'false' END AS allow_connections"
             " FROM pg_catalog.pg_database ORDER BY datname COLLATE \"C\"",
             major >= 17 ? "datlocale" : "daticulocale");
    int r = put_rows(c, facts, "databases", sql, false, err);
    if (r == 0)
        r = put_rows(c, facts, "collation_versions",
                     "SELECT collprovider AS provider, collversion AS version, count(*)::text AS collations"
                     " FROM pg_catalog.pg_collation WHERE collversion IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2",
                     false, err);
    return r;
}

static int put_tablespaces(PGconn *c, json_t *facts, struct error *err) {
    return put_rows(c, facts, "tablespaces",
                    "SELECT spcname AS name, oid, NULLIF(pg_catalog.pg_tablespace_location(oid), '') AS location"
                    " FROM pg_catalog.pg_tablespace WHERE oid NOT IN (1663, 1664) ORDER BY oid",
                    false, err);
}

/* Files of the configuration that the data folder does not have. Debian keeps all three elsewhere. */
static int put_outside(PGconn *c, json_t *facts, struct error *err) {
    static const char sql[] =
        "WITH f (path) AS ("
        " SELECT setting FROM pg_catalog.pg_settings WHERE name IN ('config_file', 'hba_file', 'ident_file')"
        " UNION SELECT sourcefile FROM pg_catalog.pg_file_settings"
        " UNION SELECT sourcefile FROM pg_catalog.pg_settings WHERE sourcefile IS NOT NULL)"
        " SELECT path FROM f WHERE path IS NOT NULL AND path <> ''"
        " AND NOT pg_catalog.starts_with(path, pg_catalog.current_setting('data_directory') || '/') ORDER BY path "
        "COLLATE \"C\"";
    static const char narrow[] =
        "SELECT setting AS path FROM pg_catalog.pg_settings WHERE name IN ('config_file', 'hba_file', 'ident_file')"
        " AND NOT pg_catalog.starts_with(setting, pg_catalog.current_setting('data_directory') || '/')"
        " ORDER BY setting COLLATE \"C\"";
    /* Which files are included, only some roles may see; and where the data folder is, fewer still. */
    int r = put_rows(c, facts, "config_outside", sql, true, err);
    if (r == 0 && !json_object_get(facts, "config_outside"))
        r = put_rows(c, facts, "config_outside", narrow, true, err);
    return r;
}

/* What a copy has otherwise than its original: slots stay behind, subscriptions come along and take up their work, and
 * transactions that were prepared are there with their locks. */
static int put_survivors(PGconn *c, json_t *facts, struct error *err) {
    CLEANUP(pg_clearp) PGresult *q = NULL;
    int r = put_rows(c, facts, "replication_slots",
                     "SELECT slot_name AS name, slot_type AS type FROM pg_catalog.pg_replication_slots"
                     " WHERE NOT temporary ORDER BY slot_name COLLATE \"C\"",
                     true, err);
    if (r == 0)
        r = put_rows(
            c, facts, "subscriptions",
            "SELECT subname AS name, datname AS database,"
            " CASE WHEN subenabled THEN 'true' ELSE 'false' END AS enabled FROM pg_catalog.pg_subscription"
            " JOIN pg_catalog.pg_database d ON d.oid = subdbid ORDER BY datname COLLATE \"C\", subname COLLATE \"C\"",
            true, err);
    if (r == 0) r = pg_query(c, &q, err, "SELECT count(*) FROM pg_catalog.pg_prepared_xacts", 0, NULL);
    return r == 0 ? json_put_int(facts, "prepared_transactions", strtoll(pg_value(q, 0, 0), NULL, 10), err) : r;
}

static int put_sizes(PGconn *c, json_t *facts, struct error *err) {
    static const struct {
        const char *key, *setting;
    } sizes[] = {{"block_bytes", "block_size"},
                 {"wal_block_bytes", "wal_block_size"},
                 {"wal_segment_bytes", "wal_segment_size"},
                 {"segment_blocks", "segment_size"}};
    int r = 0;
    for (size_t i = 0; r == 0 && i < sizeof sizes / sizeof *sizes; i++) {
        CLEANUP(pg_clearp) PGresult *q = NULL;
        const char *params[] = {sizes[i].setting};
        r = pg_query(c, &q, err, "SELECT setting FROM pg_catalog.pg_settings WHERE name = $1", 1, params);
        if (r == 0 && PQntuples(q) != 1)
            r = error_set(err, ERR_PG_QUERY, "the server does not tell its %s", sizes[i].setting);
        if (r == 0) r = json_put_int(facts, sizes[i].key, strtoll(pg_value(q, 0, 0), NULL, 10), err);
    }
    return r;
}

int pgphys_server_facts(PGconn *c, json_t *facts, struct error *err) {
    /* A standby or a restored copy must have at least what the primary had, or recovery stops. */
    static const char *const replica[] = {"max_connections",           "max_worker_processes",      "max_wal_senders",
                                          "max_prepared_transactions", "max_locks_per_transaction", NULL};
    static const char *const settings[] = {
        "wal_level", "full_page_writes", "archive_mode",  "data_checksums",  "lc_messages", "shared_preload_libraries",
        "fsync",     "summarize_wal",    "wal_log_hints", "server_encoding", NULL};
    CLEANUP(pg_clearp) PGresult *q = NULL;
    int r = pg_server_facts(c, facts, err);
    if (r == 0) r = json_put_str(facts, "method", "physical", err);
    if (r == 0)
        r = pg_query(c, &q, err, "SELECT timeline_id, pg_catalog.version() FROM pg_catalog.pg_control_checkpoint()", 0,
                     NULL);
    if (r == 0) r = json_put_int(facts, "timeline", strtoll(pg_value(q, 0, 0), NULL, 10), err);
    if (r == 0) r = put_text(facts, "server_build", pg_value(q, 0, 1), err);
    if (r == 0) r = put_sizes(c, facts, err);
    if (r == 0) r = put_settings(c, facts, "replica_settings", replica, err);
    if (r == 0) r = put_settings(c, facts, "settings", settings, err);
    if (r == 0) r = put_tablespaces(c, facts, err);
    if (r == 0) r = put_databases(c, facts, err);
    if (r == 0) r = put_survivors(c, facts, err);
    return r == 0 ? put_outside(c, facts, err) : r;
}
