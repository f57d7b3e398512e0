#include "surface/pgphys/takeover.h"

#include <stdio.h>
#include <stdlib.h>

#define LIVE_COMMENT "installed by proofkeep for a check"
#define NAMES_BYTES 400

struct checking {
    const struct surface_context *ctx;
    const struct cutover_check *q;
    struct surface_context there;
    json_t *settings, *out;
    struct pg_settings *s, *live; /* live: NULL when it is not to be asked */
    PGresult *databases;
};

static int result(struct checking *k, const char *name, const char *what, struct error *err, const char *fmt,
                  ...) PK_CHECK PK_PRINTF(5, 6);
static int result(struct checking *k, const char *name, const char *what, struct error *err, const char *fmt, ...) {
    va_list ap;
    char detail[700];
    va_start(ap, fmt);
    vsnprintf(detail, sizeof detail, fmt, ap);
    va_end(ap);
    return json_push(k->out,
                     json_pack("{s:s, s:s, s:o}", "name", name, "result", what, "detail", json_name(BYTES_STR(detail))),
                     err);
}

static void add_name(char list[NAMES_BYTES], unsigned n, const char *database, const char *name) {
    size_t at = strlen(list);
    if (n < 5 && at < NAMES_BYTES - 8)
        snprintf(list + at, NAMES_BYTES - at, "%s%s: %s", at ? ", " : "", database, name);
    if (n == 5 && at < NAMES_BYTES - 8) snprintf(list + at, NAMES_BYTES - at, ", …");
}

/* ---- connections ---- */

static int connections(struct checking *k, struct error *err) {
    CLEANUP(pg_finishp) PGconn *c = NULL;
    CLEANUP(pg_clearp) PGresult *r = NULL;
    struct error why = ERROR_INIT;
    int rc = pg_connect(k->s, NULL, &c, err);
    if (rc == 0)
        rc = pg_query(c, &k->databases, err,
                      "SELECT datname FROM pg_catalog.pg_database WHERE datallowconn ORDER BY datname COLLATE \"C\"", 0,
                      NULL);
    if (rc < 0) return rc;
    for (int i = 0; i < PQntuples(k->databases); i++) {
        CLEANUP(pg_finishp) PGconn *one = NULL;
        if (pg_connect(k->s, pg_value(k->databases, i, 0), &one, &why) < 0)
            return result(k, "connections", "failed", err, "%s", why.text);
    }
    rc = pg_query(c, &r, err,
                  "SELECT pg_catalog.pg_is_in_recovery(), reset_val FROM pg_catalog.pg_settings"
                  " WHERE name = 'default_transaction_read_only'",
                  0, NULL);
    if (rc < 0) return rc;
    if (pg_true(r, 0, 0) || !strcmp(pg_value(r, 0, 1), "on"))
        return result(k, "connections", "failed", err, "it takes no writes: %s",
                      pg_true(r, 0, 0) ? "it is in recovery" : "default_transaction_read_only is on");
    return result(k, "connections", "passed", err, "%d databases", PQntuples(k->databases));
}

static int recovery(struct checking *k, struct error *err) {
    uint64_t want, got;
    const char *to = json_string_value(json_object_get(k->q->connection, "recovered_to"));
    if (!k->q->reach) return 0;
    if (!to || !wal_lsn_parse(k->q->reach, &want) || !wal_lsn_parse(to, &got))
        return result(k, "recovery", "failed", err, "it does not say how far it recovered; it must be %s", k->q->reach);
    return result(k, "recovery", got >= want ? "passed" : "failed", err,
                  "recovered to %s; the last that was written is at %s", to, k->q->reach);
}

/* ---- indexes and collations: by database ---- */

static const char invalid_sql[] = "SELECT i.indexrelid::pg_catalog.regclass::text FROM pg_catalog.pg_index i"
                                  " WHERE NOT (i.indisvalid AND i.indisready AND i.indislive) ORDER BY 1";

static int invalid_live(struct checking *k, const char *database, PGresult **ret) {
    CLEANUP(pg_finishp) PGconn *c = NULL;
    struct error none = ERROR_INIT;
    if (!k->live || pg_connect(k->live, database, &c, &none) < 0) return -1;
    return pg_query(c, ret, &none, invalid_sql, 0, NULL);
}

static bool among(const PGresult *r, const char *name) {
    for (int i = 0; r && i < PQntuples(r); i++)
        if (!strcmp(pg_value(r, i, 0), name)) return true;
    return false;
}

static int indexes(struct checking *k, struct error *err) {
    char list[NAMES_BYTES] = "";
    unsigned n = 0, old = 0;
    for (int i = 0; i < PQntuples(k->databases); i++) {
        CLEANUP(pg_finishp) PGconn *c = NULL;
        CLEANUP(pg_clearp) PGresult *r = NULL, *live = NULL;
        const char *database = pg_value(k->databases, i, 0);
        int rc = pg_connect(k->s, database, &c, err);
        if (rc == 0) rc = pg_query(c, &r, err, invalid_sql, 0, NULL);
        if (rc < 0) return rc;
        if (PQntuples(r) && invalid_live(k, database, &live) < 0) live = NULL;
        for (int j = 0; j < PQntuples(r); j++) {
            if (among(live, pg_value(r, j, 0)))
                old++;
            else
                add_name(list, n++, database, pg_value(r, j, 0));
        }
    }
    if (n) return result(k, "indexes", "failed", err, "%u invalid: %s", n, list);
    return result(k, "indexes", "passed", err,
                  old ? "none is invalid but %u that are so on the live server, too" : "none is invalid%.0u", old);
}

static int collations(struct checking *k, struct error *err) {
    static const char sql[] =
        "SELECT 'its default collation' FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()"
        " AND datcollversion IS DISTINCT FROM pg_catalog.pg_database_collation_actual_version(oid)"
        " UNION ALL SELECT pg_catalog.format('%I.%I', collnamespace::pg_catalog.regnamespace, collname)"
        " FROM pg_catalog.pg_collation WHERE collversion IS NOT NULL"
        " AND collversion IS DISTINCT FROM pg_catalog.pg_collation_actual_version(oid)"
        " AND EXISTS (SELECT 1 FROM pg_catalog.pg_attribute a WHERE a.attcollation = pg_collation.oid"
        " AND a.attrelid >= 16384)";
    char list[NAMES_BYTES] = "";
    unsigned n = 0;
    for (int i = 0; i < PQntuples(k->databases); i++) {
        CLEANUP(pg_finishp) PGconn *c = NULL;
        CLEANUP(pg_clearp) PGresult *r = NULL;
        const char *database = pg_value(k->databases, i, 0);
        int rc = pg_connect(k->s, database, &c, err);
        if (rc == 0) rc = pg_query(c, &r, err, sql, 0, NULL);
        if (rc < 0) return rc;
        for (int j = 0; j < PQntuples(r); j++) add_name(list, n++, database, pg_value(r, j, 0));
    }
    if (n)
        return result(k, "collations", "failed", err,
                      "the libraries here sort by other versions than when indexes were made: %s. Reindex, then ALTER "
                      "COLLATION … REFRESH VERSION",
                      list);
    return result(k, "collations", "passed", err, "the versions are those that the indexes were made with");
}

/* ---- pg_amcheck ---- */

/* *ret: 0 it is there, 1 it was made for this, 2 it is not and shall not be, 3 it cannot be made. */
static int extension(struct checking *k, PGconn *c, int *ret, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc = pg_query(c, &r, err,
                      "SELECT (SELECT COALESCE(pg_catalog.obj_description(oid, 'pg_extension'), '') FROM "
                      "pg_catalog.pg_extension WHERE extname = 'amcheck'),"
                      " EXISTS (SELECT 1 FROM pg_catalog.pg_available_extensions WHERE name = 'amcheck')",
                      0, NULL);
    if (rc < 0) return rc;
    *ret = !PQgetisnull(r, 0, 0) ? !strcmp(pg_value(r, 0, 0), LIVE_COMMENT) : 2;
    if (*ret != 2 || k->q->amcheck != CUTOVER_AMCHECK_INSTALL) return 0;
    *ret = pg_true(r, 0, 1) ? 1 : 3;
    if (*ret == 3) return 0;
    return pg_command(
        c, err,
        "BEGIN; CREATE EXTENSION amcheck SCHEMA pg_catalog; COMMENT ON EXTENSION amcheck IS '" LIVE_COMMENT
        "'; COMMIT");
}

static int amcheck_one(struct checking *k, const struct pg_tools *t, const char *database, bool *ret_checked,
                       struct error *why, struct error *err) {
    CLEANUP(pg_finishp) PGconn *c = NULL;
    CLEANUP(buf_free) struct buf out = BUF_INIT(16u << 20);
    char *info = NULL;
    int how = 0, rc = pg_connect(k->s, database, &c, err);
    if (rc == 0) rc = extension(k, c, &how, err);
    *ret_checked = rc == 0 && how < 2;
    if (rc < 0 || how >= 2) return rc;
    rc = pg_conninfo(k->s, database, &info, err);
    const char *args[] = {info, NULL};
    if (rc == 0 && (rc = pg_child_run(k->s, t, "pg_amcheck", args, NULL, NULL, &out, why)) == -ERR_PROC_FAILED) {
        /* What it found it prints on its standard output. */
        rc = 1;
        if (out.len) error_wrap(why, "%.*s", (int)strcspn((const char *)out.ptr, "\n"), (const char *)out.ptr);
    } else if (rc < 0 && why->code && !err->code)
        *err = *why;
    seam_free(info);
    struct error left = ERROR_INIT;
    /* Damage may bring the server down under whoever looks at it; that it was found is what counts then. */
    if (how == 1 && rc >= 0 && pg_command(c, &left, "DROP EXTENSION amcheck") < 0 && rc == 0) {
        *err = left;
        rc = -(int)err->code;
    }
    return rc;
}

static int amcheck(struct checking *k, struct error *err) {
    struct pg_tools t;
    struct error why = ERROR_INIT;
    char path[PATH_MAX], without[NAMES_BYTES] = "";
    struct stat st;
    int64_t version = 0;
    unsigned checked = 0, left = 0;
    if (k->q->amcheck == CUTOVER_AMCHECK_NONE) return result(k, "amcheck", "not_checked", err, "not asked for");
    int rc = json_need_int(k->q->facts, "server_version_num", "the snapshot's facts", &version, err);
    if (rc == 0) rc = pg_tools_find(k->s, (int)(version / 10000), false, &t, err);
    if (rc < 0) return rc;
    snprintf(path, sizeof path, "%.4000s/pg_amcheck", t.dir);
    if (t.major != version / 10000 || seam_fstatat(AT_FDCWD, path, &st, 0) < 0)
        return result(k, "amcheck", "not_checked", err, "there is no pg_amcheck of PostgreSQL %d in %s",
                      (int)(version / 10000), t.dir);
    for (int i = 0; i < PQntuples(k->databases); i++) {
        const char *database = pg_value(k->databases, i, 0);
        bool one = false;
        rc = amcheck_one(k, &t, database, &one, &why, err);
        if (rc < 0) return rc;
        if (rc == 1) return result(k, "amcheck", "failed", err, "%s: %s", database, why.text);
        checked += one;
        if (!one) {
            size_t at = strlen(without);
            snprintf(without + at, sizeof without - at, "%s%s", left++ ? ", " : "", database);
        }
    }
    if (left)
        return result(k, "amcheck", "not_checked", err, "checked %u databases; the extension amcheck is not in %s%s",
                      checked, without,
                      k->q->amcheck == CUTOVER_AMCHECK_INSTALL ? ", and cannot be made there" : "; see --amcheck");
    return result(k, "amcheck", "passed", err, "%u databases", checked);
}

/* ---- what is declared ---- */

static int ask(const struct pg_settings *s, const char *database, const char *sql, char value[200], struct error *err) {
    CLEANUP(pg_finishp) PGconn *c = NULL;
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc = pg_connect(s, database, &c, err);
    if (rc == 0) rc = pg_command(c, err, "BEGIN READ ONLY");
    if (rc == 0) rc = pg_query(c, &r, err, sql, 0, NULL);
    if (rc < 0) return rc;
    if (PQntuples(r) != 1 || PQnfields(r) != 1)
        return error_set(err, ERR_PG_QUERY, "it answered %d rows of %d columns, not one value", PQntuples(r),
                         PQnfields(r));
    snprintf(value, 200, "%s", PQgetisnull(r, 0, 0) ? "null" : pg_value(r, 0, 0));
    return 0;
}

static bool holds(const char *now, const char *want, bool may_grow) {
    return !strcmp(now, want) || (may_grow && strtoll(now, NULL, 10) > strtoll(want, NULL, 10));
}

/* want: NULL, it need only answer. live: it must be as on the live server. */
static int declared_one(struct checking *k, const json_t *d, const char *want, bool live, struct error *err) {
    const char *name = json_string_value(json_object_get(d, "name")),
               *sql = json_string_value(json_object_get(d, "sql")),
               *database = json_string_value(json_object_get(d, "database")),
               *expect = json_string_value(json_object_get(d, "expect"));
    char now[200], then[200], key[200];
    struct error why = ERROR_INIT;
    if (!name || !sql) return error_set(err, ERR_JSON, "a declared query has no name or no query");
    snprintf(key, sizeof key, "query %.150s", name);
    if (!database) database = k->s->dbname;
    if (ask(k->s, database, sql, now, &why) < 0) return result(k, key, "failed", err, "%s", why.text);
    if (live && (!k->live || ask(k->live, database, sql, then, &why) < 0))
        return result(k, key, "failed", err, "the live server cannot be asked for it%s%s", why.code ? ": " : "",
                      why.text);
    if (live) want = then;
    if (!want) return result(k, key, "passed", err, "it answers %s", now);
    bool good = holds(now, want, live && expect && !strcmp(expect, "not_shrunk"));
    return result(k, key, good ? "passed" : "failed", err, "%s%s%s%s", now, good ? "" : ", and should be ",
                  good ? "" : want, live ? good ? ", as on the live server" : " as on the live server" : "");
}

static int declared(struct checking *k, struct error *err) {
    const json_t *d;
    size_t i;
    int rc = 0;
    json_array_foreach(json_object_get(k->settings, "checks"), i, d) {
        const char *value = json_string_value(json_object_get(d, "value"));
        if (rc == 0) rc = declared_one(k, d, value, json_is_true(json_object_get(d, "live")), err);
    }
    json_array_foreach(json_object_get(k->settings, "invariants"), i, d) {
        if (rc == 0) rc = declared_one(k, d, NULL, k->q->same_as_live, err);
    }
    return rc;
}

int pgphys_takeover_check(const struct surface_context *ctx, const struct cutover_check *q, json_t **ret,
                          struct error *err) {
    struct checking k = {.ctx = ctx, .q = q};
    struct error none = ERROR_INIT;
    int rc = (k.out = json_array()) ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0) rc = pgphys_takeover_context(ctx, q->connection, &k.there, &k.settings, err);
    if (rc == 0) rc = pg_settings_load(&k.there, NULL, &k.s, err);
    if (rc == 0 && pg_settings_load(ctx, NULL, &k.live, &none) < 0) k.live = NULL;
    if (rc == 0) rc = connections(&k, err);
    if (rc == 0) rc = recovery(&k, err);
    if (rc == 0) rc = indexes(&k, err);
    if (rc == 0) rc = collations(&k, err);
    if (rc == 0) rc = amcheck(&k, err);
    if (rc == 0) rc = declared(&k, err);
    PQclear(k.databases);
    pg_settings_free(k.s);
    pg_settings_free(k.live);
    json_decref(k.settings);
    if (rc < 0)
        json_decref(k.out);
    else
        *ret = k.out;
    return rc;
}

int pgphys_takeover_health(const struct surface_context *ctx, const json_t *connection, struct error *err) {
    struct checking k = {.ctx = ctx};
    CLEANUP(pg_finishp) PGconn *c = NULL;
    CLEANUP(pg_clearp) PGresult *r = NULL;
    const json_t *d;
    size_t i;
    char value[200];
    int rc = pgphys_takeover_context(ctx, connection, &k.there, &k.settings, err);
    if (rc == 0) rc = pg_settings_load(&k.there, NULL, &k.s, err);
    if (rc == 0) rc = pg_connect(k.s, NULL, &c, err);
    if (rc == 0) rc = pg_query(c, &r, err, "SELECT pg_catalog.pg_is_in_recovery()", 0, NULL);
    if (rc == 0 && pg_true(r, 0, 0)) rc = error_set(err, ERR_CUTOVER_WATCH, "the new server is in recovery");
    json_array_foreach(json_object_get(k.settings, "checks"), i, d) {
        const char *database = json_string_value(json_object_get(d, "database"));
        if (rc == 0)
            rc = ask(k.s, database ? database : k.s->dbname, json_string_value(json_object_get(d, "sql")), value, err);
    }
    pg_settings_free(k.s);
    json_decref(k.settings);
    return rc;
}
