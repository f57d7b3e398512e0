#include "work/past.h"

#include "work/point.h"

/* Of the same major version, with the same first role: that owns what the restore makes. */
static bool fits(const struct past_instance *i, const struct work_reading *in, int64_t version) {
    const char *user = json_string_value(json_object_get(i->scratch, "user")),
               *role = json_string_value(json_object_get(in->facts, "bootstrap_role"));
    return i->driver == in->surface.driver && i->version / 10000 == version / 10000 && user && role &&
           !strcmp(user, role);
}

static int start(struct work *w, struct past_instance *i, struct work_reading *in, struct error *err) {
    int64_t version = json_integer_value(json_object_get(in->facts, "server_version_num"));
    if (i->driver && fits(i, in, version)) return 0;
    past_instance_stop(w, i);
    int rc = in->surface.driver->scratch_start(&in->ctx, in->facts, &i->scratch, err);
    if (rc < 0) return rc;
    i->driver = in->surface.driver;
    i->version = version;
    return 0;
}

void past_instance_stop(struct work *w, struct past_instance *i) {
    const struct surface_context ctx = {.scratch_dir = w->scratch_dir};
    if (i->driver) i->driver->scratch_stop(&ctx, i->scratch);
    json_decref(i->scratch);
    *i = (struct past_instance){0};
}

static int open_point(struct past *p, const char *const *include, const json_t **ret, struct error *err) {
    struct past_point *me = (struct past_point *)p;
    struct past_instance *i = me->instance ? me->instance : &me->own;
    struct work_reading *in = me->in;
    struct restore_result r = {0};
    int rc = start(me->work, i, in, err);
    if (rc == 0) {
        struct restore_request q = {.as_scratch = true,
                                    .scratch = i->scratch,
                                    .include = include,
                                    .facts = in->facts,
                                    .invariants = in->invariants};
        rc = in->surface.driver->restore(&in->ctx, &in->source.source, &q, &r, err);
    }
    json_decref(r.facts);
    if (rc == 0) *ret = i->scratch;
    return known_secrets_error(&me->work->known, rc, err);
}

static void close_point(struct past *p) {
    struct past_point *me = (struct past_point *)p;
    past_instance_stop(me->work, &me->own);
}

void past_of_point(struct work *w, const struct snapshot_info *info, struct work_reading *in, struct past_point *ret) {
    *ret = (struct past_point){
        .past = {.open = open_point, .close = close_point, .instant_ns = point_time(info)}, .work = w, .in = in};
}

/* Of a cluster: every database that is not the server's own. One that is named may be younger than the backup. */
static int cluster_database(const json_t *list, const char *wanted, const char **ret, struct error *err) {
    const json_t *d;
    size_t i, n = 0;
    json_array_foreach(list, i, d) {
        const char *name = json_string_value(json_object_get(d, "name"));
        if (!name || !strcmp(name, "template0") || !strcmp(name, "template1") || !strcmp(name, "postgres")) continue;
        n++;
        *ret = name;
    }
    if (wanted) *ret = wanted;
    if (wanted || n == 1) return 0;
    return error_set(err, ERR_USAGE, "the cluster has %zu databases besides its own; name one with --database", n);
}

int past_database(const json_t *facts, const char *wanted, const char **ret, struct error *err) {
    const json_t *list = json_object_get(facts, "databases"), *d;
    const char *method = json_string_value(json_object_get(facts, "method"));
    size_t i;
    if (method && !strcmp(method, "physical")) return cluster_database(list, wanted, ret, err);
    if (!wanted && json_array_size(list) > 1)
        return error_set(err, ERR_USAGE, "the recovery point has %zu databases; name one with --database",
                         json_array_size(list));
    json_array_foreach(list, i, d) {
        const char *name = json_string_value(json_object_get(d, "name"));
        if (!name || (wanted && strcmp(name, wanted) != 0)) continue;
        *ret = name;
        return 0;
    }
    return error_set(err, ERR_NO_POINT, "the recovery point has no database %s", wanted ? wanted : "at all");
}

int past_rows(const struct work_reading *in, const struct rows_driver **ret, struct error *err) {
    *ret = in->surface.driver->rows;
    return *ret ? 0 : error_set(err, ERR_USAGE, "a surface of kind %s has no rows", in->surface.driver->kind);
}

static bool has_parts(const json_t *facts, const char *database) {
    const json_t *d;
    size_t i;
    json_array_foreach(json_object_get(facts, "databases"), i, d) {
        const char *name = json_string_value(json_object_get(d, "name"));
        if (name && !strcmp(name, database))
            return json_object_get(json_object_get(d, "extensions"), "timescaledb") != NULL;
    }
    return false;
}

int past_scope(const json_t *facts, const struct rows_driver *d, const char *database, const char *pick,
               struct buf *ret, struct error *err) {
    /* In the scope's own form: what names any table of the database names all of it without the table. */
    int rc = d->scope(database, pick, ret, err);
    if (rc < 0 || !has_parts(facts, database)) return rc;
    while (ret->len && ret->ptr[ret->len - 1] != '/') ret->len--;
    rc = buf_append_str(ret, "contents", err);
    return rc == 0 ? buf_terminate(ret, err) : rc;
}
