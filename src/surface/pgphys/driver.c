#include "surface/pgphys/pgphys_internal.h"
#include "surface/postgres/rows_diff.h"
#include "surface/pgphys/takeover.h"

#include <errno.h>
#include <stdio.h>

static bool through_host(const struct surface_context *ctx) {
    const char *through = json_string_value(json_object_get(ctx->settings, "through"));
    return through && !strcmp(through, "host");
}

static int capture(const struct surface_context *ctx, struct sink *sink, struct capture_result *ret,
                   struct error *err) {
    return through_host(ctx) ? pgphys_capture_host(ctx, sink, ret, err) : pgphys_capture_stream(ctx, sink, ret, err);
}

static int problem(json_t *problems, enum error_code code, const char *text, struct error *err) {
    return json_push(problems, json_pack("{s:s, s:s}", "code", error_info((int)code)->code, "text", text), err);
}

static int look_folder(const struct surface_context *ctx, PGconn *c, json_t *problems, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    const char *folder = json_string_value(json_object_get(ctx->settings, "data_directory"));
    struct error why = ERROR_INIT;
    char text[PATH_MAX + 100];
    if (!folder) {
        if (pg_query(c, &r, &why, "SHOW data_directory", 0, NULL) < 0)
            return problem(problems, why.code, why.text, err);
        folder = pg_value(r, 0, 0);
    }
    int fd = seam_openat(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    int control = fd >= 0 ? seam_openat(fd, PGPHYS_CONTROL, O_RDONLY | O_CLOEXEC, 0) : -1;
    snprintf(text, sizeof text, "the data folder %s cannot be read: %s", folder, strerror(errno));
    bool bad = control < 0;
    io_close(&control);
    io_close(&fd);
    return bad ? problem(problems, ERR_SOURCE_MISSING, text, err) : 0;
}

static int look(const struct surface_context *ctx, PGconn *c, json_t *problems, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    bool host = through_host(ctx);
    int major = PQserverVersion(c) / 10000, rc;
    char text[200];
    if (major < PGPHYS_MAJOR_MIN || major > PGPHYS_MAJOR_MAX) {
        snprintf(text, sizeof text, "the server is PostgreSQL %d; physical backup knows %d to %d", major,
                 PGPHYS_MAJOR_MIN, PGPHYS_MAJOR_MAX);
        return problem(problems, ERR_PG_VERSION, text, err);
    }
    rc = pg_query(c, &r, err,
                  "SELECT pg_catalog.has_function_privilege('pg_catalog.pg_backup_start(text, boolean)', 'EXECUTE')"
                  " AND pg_catalog.has_function_privilege('pg_catalog.pg_backup_stop(boolean)', 'EXECUTE'),"
                  " pg_catalog.current_setting('wal_level'),"
                  " (SELECT rolreplication OR rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)",
                  0, NULL);
    if (rc < 0) return rc;
    if (!strcmp(pg_value(r, 0, 1), "minimal"))
        rc = problem(problems, ERR_PG_BASE, "wal_level is minimal: no physical backup can be taken; set it to replica",
                     err);
    if (rc == 0 && host && !pg_true(r, 0, 0))
        rc = problem(problems, ERR_PG_PRIVILEGE,
                     "the role may not start a backup; GRANT EXECUTE ON FUNCTION pg_backup_start(text, boolean), "
                     "pg_backup_stop(boolean) to it",
                     err);
    if (rc == 0 && !host && !pg_true(r, 0, 2))
        rc = problem(problems, ERR_PG_PRIVILEGE,
                     "the role has not REPLICATION, which a base backup over the network needs", err);
    return rc == 0 && host ? look_folder(ctx, c, problems, err) : rc;
}

static int probe(const struct surface_context *ctx, json_t **ret, struct error *err) {
    CLEANUP(pg_settings_freep) struct pg_settings *s = NULL;
    CLEANUP(pg_finishp) PGconn *c = NULL;
    json_t *facts = json_object(), *problems = json_array();
    int rc = facts && problems ? pg_settings_load(ctx, NULL, &s, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0) rc = pg_connect(s, NULL, &c, err);
    if (rc == 0) rc = look(ctx, c, problems, err);
    if (rc == 0 && json_array_size(problems) == 0) rc = pgphys_server_facts(c, facts, err);
    if (rc == 0) rc = json_put(facts, "problems", json_incref(problems), err);
    json_decref(problems);
    if (rc < 0)
        json_decref(facts);
    else
        *ret = facts;
    return rc < 0 ? error_wrap(err, "postgres %s", ctx->name ? ctx->name : "") : 0;
}

static const char *type_name(struct bytes name, const struct pgphys_attr *a) {
    if (a->type == PGPHYS_FOLDER) return "folder";
    if (a->type == PGPHYS_LINK) return "tablespace";
    return pgphys_relation(name, NULL, NULL) ? "relation" : "file";
}

static int describe(struct bytes name, struct bytes attr, json_t **ret, struct error *err) {
    struct pgphys_attr a;
    char mode[8], when[32];
    int rc = pgphys_attr_decode(attr, &a, err);
    if (rc < 0) return rc;
    snprintf(mode, sizeof mode, "%04o", a.mode);
    time_format(a.mtime_ns, when);
    json_t *j = json_pack("{s:s, s:s, s:s}", "type", type_name(name, &a), "mode", mode, "mtime", when);
    rc = j ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0 && a.type == PGPHYS_LINK) rc = json_put(j, "target", json_name(a.target), err);
    if (rc == 0 && a.flags & PGPHYS_BAD_PAGES) rc = json_put(j, "bad_pages", json_true(), err);
    if (rc == 0 && a.flags & PGPHYS_GREW_SHORT) rc = json_put(j, "cut_off_while_read", json_true(), err);
    if (rc < 0)
        json_decref(j);
    else
        *ret = j;
    return rc;
}

/* A tablespace is a folder, as an export lays it down: what it leads to is on the server. Owners are not recorded. */
static int item_stat(struct bytes attr, struct item_stat *ret, struct error *err) {
    struct pgphys_attr a;
    int rc = pgphys_attr_decode(attr, &a, err);
    if (rc < 0) return rc;
    const bool file = a.type == PGPHYS_FILE;
    const int64_t s = a.mtime_ns / NS_PER_S - (a.mtime_ns % NS_PER_S < 0);
    *ret = (struct item_stat){.mode = file ? S_IFREG | a.mode : S_IFDIR | (a.type == PGPHYS_LINK ? 0700 : a.mode),
                              .uid = geteuid(),
                              .gid = getegid(),
                              .nlink = 1,
                              .mtime_s = s,
                              .mtime_ns = (uint32_t)(a.mtime_ns - s * NS_PER_S)};
    ret->ctime_s = ret->mtime_s;
    ret->ctime_ns = ret->mtime_ns;
    return 0;
}

const struct surface_driver surface_postgres_physical = {
    .kind = "postgres-physical",
    .receipt_surface = "postgres",
    .probe = probe,
    .capture = capture,
    .plan = pgphys_plan,
    .restore = pgphys_restore,
    .undo = pgphys_undo,
    .scratch_start = pgphys_scratch_start,
    .scratch_stop = pg_scratch_stop,
    .scratch_rest = pg_scratch_rest,
    .measure = pgphys_measure,
    .describe = describe,
    .export_tree = pgphys_export_tree,
    .stat = item_stat,
    .rows = &pg_rows_driver,
    .cutover = &pgphys_cutover,
};
