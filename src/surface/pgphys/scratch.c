#include "surface/pgphys/pgphys_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define LOG_SHOWN 900
#define START_SECONDS "86400" /* replay takes as long as there is WAL */
#define TOOL_ARGS 16

struct scratch {
    const char *folder, *data, *bin, *sockets, *run_as;
};

static int read_scratch(const json_t *j, struct scratch *ret, struct error *err) {
    *ret = (struct scratch){.run_as = json_string_value(json_object_get(j, "run_as"))};
    int rc = json_need_str(j, "folder", "the scratch server's facts", &ret->folder, err);
    if (rc == 0) rc = json_need_str(j, "data", "the scratch server's facts", &ret->data, err);
    if (rc == 0) rc = json_need_str(j, "bin", "the scratch server's facts", &ret->bin, err);
    return rc == 0 ? json_need_str(j, "host", "the scratch server's facts", &ret->sockets, err) : rc;
}

static int run_tool(const struct scratch *w, const char *program, const char *const *args, struct buf *out,
                    struct error *err) {
    char path[PATH_MAX + 32];
    const char *argv[TOOL_ARGS + 2];
    size_t n = 0;
    snprintf(path, sizeof path, "%s/%s", w->bin, program);
    for (argv[n++] = path; *args && n <= TOOL_ARGS; args++) argv[n++] = *args;
    argv[n] = NULL;
    struct proc_spec spec = {.argv = argv, .user = w->run_as, .cwd = w->folder, .keep_fd = -1};
    return proc_run(&spec, out, err);
}

static int tool(const struct scratch *w, const char *program, const char *const *args, struct error *err) {
    return run_tool(w, program, args, NULL, err);
}

/* ---- what the server and its tools say ---- */

/* The version of a program, or why there is nothing to be had of it (*ret_without, else NULL). */
static int look_for(const struct scratch *w, const char *program, char version[64], const char **ret_without,
                    struct error *err) {
    CLEANUP(buf_free) struct buf out = BUF_INIT(4096);
    struct error why = ERROR_INIT;
    char path[PATH_MAX];
    struct stat st;
    const char *args[] = {"--version", NULL};
    *ret_without = "it is not among the server's programs";
    if (snprintf(path, sizeof path, "%s/%s", w->bin, program) >= PATH_MAX || seam_fstatat(AT_FDCWD, path, &st, 0) < 0)
        return 0;
    *ret_without = "it does not run";
    int rc = run_tool(w, program, args, &out, &why);
    if (rc == -ERR_PROC_FAILED || rc == -ERR_PROC_SPAWN) return 0;
    if (rc == 0) rc = buf_terminate(&out, &why);
    if (rc < 0) {
        *err = why;
        return rc;
    }
    const char *p = strstr((const char *)out.ptr, ") ");
    if (!p) return 0;
    snprintf(version, 64, "%.*s", (int)strcspn(p + 2, " \n"), p + 2);
    *ret_without = NULL;
    return 0;
}

/* from: when it began; 0: it was not begun. */
static int said(const struct surface_context *ctx, const char *check, const char *result, const char *version,
                const char *why, int64_t from, struct error *err) {
    if (!ctx->checks) return 0;
    json_t *one = json_pack("{s:s, s:s, s:s*, s:s*}", "check", check, "result", result, "version", version, "why", why);
    if (one && from)
        json_object_set_new(one, "duration_ms", json_integer((json_int_t)((time_monotonic_ns() - from) / 1000000)));
    return json_push(ctx->checks, one, err);
}

/* What failed is an error, which says why; that it was this check stands beside it. */
static void failed(const struct surface_context *ctx, const char *check, const char *version, int64_t from) {
    struct error ignored = ERROR_INIT;
    (void)!said(ctx, check, "FAILED", version, NULL, from, &ignored);
}

int pgphys_scratch_start(const struct surface_context *ctx, const json_t *facts, json_t **ret, struct error *err) {
    int64_t version = 0;
    json_t *j = NULL;
    int rc = json_need_int(facts, "server_version_num", "the snapshot's facts", &version, err);
    if (rc == 0) rc = pg_scratch_prepare(ctx, facts, &j, err);
    if (rc < 0) return rc;
    const char *found = json_string_value(json_object_get(j, "version"));
    /* Files of one major version are nothing to another. */
    if (!found || strtoll(found, NULL, 10) != version / 10000) {
        rc = error_set(
            err, ERR_PG_SCRATCH, "a physical backup of PostgreSQL %lld needs that server; %s in %s was found",
            (long long)(version / 10000), found ? found : "none", json_string_value(json_object_get(j, "bin")));
        pg_scratch_stop(ctx, j);
        json_decref(j);
        return rc;
    }
    *ret = j;
    return 0;
}

/* ---- the configuration of a copy that nobody but us may reach ---- */

static int line(struct buf *b, const char *key, const char *value, struct error *err) {
    int rc = buf_printf(b, err, "%s = ", key);
    if (rc == 0) rc = pg_literal(b, BYTES_STR(value), err);
    return rc == 0 ? buf_append_str(b, "\n", err) : rc;
}

static int settings_text(const struct scratch *w, const json_t *facts, struct buf *b, struct error *err) {
    const json_t *settings = json_object_get(facts, "settings"), *v;
    const char *level = json_string_value(json_object_get(settings, "wal_level")), *key;
    const char *libraries = json_string_value(json_object_get(settings, "shared_preload_libraries"));
    char path[PATH_MAX + 16];
    /* A copy's subscriptions would take from their publishers what is meant for the original, and jobs of its own would
     * change it. */
    int rc = buf_append_str(b,
                            "listen_addresses = ''\nport = 5432\nunix_socket_permissions = 0700\nfsync = off\n"
                            "full_page_writes = off\narchive_mode = off\nautovacuum = off\nlogging_collector = off\n"
                            "shared_buffers = '128MB'\nhot_standby = off\nmax_logical_replication_workers = 0\n",
                            err);
    if (rc == 0) rc = line(b, "unix_socket_directories", w->sockets, err);
    if (rc == 0) rc = line(b, "data_directory", w->data, err);
    if (rc == 0) rc = line(b, "wal_level", level && !strcmp(level, "logical") ? level : "replica", err);
    snprintf(path, sizeof path, "%s/pg_hba.conf", w->folder);
    if (rc == 0) rc = line(b, "hba_file", path, err);
    snprintf(path, sizeof path, "%s/pg_ident.conf", w->folder);
    if (rc == 0) rc = line(b, "ident_file", path, err);
    if (rc == 0 && libraries && strstr(libraries, "timescaledb"))
        rc = buf_append_str(b, "shared_preload_libraries = 'timescaledb'\ntimescaledb.max_background_workers = 0\n",
                            err);
    const json_t *replica = json_object_get(facts, "replica_settings");
    json_int_t connections = json_integer_value(json_object_get(replica, "max_connections"));
    json_object_foreach((json_t *)replica, key, v) {
        json_int_t n = json_integer_value(v);
        /* Prepared transactions may have been allowed since; of all these only what they need is asked for by the
         * replay. */
        if (!strcmp(key, "max_prepared_transactions") && n < connections) n = connections;
        if (rc == 0 && json_is_integer(v)) rc = buf_printf(b, err, "%s = %lld\n", key, (long long)n);
    }
    return rc;
}

static int write_config(const struct scratch *w, const json_t *facts, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(64 << 10);
    char path[PATH_MAX + 32];
    int rc = settings_text(w, facts, &b, err);
    snprintf(path, sizeof path, "%s/postgresql.conf", w->folder);
    if (rc == 0) rc = io_replace_file(AT_FDCWD, path, buf_bytes(&b), 0644, err);
    snprintf(path, sizeof path, "%s/pg_hba.conf", w->folder);
    if (rc == 0) rc = io_replace_file(AT_FDCWD, path, BYTES_STR("local all all trust\n"), 0644, err);
    snprintf(path, sizeof path, "%s/pg_ident.conf", w->folder);
    return rc == 0 ? io_replace_file(AT_FDCWD, path, BYTES_OF(NULL, 0), 0644, err) : rc;
}

static void add_log(const char *path, struct error *err) {
    CLEANUP(buf_free) struct buf log = BUF_INIT(16u << 20);
    struct error ignored = ERROR_INIT;
    if (io_read_file(AT_FDCWD, path, 16u << 20, &log, &ignored) < 0 || log.len == 0) return;
    size_t n = log.len < LOG_SHOWN ? log.len : LOG_SHOWN;
    error_wrap(err, "the server said: %.*s", (int)n, (const char *)log.ptr + log.len - n);
}

static int start(const struct scratch *w, struct error *err) {
    char options[PATH_MAX + 64], log[PATH_MAX + 8];
    struct error why = ERROR_INIT;
    snprintf(options, sizeof options, "-c config_file=%s/postgresql.conf", w->folder);
    snprintf(log, sizeof log, "%s/log", w->folder);
    const char *args[] = {"--pgdata", w->data,     "--log", log,     "--wait", "--timeout=" START_SECONDS,
                          "--silent", "--options", options, "start", NULL};
    int rc = tool(w, "pg_ctl", args, &why);
    if (rc == 0) return 0;
    if (rc == -ERR_INTERRUPTED || rc == -ERR_TERMINATED) {
        *err = why;
        return rc;
    }
    error_set(err, ERR_PG_RECOVERY, "the restored server did not come up");
    add_log(log, err);
    return -(int)err->code;
}

/* It takes no connections before its recovery is at an end. */
static int wait_up(const struct surface_context *ctx, const json_t *scratch, const struct scratch *w,
                   struct error *err) {
    CLEANUP(pg_settings_freep) struct pg_settings *s = NULL;
    char pid[PATH_MAX + 32], log[PATH_MAX + 8];
    struct stat st;
    snprintf(pid, sizeof pid, "%s/postmaster.pid", w->data);
    snprintf(log, sizeof log, "%s/log", w->folder);
    int rc = pg_settings_load(ctx, scratch, &s, err);
    while (rc == 0) {
        CLEANUP(pg_finishp) PGconn *c = NULL;
        struct error why = ERROR_INIT;
        bool runs = seam_fstatat(AT_FDCWD, pid, &st, AT_SYMLINK_NOFOLLOW) == 0;
        if (pg_connect(s, NULL, &c, &why) == 0) return 0;
        if (!runs) {
            error_set(err, ERR_PG_RECOVERY, "the restored server went down while it recovered");
            add_log(log, err);
            return -(int)err->code;
        }
        rc = stop_check(err);
        if (rc == 0) pgphys_pause(100);
    }
    return rc;
}

static int verify(const struct surface_context *ctx, const struct scratch *w, struct error *err) {
    struct error why = ERROR_INIT;
    const char *args[] = {"--quiet", w->data, NULL}, *without;
    char version[64];
    int rc = look_for(w, "pg_verifybackup", version, &without, err);
    if (rc < 0) return rc;
    if (without) return said(ctx, "pg_verifybackup", "NOT_CHECKED", NULL, without, 0, err);
    int64_t from = time_monotonic_ns();
    rc = tool(w, "pg_verifybackup", args, &why);
    if (rc == -ERR_PROC_FAILED) {
        failed(ctx, "pg_verifybackup", version, from);
        return error_set(err, ERR_RESTORE_DIFFERS, "pg_verifybackup: %s", why.text);
    }
    if (rc < 0) {
        *err = why;
        return rc;
    }
    return said(ctx, "pg_verifybackup", "PASSED", version, NULL, from, err);
}

/* So that what was closed when the copy was taken can be looked into; the copy is ours to change. One whose removal was
 * interrupted (-2) stays as it is, and so do all where the role may not open them: entering one then says so. */
static int open_databases(const struct surface_context *ctx, const json_t *scratch, struct error *err) {
    CLEANUP(pg_settings_freep) struct pg_settings *s = NULL;
    CLEANUP(pg_finishp) PGconn *c = NULL;
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc = pg_settings_load(ctx, scratch, &s, err);
    if (rc == 0) rc = pg_connect(s, NULL, &c, err);
    if (rc == 0)
        rc = pg_query(c, &r, err,
                      "SELECT pg_catalog.format('ALTER DATABASE %I ALLOW_CONNECTIONS true', datname)"
                      " FROM pg_catalog.pg_database"
                      " WHERE NOT datallowconn AND datname <> 'template0' AND datconnlimit <> -2",
                      0, NULL);
    for (int i = 0; rc == 0 && i < PQntuples(r); i++) {
        struct error refused = ERROR_INIT;
        if (pg_command(c, &refused, "%s", pg_value(r, i, 0)) < 0 && PQstatus(c) != CONNECTION_OK) {
            *err = refused;
            rc = -(int)refused.code;
        }
    }
    return rc;
}

int pgphys_scratch_run(const struct surface_context *ctx, const struct restore_request *q, struct error *err) {
    struct scratch w;
    const char *version = json_string_value(json_object_get(q->scratch, "version"));
    int rc = read_scratch(q->scratch, &w, err);
    if (rc == 0 && !json_is_false(json_object_get(q->scratch, "verify"))) rc = verify(ctx, &w, err);
    if (rc == 0) rc = write_config(&w, q->facts, err);
    if (rc < 0) return rc;
    int64_t from = time_monotonic_ns();
    rc = start(&w, err);
    if (rc == 0) rc = wait_up(ctx, q->scratch, &w, err);
    if (rc == -ERR_PG_RECOVERY) failed(ctx, "recovery", version, from);
    if (rc == 0) rc = said(ctx, "recovery", "PASSED", version, NULL, from, err);
    if (rc == 0 && json_is_true(json_object_get(q->scratch, "open_databases")))
        rc = open_databases(ctx, q->scratch, err);
    return rc;
}

/* ---- measurement ---- */

/* Of the databases in which its extension can be made; the copy is ours to change. */
static int amcheck(const struct surface_context *ctx, const struct scratch *w, const struct pg_settings *s,
                   struct error *err) {
    CLEANUP(pg_finishp) PGconn *c = NULL;
    CLEANUP(pg_clearp) PGresult *r = NULL;
    struct error why = ERROR_INIT;
    int rc = pg_connect(s, NULL, &c, err);
    if (rc == 0)
        rc = pg_query(c, &r, err, "SELECT 1 FROM pg_catalog.pg_available_extensions WHERE name = 'amcheck'", 0, NULL);
    if (rc < 0) return rc;
    const char *without = "the server has no extension amcheck";
    char version[64];
    if (PQntuples(r) == 1) rc = look_for(w, "pg_amcheck", version, &without, err);
    if (rc < 0) return rc;
    if (without) return said(ctx, "pg_amcheck", "NOT_CHECKED", NULL, without, 0, err);
    const char *args[] = {"--host", w->sockets,          "--port", "5432", "--username", s->user,
                          "--all",  "--install-missing", NULL};
    int64_t from = time_monotonic_ns();
    rc = tool(w, "pg_amcheck", args, &why);
    if (rc == -ERR_PROC_FAILED) {
        failed(ctx, "pg_amcheck", version, from);
        return error_set(err, ERR_PG_INVARIANT, "pg_amcheck: %s", why.text);
    }
    if (rc < 0) {
        *err = why;
        return rc;
    }
    return said(ctx, "pg_amcheck", "PASSED", version, NULL, from, err);
}

static int came_up(const struct pg_settings *s, struct error *err) {
    CLEANUP(pg_finishp) PGconn *c = NULL;
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc = pg_connect(s, NULL, &c, err);
    if (rc == 0) rc = pg_query(c, &r, err, "SELECT pg_catalog.pg_is_in_recovery()", 0, NULL);
    if (rc == 0 && pg_true(r, 0, 0))
        rc = error_set(err, ERR_PG_RECOVERY, "the restored server has not come to the end of its recovery");
    return rc;
}

int pgphys_measure(const struct surface_context *ctx, const json_t *scratch, const json_t *facts, json_t **ret,
                   struct error *err) {
    CLEANUP(pg_settings_freep) struct pg_settings *s = NULL;
    struct scratch w;
    json_t *out = json_object();
    int rc = out ? pg_settings_load(ctx, scratch, &s, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0 && scratch) rc = read_scratch(scratch, &w, err);
    if (rc == 0 && scratch) rc = came_up(s, err);
    if (rc == 0) rc = pgphys_invariants(s, facts, NULL, out, err);
    /* It adds an extension. What of a page that is rotten cannot be read, it can say more of than a query that fails.
     */
    if (scratch && (rc == 0 || rc == -ERR_PG_QUERY)) {
        struct error why = ERROR_INIT;
        int found = amcheck(ctx, &w, s, &why);
        if (found < 0 && (rc == 0 || found == -ERR_PG_INVARIANT)) {
            *err = why;
            rc = found;
        }
    }
    if (rc < 0)
        json_decref(out);
    else
        *ret = out;
    return rc;
}
