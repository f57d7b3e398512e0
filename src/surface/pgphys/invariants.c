#include "surface/pgphys/pgphys_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define PGPHYS_RELATIONS "relations"

/* What is declared for one database: at a capture from the settings, later as the facts have it. */
static int declared_of(const struct pg_settings *s, const json_t *facts, const char *database, json_t **ret,
                       struct error *err) {
    const json_t *v;
    size_t i;
    if (!facts) return pg_declared_choose(s, database, !strcmp(database, s->dbname), ret, err);
    json_t *list = json_array();
    int rc = list ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for invariants");
    json_array_foreach(json_object_get(facts, "declared"), i, v) {
        const char *where = json_string_value(json_object_get(v, "database"));
        if (rc == 0 && where && !strcmp(where, database)) rc = json_push(list, json_incref((json_t *)v), err);
    }
    if (rc < 0)
        json_decref(list);
    else
        *ret = list;
    return rc;
}

static int put(json_t *out, const char *database, const char *key, json_t *value, struct error *err) {
    json_t *both = value ? json_pack("{s:o, s:s}", "value", value, "expect", "equal") : NULL;
    return both ? pg_key_put(out, database, BYTES_STR(key), both, err) : error_set(err, ERR_NO_MEMORY, "no memory");
}

/* Of a running server the relations by their oids, so that two measurements can be laid over each other; of a copy how
 * many. */
static int relations(PGconn *c, const char *name, bool list, json_t *out, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc =
        pg_query(c, &r, err, "SELECT oid FROM pg_catalog.pg_class WHERE relpersistence <> 't' ORDER BY oid", 0, NULL);
    if (rc < 0) return rc;
    json_t *value = list ? json_array() : json_integer(PQntuples(r));
    for (int i = 0; rc == 0 && list && i < PQntuples(r); i++)
        rc = json_push(value, json_integer(strtoll(pg_value(r, i, 0), NULL, 10)), err);
    if (rc < 0) {
        json_decref(value);
        return rc;
    }
    return put(out, name, PGPHYS_RELATIONS, value, err);
}

static int one_database(const struct pg_settings *s, const json_t *facts, const char *name, json_t *out,
                        struct error *err) {
    CLEANUP(pg_finishp) PGconn *c = NULL;
    json_t *declared = NULL, *extensions = NULL;
    int rc = pg_connect(s, name, &c, err);
    if (rc == 0) rc = pg_command(c, err, "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY");
    if (rc == 0) rc = relations(c, name, facts == NULL, out, err);
    if (rc == 0) rc = pg_extensions(c, &extensions, err);
    if (rc == 0) rc = put(out, name, "extensions", extensions, err);
    if (rc == 0) rc = pg_hypertables_put(c, name, out, err);
    if (rc == 0) rc = declared_of(s, facts, name, &declared, err);
    if (rc == 0) rc = pg_declared_measure(c, name, declared, out, err);
    json_decref(declared);
    return rc;
}

/* What changes meanwhile is not expected of a copy, like all that is declared; dumps ask again until it does not. */
static int consistent(const struct pg_settings *s, const json_t *facts, json_t *out, struct error *err) {
    const json_t *checks = facts ? json_object_get(json_object_get(facts, "consistent"), "checks")
                                 : json_object_get(s->ctx->settings, "consistent");
    return pg_pairs_measure(s, checks, out, err);
}

int pgphys_invariants(const struct pg_settings *s, const json_t *facts, const atomic_bool *in_vain, json_t *out,
                      struct error *err) {
    CLEANUP(pg_finishp) PGconn *c = NULL;
    CLEANUP(pg_clearp) PGresult *r = NULL;
    json_t *names = json_array();
    pg_patience(true, in_vain);
    int rc = names ? pg_connect(s, NULL, &c, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0)
        rc = pg_query(c, &r, err,
                      "SELECT datname, datallowconn, (SELECT system_identifier FROM pg_catalog.pg_control_system())"
                      " FROM pg_catalog.pg_database ORDER BY datname COLLATE \"C\"",
                      0, NULL);
    for (int i = 0; rc == 0 && i < PQntuples(r); i++) rc = json_push(names, json_string(pg_value(r, i, 0)), err);
    if (rc == 0)
        rc = json_put(out, "cluster/databases", json_pack("{s:O, s:s}", "value", names, "expect", "equal"), err);
    if (rc == 0)
        rc = json_put(out, "system_identifier",
                      json_pack("{s:s, s:s}", "value", pg_value(r, 0, 2), "expect", "equal"), err);
    for (int i = 0; rc == 0 && i < PQntuples(r); i++)
        if (pg_true(r, i, 1)) rc = one_database(s, facts, pg_value(r, i, 0), out, err);
    if (rc == 0) rc = consistent(s, facts, out, err);
    pg_patience(false, NULL);
    json_decref(names);
    return rc;
}

/* Those that were there before and after were there in between: a copy has at least so many. */
static json_int_t in_both(const json_t *a, const json_t *b) {
    size_t i = 0, k = 0;
    json_int_t n = 0;
    while (i < json_array_size(a) && k < json_array_size(b)) {
        json_int_t x = json_integer_value(json_array_get(a, i)), y = json_integer_value(json_array_get(b, k));
        n += x == y;
        i += x <= y;
        k += y <= x;
    }
    return n;
}

static bool is_relations(const char *key) {
    size_t n = strlen(key), m = strlen("/" PGPHYS_RELATIONS);
    return n > m && !strcmp(key + n - m, "/" PGPHYS_RELATIONS) && strncmp(key, "db/", 3) == 0;
}

int pgphys_invariants_steady(const json_t *before, json_t *after, struct error *err) {
    json_t *drop = json_array(), *v;
    const char *key;
    void *next;
    int rc = drop ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    json_object_foreach_safe(after, next, key, v) {
        const json_t *was = json_object_get(json_object_get(before, key), "value");
        const char *expect = json_string_value(json_object_get(v, "expect"));
        json_t *is = json_object_get(v, "value");
        if (was && is_relations(key) && json_is_array(was) && json_is_array(is)) {
            json_int_t n = in_both(was, is);
            if (json_object_set_new(v, "value", json_integer(n)) < 0 ||
                json_object_set_new(v, "expect", json_string("not_shrunk")) < 0)
                rc = error_set(err, ERR_NO_MEMORY, "no memory");
            continue;
        }
        if (was && json_equal(was, is)) continue;
        if (was && json_is_number(was) && json_is_number(is) && expect && !strcmp(expect, "not_shrunk")) {
            if (json_number_value(was) < json_number_value(is)) json_object_set(v, "value", (json_t *)was);
            continue;
        }
        if (rc == 0) rc = json_push(drop, json_string(key), err);
    }
    for (size_t i = 0; rc == 0 && i < json_array_size(drop); i++)
        json_object_del(after, json_string_value(json_array_get(drop, i)));
    json_decref(drop);
    return rc;
}

int pgphys_declared_facts(const struct pg_settings *s, json_t *facts, struct error *err) {
    const json_t *v;
    size_t i;
    json_t *list = json_array();
    int rc = list ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    json_array_foreach(json_object_get(s->ctx->settings, "invariants"), i, v) {
        json_t *o = json_copy((json_t *)v);
        if (rc == 0 && !o) rc = error_set(err, ERR_NO_MEMORY, "no memory");
        if (rc == 0 && !json_object_get(o, "database")) rc = json_put_str(o, "database", s->dbname, err);
        if (rc == 0)
            rc = json_push(list, o, err);
        else
            json_decref(o);
    }
    if (rc < 0) {
        json_decref(list);
        return rc;
    }
    rc = json_put(facts, "declared", list, err);
    json_t *checks = json_object_get(s->ctx->settings, "consistent");
    return rc == 0 && checks ? json_put(facts, "consistent", json_pack("{s:O}", "checks", checks), err) : rc;
}

unsigned pgphys_pairs_differ(const struct pg_settings *s, const json_t *invariants) {
    const unsigned n = pg_pairs_differ(invariants);
    char text[100];
    snprintf(text, sizeof text, "%u declared pairs do not agree: see the invariants", n);
    if (n) pg_note(s, NOTE_CHANGED, BYTES_STR("consistent"), text);
    return n;
}
