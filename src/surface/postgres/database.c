#include "surface/postgres/postgres_internal.h"

#include "base/seam.h"
#include "base/thread.h"
#include <stdio.h>

int pg_database_exists(PGconn *c, const char *name, bool *ret, struct error *err) {
    const char *params[] = {name};
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc = pg_query(c, &r, err, "SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1", 1, params);
    if (rc == 0) *ret = PQntuples(r) > 0;
    return rc;
}

#define LOCK_TRIES 25
#define LOCK_PAUSE_MS 200

static const char *fact(const json_t *facts, const char *key) {
    return json_string_value(json_object_get(facts, key));
}

static int add_literal(struct buf *sql, const char *key, const char *value, struct error *err) {
    if (!value) return 0;
    int r = buf_printf(sql, err, " %s ", key);
    return r == 0 ? pg_literal(sql, BYTES_STR(value), err) : r;
}

static int run(PGconn *c, struct buf *sql, struct error *err) {
    int r = buf_terminate(sql, err);
    return r == 0 ? pg_command(c, err, "%s", (const char *)sql->ptr) : r;
}

/* What is said of a database in the statement that makes it, as the server goes on with that when its client is killed:
 * nobody can connect to it, and its limit is the plan's. */
static int limit_of(int64_t planned_ns) {
    return (int)((planned_ns ^ planned_ns >> 31) & 0x7fffffff);
}

int pg_database_create(PGconn *c, const char *name, const json_t *facts, const char *tablespace, int64_t planned_ns,
                       struct error *err) {
    CLEANUP(buf_free) struct buf sql = BUF_INIT(64 << 10);
    const char *provider = fact(facts, "locale_provider");
    bool exists;
    int r = pg_database_exists(c, name, &exists, err);
    if (r < 0) return r;
    if (exists) {
        error_set(err, ERR_PG_EXISTS, "the server has a database %s already", name);
        return error_state(err, "nothing was changed");
    }
    r = buf_append_str(&sql, "CREATE DATABASE ", err);
    if (r == 0) r = pg_ident(&sql, BYTES_STR(name), err);
    if (r == 0) r = buf_append_str(&sql, " TEMPLATE template0", err);
    if (r == 0) r = add_literal(&sql, "ENCODING", fact(facts, "encoding"), err);
    if (r == 0) r = add_literal(&sql, "LC_COLLATE", fact(facts, "collate"), err);
    if (r == 0) r = add_literal(&sql, "LC_CTYPE", fact(facts, "ctype"), err);
    if (r == 0 && PQserverVersion(c) >= 150000 && provider && !strcmp(provider, "i")) {
        r = add_literal(&sql, "LOCALE_PROVIDER icu ICU_LOCALE", fact(facts, "locale"), err);
        if (r == 0) r = add_literal(&sql, "ICU_RULES", fact(facts, "icu_rules"), err);
    } else if (r == 0 && PQserverVersion(c) >= 170000 && provider && !strcmp(provider, "b")) {
        r = add_literal(&sql, "LOCALE_PROVIDER builtin BUILTIN_LOCALE", fact(facts, "locale"), err);
    } else if (r == 0 && PQserverVersion(c) >= 150000 && provider) {
        r = buf_append_str(&sql, " LOCALE_PROVIDER libc", err);
    }
    if (r == 0 && tablespace) r = buf_append_str(&sql, " TABLESPACE ", err);
    if (r == 0 && tablespace) r = pg_ident(&sql, BYTES_STR(tablespace), err);
    if (r == 0 && planned_ns)
        r = buf_printf(&sql, err, " ALLOW_CONNECTIONS false CONNECTION LIMIT %d", limit_of(planned_ns));
    if (r == 0) r = run(c, &sql, err);
    return r < 0 ? error_wrap(err, "make database %s", name) : 0;
}

/* "name=value" of pg_db_role_setting. Lists of identifiers are stored as they are written, everything else is one
 * value. */
static int setting(PGconn *c, const char *name, const json_t *row, struct error *err) {
    static const char *const lists[] = {
        "search_path", "session_preload_libraries", "local_preload_libraries", "temp_tablespaces", "DateStyle", NULL};
    CLEANUP(buf_free) struct buf sql = BUF_INIT(64 << 10);
    const char *role = json_string_value(json_array_get(row, 0)), *text = json_string_value(json_array_get(row, 1));
    const char *eq = text ? strchr(text, '=') : NULL;
    bool list = false;
    if (!eq) return error_set(err, ERR_JSON, "a setting of database %s has no value", name);
    struct bytes key = BYTES_OF(text, (size_t)(eq - text));
    for (size_t i = 0; lists[i]; i++) list |= bytes_equal(key, BYTES_STR(lists[i]));
    int r = 0;
    if (role) {
        r = buf_append_str(&sql, "ALTER ROLE ", err);
        if (r == 0) r = pg_ident(&sql, BYTES_STR(role), err);
        if (r == 0) r = buf_append_str(&sql, " IN DATABASE ", err);
    } else {
        r = buf_append_str(&sql, "ALTER DATABASE ", err);
    }
    if (r == 0) r = pg_ident(&sql, BYTES_STR(name), err);
    if (r == 0) r = buf_append_str(&sql, " SET ", err);
    /* A name with a dot is two identifiers. */
    for (const char *p = text; r == 0 && p < eq;) {
        size_t n = strcspn(p, ".=");
        if (n > (size_t)(eq - p)) n = (size_t)(eq - p);
        r = pg_ident(&sql, BYTES_OF(p, n), err);
        p += n;
        if (r == 0 && p < eq) r = buf_append_str(&sql, ".", err), p++;
    }
    if (r == 0) r = buf_append_str(&sql, " TO ", err);
    if (r == 0) r = list && eq[1] ? buf_append_str(&sql, eq + 1, err) : pg_literal(&sql, BYTES_STR(eq + 1), err);
    return r == 0 ? run(c, &sql, err) : r;
}

static int privilege(PGconn *c, const char *name, const json_t *row, struct error *err) {
    static const char *const known[] = {"CREATE", "CONNECT", "TEMPORARY", NULL};
    CLEANUP(buf_free) struct buf sql = BUF_INIT(64 << 10);
    const char *role = json_string_value(json_array_get(row, 0)), *what = json_string_value(json_array_get(row, 1));
    const char *grantable = json_string_value(json_array_get(row, 2));
    size_t i = 0;
    while (known[i] && what && strcmp(known[i], what) != 0) i++;
    if (!what || !known[i]) return error_set(err, ERR_JSON, "database %s has an unknown privilege", name);
    int r = buf_printf(&sql, err, "GRANT %s ON DATABASE ", known[i]);
    if (r == 0) r = pg_ident(&sql, BYTES_STR(name), err);
    if (r == 0) r = buf_append_str(&sql, " TO ", err);
    if (r == 0) r = role ? pg_ident(&sql, BYTES_STR(role), err) : buf_append_str(&sql, "PUBLIC", err);
    if (r == 0 && grantable && grantable[0] == 't') r = buf_append_str(&sql, " WITH GRANT OPTION", err);
    return r == 0 ? run(c, &sql, err) : r;
}

static int owner(PGconn *c, const char *name, const json_t *facts, struct error *err) {
    CLEANUP(buf_free) struct buf sql = BUF_INIT(64 << 10);
    const char *who = fact(facts, "owner");
    if (!who) return 0;
    int r = buf_append_str(&sql, "ALTER DATABASE ", err);
    if (r == 0) r = pg_ident(&sql, BYTES_STR(name), err);
    if (r == 0) r = buf_append_str(&sql, " OWNER TO ", err);
    if (r == 0) r = pg_ident(&sql, BYTES_STR(who), err);
    return r == 0 ? run(c, &sql, err) : r;
}

static int all_privileges(PGconn *c, const char *name, const json_t *facts, struct error *err) {
    CLEANUP(buf_free) struct buf sql = BUF_INIT(64 << 10);
    const char *set = json_string_value(json_array_get(json_object_get(facts, "privileges_set"), 0));
    const json_t *row;
    size_t i;
    if (!set || set[0] != 't') return 0;
    int r = buf_append_str(&sql, "REVOKE ALL ON DATABASE ", err);
    if (r == 0) r = pg_ident(&sql, BYTES_STR(name), err);
    if (r == 0) r = buf_append_str(&sql, " FROM PUBLIC", err);
    if (r == 0) r = run(c, &sql, err);
    json_array_foreach(json_object_get(facts, "privileges"), i, row) {
        if (r == 0) r = privilege(c, name, row, err);
    }
    return r;
}

static int comment_set(PGconn *c, const char *name, const char *comment, struct error *err) {
    CLEANUP(buf_free) struct buf sql = BUF_INIT(1 << 20);
    int r = buf_append_str(&sql, "COMMENT ON DATABASE ", err);
    if (r == 0) r = pg_ident(&sql, BYTES_STR(name), err);
    if (r == 0) r = comment ? add_literal(&sql, "IS", comment, err) : buf_append_str(&sql, " IS NULL", err);
    return r == 0 ? run(c, &sql, err) : r;
}

static void half_text(int64_t planned_ns, char out[80]) {
    snprintf(out, 80, "half restored by proofkeep, plan of %lld", (long long)planned_ns);
}

int pg_database_mark(PGconn *c, const char *name, int64_t planned_ns, struct error *err) {
    CLEANUP(buf_free) struct buf sql = BUF_INIT(4096);
    char text[80];
    if (!planned_ns) return 0;
    half_text(planned_ns, text);
    int r = comment_set(c, name, text, err);
    if (r == 0) r = buf_append_str(&sql, "ALTER DATABASE ", err);
    if (r == 0) r = pg_ident(&sql, BYTES_STR(name), err);
    if (r == 0) r = buf_append_str(&sql, " ALLOW_CONNECTIONS true CONNECTION LIMIT -1", err);
    return r == 0 ? run(c, &sql, err) : r;
}

int pg_database_half(PGconn *c, const char *name, int64_t planned_ns, bool *ret, struct error *err) {
    CLEANUP(pg_clearp) PGresult *q = NULL;
    char text[80], limit[16];
    half_text(planned_ns, text);
    snprintf(limit, sizeof limit, "%d", limit_of(planned_ns));
    const char *params[] = {name, text, limit};
    *ret = false;
    if (!planned_ns) return 0;
    int r = pg_query(c, &q, err,
                     "SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1"
                     " AND (pg_catalog.shobj_description(oid, 'pg_database') = $2"
                     " OR NOT datallowconn AND datconnlimit = $3::int)",
                     3, params);
    if (r == 0) *ret = PQntuples(q) > 0;
    return r;
}

int pg_database_finish(PGconn *c, const char *name, const json_t *facts, int64_t planned_ns, struct error *err) {
    const char *comment = fact(facts, "comment");
    int r = comment || planned_ns ? comment_set(c, name, comment, err) : 0;
    return r < 0 ? error_wrap(err, "give database %s its comment", name) : 0;
}

/* A server that was just left takes a moment to see it. */
int pg_plan_take(PGconn *c, int64_t planned_ns, struct error *err) {
    char number[24];
    const char *params[] = {number};
    bool taken = false;
    int r = 0;
    snprintf(number, sizeof number, "%lld", (long long)planned_ns);
    for (int i = 0; i < LOCK_TRIES && r == 0 && !taken; i++) {
        CLEANUP(pg_clearp) PGresult *q = NULL;
        if (i) (void)!seam_poll(NULL, 0, LOCK_PAUSE_MS);
        r = pg_query(c, &q, err, "SELECT pg_catalog.pg_try_advisory_lock($1::bigint)", 1, params);
        if (r == 0) taken = strcmp(pg_value(q, 0, 0), "t") == 0;
        if (r == 0) r = stop_check(err);
    }
    return r == 0 && !taken ? error_set(err, ERR_JOURNAL_BUSY, "another run carries out this plan") : r;
}

static int limit_set(PGconn *c, const char *name, const json_t *facts, struct error *err) {
    CLEANUP(buf_free) struct buf sql = BUF_INIT(1 << 20);
    const json_t *limit = json_object_get(facts, "connection_limit");
    int r = 0;
    if (json_is_integer(limit) && json_integer_value(limit) >= 0) {
        r = buf_append_str(&sql, "ALTER DATABASE ", err);
        if (r == 0) r = pg_ident(&sql, BYTES_STR(name), err);
        if (r == 0) r = buf_printf(&sql, err, " CONNECTION LIMIT %lld", (long long)json_integer_value(limit));
    }
    return r == 0 && sql.len ? run(c, &sql, err) : r;
}

int pg_database_dress(PGconn *c, const char *name, const json_t *facts, bool no_owner, struct error *err) {
    const json_t *row;
    size_t i;
    int r = no_owner ? 0 : owner(c, name, facts, err);
    if (r == 0 && !no_owner) r = all_privileges(c, name, facts, err);
    json_array_foreach(json_object_get(facts, "settings"), i, row) {
        if (r == 0 && !(no_owner && json_is_string(json_array_get(row, 0)))) r = setting(c, name, row, err);
    }
    if (r == 0) r = limit_set(c, name, facts, err);
    return r < 0 ? error_wrap(err, "give database %s its owner, privileges and settings", name) : 0;
}

bool pg_database_discard(const struct pg_settings *s, const char *name) {
    CLEANUP(pg_finishp) PGconn *c = NULL;
    CLEANUP(buf_free) struct buf sql = BUF_INIT(4096);
    struct error err = ERROR_INIT;
    int r = pg_connect_admin(s, name, &c, &err);
    if (r == 0) r = pg_ident(&sql, BYTES_STR(name), &err);
    if (r == 0) r = buf_terminate(&sql, &err);
    if (r == 0 && PQserverVersion(c) >= 130000) {
        r = pg_command(c, &err, "DROP DATABASE IF EXISTS %s WITH (FORCE)", (const char *)sql.ptr);
    } else if (r == 0) {
        const char *params[] = {name};
        PGresult *q = NULL;
        r = pg_query(c, &q, &err,
                     "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity"
                     " WHERE datname = $1 AND pid <> pg_catalog.pg_backend_pid()",
                     1, params);
        PQclear(q);
        if (r == 0) r = pg_command(c, &err, "DROP DATABASE IF EXISTS %s", (const char *)sql.ptr);
    }
    if (r < 0)
        pg_note(s, NOTE_WARNING, BYTES_STR(name), "the half-restored database could not be dropped; drop it by hand");
    return r == 0;
}

int pg_connections(PGconn *c, const char *name, unsigned *ret, struct buf *who, struct error *err) {
    const char *params[] = {name};
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc = pg_query(c, &r, err,
                      "SELECT usename, application_name, count(*) FROM pg_catalog.pg_stat_activity"
                      " WHERE datname = $1 AND pid <> pg_catalog.pg_backend_pid() GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2",
                      1, params);
    unsigned n = 0;
    for (int i = 0; rc == 0 && i < PQntuples(r); i++) {
        unsigned here = 0;
        sscanf(pg_value(r, i, 2), "%u", &here);
        n += here;
        if (i < 3)
            rc = buf_printf(who, err, "%s%s (%s) %u", i ? ", " : "",
                            pg_value(r, i, 0)[0] ? pg_value(r, i, 0) : "the server",
                            pg_value(r, i, 1)[0] ? pg_value(r, i, 1) : "unnamed", here);
    }
    if (rc == 0) rc = buf_terminate(who, err);
    if (rc == 0) *ret = n;
    return rc;
}
