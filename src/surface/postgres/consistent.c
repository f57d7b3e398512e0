/* Pairs of databases that are declared to belong together (a store and the one that holds metadata of it): the
 * settings' `consistent` names queries of both whose values must be the same. */
#include "surface/postgres/postgres_internal.h"

#include "base/seam.h"
#include <stdio.h>

#define PAIR "consistent/"

int pg_pair_read(const json_t *check, struct pg_pair *ret, struct error *err) {
    int rc = json_need_str(check, "name", "a declared pair", &ret->name, err);
    if (rc == 0) rc = json_need_str(check, "database", "a declared pair", &ret->database[0], err);
    if (rc == 0) rc = json_need_str(check, "sql", "a declared pair", &ret->sql[0], err);
    if (rc == 0) rc = json_need_str(check, "other", "a declared pair", &ret->database[1], err);
    return rc == 0 ? json_need_str(check, "other_sql", "a declared pair", &ret->sql[1], err) : rc;
}

int pg_pair_ask(const struct pg_pair *p, PGconn *const c[2], json_t *ret_value[2], struct error *err) {
    ret_value[0] = ret_value[1] = NULL;
    for (int k = 0; k < 2; k++) {
        int rc = pg_declared_ask(c[k], p->name, p->sql[k], &ret_value[k], err);
        if (rc < 0) {
            json_decref(ret_value[0]);
            ret_value[0] = NULL;
            return error_wrap(err, "database %s", p->database[k]);
        }
    }
    return 0;
}

int pg_pair_put(const char *name, json_t *const value[2], json_t *out, struct error *err) {
    char key[300];
    snprintf(key, sizeof key, PAIR "%.250s", name);
    json_t *v = json_pack("{s:{s:O, s:O}, s:s}", "value", "here", value[0], "there", value[1], "expect", "equal");
    return json_put(out, key, v, err);
}

unsigned pg_pairs_differ(const json_t *invariants) {
    const char *key;
    json_t *v;
    unsigned n = 0;
    json_object_foreach((json_t *)invariants, key, v) {
        const json_t *said = json_object_get(v, "value");
        if (strncmp(key, PAIR, sizeof PAIR - 1) == 0)
            n += !json_equal(json_object_get(said, "here"), json_object_get(said, "there"));
    }
    return n;
}

static int measure_one(const struct pg_settings *s, const struct pg_pair *p, json_t *out, struct error *err) {
    PGconn *c[2] = {NULL, NULL};
    json_t *value[2] = {NULL, NULL};
    int rc = pg_connect(s, p->database[0], &c[0], err);
    if (rc == 0) rc = pg_connect(s, p->database[1], &c[1], err);
    if (rc == 0) rc = pg_pair_ask(p, c, value, err);
    if (rc == 0) rc = pg_pair_put(p->name, value, out, err);
    for (int k = 0; k < 2; k++) {
        json_decref(value[k]);
        pg_finishp(&c[k]);
    }
    return rc;
}

int pg_pairs_measure(const struct pg_settings *s, const json_t *checks, json_t *out, struct error *err) {
    const json_t *v;
    size_t i;
    int rc = 0;
    json_array_foreach(checks, i, v) {
        struct pg_pair p;
        if (rc == 0) rc = pg_pair_read(v, &p, err);
        if (rc == 0) rc = measure_one(s, &p, out, err);
    }
    return rc;
}
