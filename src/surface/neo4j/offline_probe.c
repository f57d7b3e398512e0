#include "surface/neo4j/neo4j_internal.h"
#include "surface/neo4j/neo4j_offline.h"

#include "base/seam.h"
#include <stdio.h>

static int problem(json_t *list, enum error_code code, const char *text, struct error *err) {
    return json_push(list, json_pack("{s:s, s:s}", "code", error_info((int)code)->code, "text", text), err);
}

/* The admin tool of an edition that has online backups has a command for them; that of another tells what it has
 * instead. */
static int edition(const struct neo4j_offline *o, json_t *facts, struct error *err) {
    static const char option[] = "--to-path";
    CLEANUP(buf_free) struct buf text = BUF_INIT(1 << 20);
    struct error ignored = ERROR_INIT;
    bool has = neo4j_admin_run(o, NULL, (const char *[]){"database", "backup", "--help", NULL},
                               "look for online backup", &text, &ignored) == 0 &&
               text.len && memmem(text.ptr, text.len, option, sizeof option - 1);
    return json_put_str(facts, "edition", has ? "enterprise" : "community", err);
}

static int look(const struct neo4j_offline *o, json_t *facts, json_t *problems, struct error *err) {
    struct error why = ERROR_INIT;
    json_t *info = NULL;
    const json_t *row;
    size_t i;
    char version[64], left[256];
    int r = 0;
    bool used = false;
    if (neo4j_service_left(o, left, sizeof left)) r = problem(problems, ERR_NEO4J_STOPPED, left, err);
    if (r < 0) return r;
    if (neo4j_admin_version(o, version, &why) < 0 || neo4j_admin_info(o, NULL, &info, &why) < 0) {
        json_decref(info);
        return problem(problems, why.code, why.text, err);
    }
    r = json_put_str(facts, "neo4j_version", version, err);
    if (r == 0) r = edition(o, facts, err);
    json_array_foreach(info, i, row) {
        const char *name = json_string_value(json_object_get(row, "name"));
        used = used || (json_is_true(json_object_get(row, "in_use")) && neo4j_offline_has(o, name));
        if (r == 0 && json_is_true(json_object_get(row, "needs_recovery")) &&
            !json_is_true(json_object_get(row, "in_use")))
            r = problem(problems, ERR_NEO4J_ADMIN,
                        "a database was not shut down cleanly and needs recovery: start the server once, and stop it",
                        err);
    }
    if (r == 0) r = json_put(facts, "running", json_boolean(used), err);
    if (r == 0) r = json_put(facts, "databases", json_incref(info), err);
    if (r == 0 && neo4j_service_check(o, &why) < 0) r = problem(problems, why.code, why.text, err);
    if (r == 0 && used && !json_is_true(json_object_get(json_object_get(o->ctx->settings, "hooks"), "stop")))
        r = problem(
            problems, ERR_NEO4J_IN_USE,
            "a server is running, and neo4j-admin dumps no database that is in use: this surface has no hooks 'stop' "
            "and 'start'",
            err);
    if (r == 0 && !json_array_size(info)) r = problem(problems, ERR_NEO4J_ABSENT, "there is no database", err);
    json_decref(info);
    return r;
}

int neo4j_offline_probe(const struct surface_context *ctx, json_t **ret, struct error *err) {
    struct neo4j_offline o;
    json_t *facts = json_object(), *problems = json_array();
    int r = facts && problems ? neo4j_offline_load(ctx, &o, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = json_put_str(facts, "method", "offline", err);
    if (r == 0) r = look(&o, facts, problems, err);
    if (r == 0) r = json_put(facts, "problems", json_incref(problems), err);
    json_decref(problems);
    if (r < 0)
        json_decref(facts);
    else
        *ret = facts;
    return r;
}

static int names_of(const json_t *facts, json_t **ret, struct error *err) {
    json_t *out = json_array();
    const json_t *d;
    size_t i;
    int r = out ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    json_array_foreach(json_object_get(facts, "databases"), i, d) if (r == 0) r =
        json_push(out, json_incref(json_object_get(d, "name")), err);
    if (r < 0)
        json_decref(out);
    else
        *ret = out;
    return r;
}

/* Whether the database that is counted over Bolt is among these. */
static bool counted(const struct surface_context *ctx, const json_t *names) {
    const char *one = json_string_value(json_object_get(json_object_get(ctx->settings, "dbms"), "database"));
    const json_t *d;
    size_t i;
    json_array_foreach(names, i, d) if (!strcmp(json_string_value(d), one ? one : "neo4j")) return true;
    return false;
}

/* Of a scratch instance, what neo4j-admin says first; then a server has to start from it, and counts. */
int neo4j_offline_measure(const struct surface_context *ctx, const json_t *scratch, const json_t *facts, json_t **ret,
                          struct error *err) {
    struct neo4j_offline o;
    char conf[PATH_MAX];
    json_t *info = NULL, *names = NULL, *counts = NULL, *out = json_object();
    const char *home = json_string_value(json_object_get(scratch, "home"));
    snprintf(conf, sizeof conf, "%s/conf", home ? home : "");
    int r = out ? neo4j_offline_load(ctx, &o, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = neo4j_admin_info(&o, home ? conf : NULL, &info, err);
    if (r == 0) r = names_of(facts, &names, err);
    if (r == 0) r = neo4j_home_invariants(names, info, out, err);
    if (r == 0 && home) r = neo4j_scratch_serve(ctx, (json_t *)scratch, err);
    if (r == 0 && home && counted(ctx, names)) r = neo4j_logical_measure(ctx, scratch, facts, &counts, err);
    if (r == 0 && counts && json_object_update_missing(out, counts) < 0) r = error_set(err, ERR_NO_MEMORY, "no memory");
    json_decref(info);
    json_decref(names);
    json_decref(counts);
    if (r < 0)
        json_decref(out);
    else
        *ret = out;
    return r;
}

int neo4j_offline_export(struct source *src, int dirfd, struct error *err) {
    json_t *names = NULL;
    const json_t *d;
    size_t i;
    int r = neo4j_items_databases(src, &names, err);
    json_array_foreach(names, i, d) {
        char file[NEO4J_NAME_MAX + 16];
        if (r < 0) break;
        snprintf(file, sizeof file, "%s.dump", json_string_value(d));
        int fd = seam_openat(dirfd, file, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
        r = fd >= 0 ? neo4j_rebuild(src, json_string_value(d), fd, file, NULL, NULL, err)
                    : error_set_errno(err, ERR_IO_WRITE, "make %s", file);
        if (r == 0 && seam_fsync(fd) < 0) r = error_set_errno(err, ERR_IO_SYNC, "make %s durable", file);
        io_close(&fd);
    }
    if (r == 0 && seam_fsync(dirfd) < 0) r = error_set_errno(err, ERR_IO_SYNC, "make the export durable");
    json_decref(names);
    return r;
}
