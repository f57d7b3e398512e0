/* Invariants that the configuration declares: a query of one value, asked at capture within the dump's own snapshot and
 * again of what was restored. The queries are kept with the snapshot's facts, so that a restore needs no configuration.
 */
#include "surface/postgres/postgres_internal.h"

#include "base/seam.h"

#include <stdlib.h>

/* A whole number as a number, so that "not_shrunk" can compare it; everything else as the server's text. */
static json_t *value_of(const PGresult *r) {
    const char *text = PQgetvalue(r, 0, 0);
    char *end;
    if (PQgetisnull(r, 0, 0)) return json_null();
    long long n = strtoll(text, &end, 10);
    return *text && !*end ? json_integer(n) : json_string(text);
}

int pg_declared_ask(PGconn *c, const char *name, const char *sql, json_t **ret, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc = pg_query(c, &r, err, sql, 0, NULL);
    if (rc < 0) return error_wrap(err, "invariant '%s'", name);
    if (PQntuples(r) != 1 || PQnfields(r) != 1)
        return error_set(err, ERR_PG_QUERY, "invariant '%s' answered %d rows of %d columns, not one value", name,
                         PQntuples(r), PQnfields(r));
    *ret = value_of(r);
    return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for an invariant's value");
}

int pg_declared_choose(const struct pg_settings *s, const char *database, bool only_one, json_t **ret,
                       struct error *err) {
    const json_t *all = json_object_get(s->ctx->settings, "invariants"), *v;
    json_t *list = json_array();
    size_t i;
    int rc = list ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for invariants");
    json_array_foreach(all, i, v) {
        const char *where = json_string_value(json_object_get(v, "database")),
                   *name = json_string_value(json_object_get(v, "name"));
        if (rc == 0 && !where && !only_one)
            rc = error_set(err, ERR_CONFIG_VALUE, "invariant '%s' must name its database, as the surface has several",
                           name ? name : "");
        if (rc == 0 && (where ? strcmp(where, database) == 0 : only_one))
            rc = json_push(list, json_incref((json_t *)v), err);
    }
    if (rc < 0)
        json_decref(list);
    else
        *ret = list;
    return rc;
}

int pg_declared_measure(PGconn *c, const char *key_name, const json_t *declared, json_t *out, struct error *err) {
    const json_t *v;
    size_t i;
    int rc = 0;
    json_array_foreach(declared, i, v) {
        const char *name = json_string_value(json_object_get(v, "name")),
                   *sql = json_string_value(json_object_get(v, "sql")),
                   *expect = json_string_value(json_object_get(v, "expect"));
        json_t *value = NULL, *both = NULL;
        char key[300];
        if (rc == 0 && (!name || !sql)) rc = error_set(err, ERR_JSON, "a declared invariant has no name or no query");
        if (rc == 0) rc = pg_declared_ask(c, name, sql, &value, err);
        if (rc < 0) return rc;
        snprintf(key, sizeof key, "declared/%.250s", name);
        both = json_pack("{s:o, s:s}", "value", value, "expect", expect ? expect : "equal");
        rc = both ? pg_key_put(out, key_name, BYTES_STR(key), both, err)
                  : error_set(err, ERR_NO_MEMORY, "no memory for an invariant");
    }
    return rc;
}
