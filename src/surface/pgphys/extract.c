#include "surface/pgphys/extract.h"

#include "surface/pgphys/pgphys_internal.h"
#include "surface/spool.h"

#include <stdio.h>

static bool own(const char *name) {
    return !strcmp(name, "template0") || !strcmp(name, "template1") || !strcmp(name, "postgres");
}

static int only_database(const json_t *facts, const char *pattern, const char **ret, struct error *err) {
    const json_t *d;
    size_t i, n = 0;
    json_array_foreach(json_object_get(facts, "databases"), i, d) {
        const char *name = json_string_value(json_object_get(d, "name"));
        if (!name || own(name)) continue;
        *ret = name;
        n++;
    }
    if (n == 1) return 0;
    error_set(err, ERR_USAGE, "'%.200s' does not say of which database, and the cluster has %zu", pattern, n);
    return error_next(err, "Name it as db/DATABASE/SCHEMA.TABLE, or all of it as db/DATABASE.");
}

static int add_name(json_t *list, const char *name, struct error *err) {
    const json_t *d;
    size_t i;
    json_array_foreach(list, i, d) if (!strcmp(json_string_value(json_object_get(d, "name")), name)) return 0;
    return json_push(list, json_pack("{s:s}", "name", name), err);
}

static int database_of(const json_t *facts, const char *pattern, json_t *list, struct error *err) {
    CLEANUP(buf_free) struct buf name = BUF_INIT(4096);
    const char *only = NULL;
    if (strncmp(pattern, "db/", 3) != 0 && strchr(pattern, '/'))
        return error_set(
            err, ERR_USAGE,
            "a physical backup is restored as a whole, or databases and tables come out of it as db/NAME and "
            "db/NAME/SCHEMA.TABLE; '%.200s' is none",
            pattern);
    if (strncmp(pattern, "db/", 3) != 0) {
        int rc = only_database(facts, pattern, &only, err);
        return rc == 0 ? add_name(list, only, err) : rc;
    }
    size_t n = strcspn(pattern + 3, "/");
    if (n == 0 || strcspn(pattern + 3, "*?[") < n)
        return error_set(err, ERR_USAGE, "'%.200s' does not name one database", pattern);
    int rc = pg_part_decode(&name, BYTES_OF(pattern + 3, n), err);
    if (rc == 0) rc = buf_terminate(&name, err);
    return rc == 0 ? add_name(list, (const char *)name.ptr, err) : rc;
}

/* [{"name"}], in the order of names, as a capture has them. */
static int databases(const struct restore_request *q, json_t **ret, struct error *err) {
    json_t *list = json_array();
    int rc = list ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    for (size_t i = 0; rc == 0 && q->include && q->include[i]; i++)
        rc = database_of(q->facts, q->include[i], list, err);
    if (rc == 0 && json_array_size(list) == 0) rc = error_set(err, ERR_USAGE, "no database is named");
    if (rc < 0)
        json_decref(list);
    else
        *ret = list;
    return rc;
}

int pgphys_extract_plan(const struct surface_context *ctx, const struct restore_request *q, json_t **ret,
                        struct error *err) {
    struct restore_request r = *q;
    json_t *list = NULL, *facts = NULL, *out = NULL;
    int rc = databases(q, &list, err);
    if (rc == 0 && !(facts = json_pack("{s:O}", "databases", list))) rc = error_set(err, ERR_NO_MEMORY, "no memory");
    r.facts = facts;
    if (rc == 0) rc = pg_plan(ctx, &r, &out, err);
    json_t *steps = json_object_get(out, "steps");
    if (rc == 0 &&
        (json_array_insert_new(steps, 0, json_string("recover the whole cluster on a private scratch server")) < 0 ||
         json_array_insert_new(steps, 1, json_string("dump what is asked for from there")) < 0))
        rc = error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0)
        rc = json_put_int(out, "space_bytes",
                          json_integer_value(json_object_get(out, "space_bytes")) +
                              json_integer_value(json_object_get(q->facts, "bytes")),
                          err);
    json_decref(list);
    json_decref(facts);
    if (rc < 0)
        json_decref(out);
    else
        *ret = out;
    return rc;
}

/* The surface's settings, but of the scratch server. */
static int settings_of(const struct surface_context *ctx, const json_t *scratch, const json_t *list, json_t **ret,
                       struct error *err) {
    json_t *s = ctx->settings ? json_deep_copy(ctx->settings) : json_object(), *names = json_array(), *connect = NULL;
    const json_t *d;
    size_t i;
    int rc = s && names ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    json_array_foreach(list, i, d) if (rc == 0) rc = json_push(names, json_incref(json_object_get(d, "name")), err);
    if (rc == 0) {
        connect = json_pack("{s:O, s:O, s:O, s:s}", "host", json_object_get(scratch, "host"), "port",
                            json_object_get(scratch, "port"), "user", json_object_get(scratch, "user"), "dbname",
                            "template1");
        rc = connect ? json_put(s, "connect", connect, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    }
    if (rc == 0) rc = json_put(s, "databases", json_incref(names), err);
    if (rc == 0) (void)json_object_del(s, "consistent"); /* the other of a pair need not be asked for */
    json_decref(names);
    if (rc < 0)
        json_decref(s);
    else
        *ret = s;
    return rc;
}

static int exists(const struct surface_context *ctx, const json_t *scratch, const json_t *list, struct error *err) {
    CLEANUP(pg_settings_freep) struct pg_settings *s = NULL;
    CLEANUP(pg_finishp) PGconn *c = NULL;
    const json_t *d;
    size_t i;
    int rc = pg_settings_load(ctx, scratch, &s, err);
    if (rc == 0) rc = pg_connect(s, NULL, &c, err);
    json_array_foreach(list, i, d) {
        const char *name = json_string_value(json_object_get(d, "name"));
        bool is = false;
        if (rc == 0) rc = pg_database_exists(c, name, &is, err);
        if (rc == 0 && !is) rc = error_set(err, ERR_NO_POINT, "the cluster had no database %s then", name);
    }
    return rc;
}

int pgphys_extract(const struct surface_context *ctx, const json_t *scratch, const struct restore_request *q,
                   struct restore_result *ret, struct error *err) {
    struct surface_context there = *ctx;
    struct restore_request r = *q;
    struct capture_result captured = {0};
    struct spool *spool = NULL;
    json_t *list = NULL, *settings = NULL;
    char path[PATH_MAX];
    const char *folder = json_string_value(json_object_get(scratch, "folder"));
    int rc = databases(q, &list, err);
    if (rc == 0) rc = exists(ctx, scratch, list, err);
    if (rc == 0) rc = settings_of(ctx, scratch, list, &settings, err);
    snprintf(path, sizeof path, "%s/spool", folder ? folder : "");
    there.settings = settings;
    there.secret = NULL;
    if (rc == 0 && seam_mkdirat(AT_FDCWD, path, 0700) < 0) rc = error_set_errno(err, ERR_IO_WRITE, "make %s", path);
    if (rc == 0) rc = pgphys_extract_narrow(&there, q, path, settings, err);
    if (rc == 0) rc = spool_new(path, &spool, err);
    if (rc == 0) rc = pg_capture(&there, spool_sink(spool), &captured, err);
    r.facts = captured.facts;
    r.invariants = captured.invariants;
    r.recovery = NULL;
    const uint64_t dumped = spool ? spool_bytes(spool) : 0;
    if (rc == 0) rc = pg_restore(ctx, spool_source(spool), &r, ret, err);
    if (rc == 0) rc = json_put_int(ret->facts, "dumped_bytes", (int64_t)dumped, err);
    spool_free(spool);
    json_decref(captured.facts);
    json_decref(captured.invariants);
    json_decref(settings);
    json_decref(list);
    return rc;
}
