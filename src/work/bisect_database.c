#include "work/bisect_internal.h"

#include <stdio.h>
#include <stdlib.h>

/* A database is one by its name; but who looks for what was lost from it means the same one when it was called
 * otherwise at the time. Numbers say that, within a cluster. */

static void learn(struct asking *a, const json_t *facts, const char *name) {
    const char *system = json_string_value(json_object_get(facts, "system_identifier"));
    const json_t *d;
    size_t i;
    json_array_foreach(json_object_get(facts, "databases"), i, d) {
        const char *is = json_string_value(json_object_get(d, "name")),
                   *oid = json_string_value(json_object_get(d, "oid"));
        if (!is || strcmp(is, name) != 0 || !oid || !system || strlen(name) >= sizeof a->database) continue;
        snprintf(a->database, sizeof a->database, "%s", name);
        snprintf(a->system, sizeof a->system, "%s", system);
        a->database_oid = (uint32_t)strtoul(oid, NULL, 10);
    }
}

int bisect_database_learn(struct asking *a, struct error *err) {
    int rc = 0;
    for (size_t i = a->count; rc == 0 && i-- > 0 && !*a->database;) {
        const struct snapshot_info *info = a->points[i].info;
        struct work_reading in;
        struct error none = ERROR_INIT;
        const char *name;
        if (!past_is_physical(info) || a->points[i].end) continue;
        rc = work_reading_open(a->w, info, &in, err);
        int said = rc == 0 ? past_database(in.facts, a->o->database, &name, &none) : -ERR_NO_POINT;
        if (said == 0) learn(a, in.facts, name);
        work_reading_close(&in);
        if (said == -ERR_USAGE) break; /* which of several must be named, as who asks that point will say */
        if (rc < 0 && (error_info(rc)->status == EXIT_INTEGRITY || rc == -ERR_S3_ARCHIVED)) { /* another may tell */
            error_clear(err);
            rc = 0;
        }
    }
    return rc;
}

int bisect_database_at(const struct asking *a, const struct work_reading *in, const struct rows_driver *rows,
                       const json_t *scratch, char room[192], const char **name, struct bisect_try *t,
                       struct error *err) {
    static const char mark[] = "$proofkeep$";
    const char *system = json_string_value(json_object_get(in->facts, "system_identifier"));
    bool same = *a->database && !strcmp(*name, a->database) && system && !strcmp(system, a->system);
    json_t *v = NULL;
    char sql[1024];
    if (strstr(*name, mark)) return 0; /* nobody calls one so; entering it will tell */
    snprintf(sql, sizeof sql,
             "SELECT (SELECT datname FROM pg_catalog.pg_database WHERE datname = %s%.190s%s OR oid = %lu"
             " ORDER BY datname = %s%.190s%s DESC LIMIT 1)",
             mark, *name, mark, same ? (unsigned long)a->database_oid : 0, mark, *name, mark);
    int rc = rows->ask(&in->ctx, scratch, "template1", sql, &v, err);
    const char *is = json_string_value(v);
    if (rc == 0 && !is) {
        snprintf(t->text, sizeof t->text, "there is no database %.190s", *name);
        rc = error_set(err, ERR_NO_POINT, "%s", t->text);
    } else if (rc == 0 && strcmp(is, *name) != 0) {
        snprintf(t->text, sizeof t->text, "the database is called %.190s there", is);
        snprintf(room, 192, "%s", is);
        *name = room;
    }
    json_decref(v);
    return rc;
}
