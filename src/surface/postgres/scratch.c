#include "surface/postgres/postgres_internal.h"

#include "base/seam.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET_NAME "/.s.PGSQL.5432.lock"
#define SOCKETS_ELSEWHERE "/tmp/proofkeep-"
#define LOG_SHOWN 600

struct starting {
    struct pg_settings *s;
    struct pg_tools tools;
    char folder[PATH_MAX], data[PATH_MAX + 8], sockets[PATH_MAX + 8], log[PATH_MAX + 8];
    bool own_sockets; /* the socket folder is outside of the scratch folder */
};

/* A server never runs as root. */
static int choose_user(struct pg_settings *s, struct error *err) {
    const char *want = json_string_value(json_object_get(s->ctx->settings, "run_as"));
    if (geteuid() != 0) return 0;
    int r = mem_strdup(want ? want : "postgres", &s->run_as, err);
    if (r == 0) r = pg_settings_user(s, err);
    if (r == 0 && !s->become)
        r = error_set(err, ERR_PG_SCRATCH, "a server may not run as root; set run_as to another user");
    return r;
}

static int run_tool(struct starting *w, const char *program, const char *const *args, struct error *err) {
    char path[PATH_MAX + 16];
    const char *argv[24];
    size_t n = 0;
    snprintf(path, sizeof path, "%s/%s", w->tools.dir, program);
    for (argv[n++] = path; *args && n + 1 < sizeof argv / sizeof *argv; args++) argv[n++] = *args;
    argv[n] = NULL;
    struct proc_spec spec = {.argv = argv, .user = w->s->run_as, .cwd = w->folder, .keep_fd = -1};
    return proc_run(&spec, NULL, err);
}

static int choose_folders(struct starting *w, struct error *err) {
    char name[64];
    uint8_t random[8];
    char hex[17];
    int r = random_bytes(random, sizeof random, err);
    if (r < 0) return r;
    hex_encode(random, sizeof random, hex);
    snprintf(name, sizeof name, "pg-%s", hex);
    r = pg_scratch_folder(w->s, name, true, w->folder, err);
    if (r < 0) return r;
    snprintf(w->data, sizeof w->data, "%s/data", w->folder);
    snprintf(w->log, sizeof w->log, "%s/log", w->folder);
    snprintf(w->sockets, sizeof w->sockets, "%s", w->folder);
    if (strlen(w->sockets) + sizeof SOCKET_NAME <= sizeof((struct sockaddr_un *)0)->sun_path) return 0;
    /* The address of a socket is short; a deep scratch folder does not fit. */
    snprintf(w->sockets, sizeof w->sockets, SOCKETS_ELSEWHERE "%s", hex);
    if (seam_mkdirat(AT_FDCWD, w->sockets, 0700) < 0)
        return error_set_errno(err, ERR_IO_WRITE, "make a folder for sockets, %s", w->sockets);
    w->own_sockets = true;
    if (w->s->become && seam_fchownat(AT_FDCWD, w->sockets, w->s->uid, w->s->gid, AT_SYMLINK_NOFOLLOW) < 0)
        return error_set_errno(err, ERR_IO_WRITE, "give %s to %s", w->sockets, w->s->run_as);
    return 0;
}

static int configure(struct starting *w, const json_t *facts, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(64 << 10);
    char path[PATH_MAX + 32];
    const json_t *d;
    size_t i;
    bool timescale = false;
    json_array_foreach(json_object_get(facts, "databases"), i, d) timescale |=
        json_object_get(json_object_get(d, "extensions"), "timescaledb") != NULL;
    int r = buf_append_str(&text,
                           "\n# scratch: private, disposable, reachable by its own socket only\nlisten_addresses = ''\n"
                           "unix_socket_permissions = 0700\nfsync = off\nfull_page_writes = off\n"
                           "synchronous_commit = off\nwal_level = minimal\nmax_wal_senders = 0\n"
                           "archive_mode = off\nautovacuum = off\nmax_locks_per_transaction = 512\n"
                           "logging_collector = off\nshared_buffers = '64MB'\nunix_socket_directories = ",
                           err);
    if (r == 0) r = pg_literal(&text, BYTES_STR(w->sockets), err);
    if (r == 0) r = buf_append_str(&text, "\n", err);
    if (r == 0 && timescale) r = buf_append_str(&text, "shared_preload_libraries = 'timescaledb'\n", err);
    if (r < 0) return r;
    snprintf(path, sizeof path, "%s/postgresql.conf", w->data);
    int fd = seam_openat(AT_FDCWD, path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0);
    if (fd < 0) return error_set_errno(err, ERR_IO_WRITE, "open %s", path);
    r = io_write_full(fd, text.ptr, text.len, path, err);
    io_close(&fd);
    return r;
}

static void add_log(struct starting *w, struct error *err) {
    CLEANUP(buf_free) struct buf log = BUF_INIT(1 << 20);
    struct error ignored = ERROR_INIT;
    if (io_read_file(AT_FDCWD, w->log, 1 << 20, &log, &ignored) < 0 || log.len == 0) return;
    size_t n = log.len < LOG_SHOWN ? log.len : LOG_SHOWN;
    error_wrap(err, "the server said: %.*s", (int)n, (const char *)log.ptr + log.len - n);
}

static int start(struct starting *w, const json_t *facts, const char *superuser, struct error *err) {
    const char *init[] = {"--pgdata",        w->data,      "--username", superuser,           "--auth=trust",
                          "--encoding=UTF8", "--locale=C", "--no-sync",  "--no-instructions", NULL};
    int r = run_tool(w, "initdb", init, err);
    if (r == 0) r = configure(w, facts, err);
    const char *ctl[] = {"--pgdata", w->data, "--log", w->log, "--wait", "--timeout=60", "--silent", "start", NULL};
    if (r == 0 && (r = run_tool(w, "pg_ctl", ctl, err)) < 0) add_log(w, err);
    return r;
}

static json_t *describe(const struct starting *w, const char *superuser) {
    json_t *j = json_pack("{s:s, s:s, s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:b}", "kind", "postgres", "host", w->sockets,
                          "port", 5432, "user", superuser, "dbname", "template1", "folder", w->folder, "data", w->data,
                          "bin", w->tools.dir, "version", w->tools.version, "own_sockets", w->own_sockets);
    if (j && w->s->run_as && json_object_set_new(j, "run_as", json_string(w->s->run_as)) < 0) {
        json_decref(j);
        return NULL;
    }
    return j;
}

static void remove_all(const char *folder, const char *sockets, bool own_sockets) {
    struct error ignored = ERROR_INIT;
    (void)!io_remove_tree(AT_FDCWD, folder, &ignored);
    error_clear(&ignored);
    if (own_sockets) (void)!io_remove_tree(AT_FDCWD, sockets, &ignored);
}

static int scratch(const struct surface_context *ctx, const json_t *facts, bool run, json_t **ret, struct error *err) {
    CLEANUP(pg_settings_freep) struct pg_settings *s = NULL;
    struct starting w = {0};
    int64_t version = 0;
    const char *superuser = json_string_value(json_object_get(facts, "bootstrap_role"));
    if (!superuser || !*superuser) superuser = "postgres";
    /* Where the live server is does not matter here, and its password is not asked for. */
    json_t *nowhere = json_object();
    int r = nowhere ? pg_settings_load(ctx, nowhere, &s, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    json_decref(nowhere);
    if (r < 0) return r;
    w.s = s;
    r = choose_user(s, err);
    if (r == 0) r = json_need_int(facts, "server_version_num", "the snapshot's facts", &version, err);
    if (r == 0) r = pg_tools_find(s, (int)(version / 10000), true, &w.tools, err);
    if (r == 0) r = choose_folders(&w, err);
    if (r == 0 && run) r = start(&w, facts, superuser, err);
    json_t *j = r == 0 ? describe(&w, superuser) : NULL;
    if (r == 0 && !j) r = error_set(err, ERR_NO_MEMORY, "no memory");
    if (r < 0) {
        if (w.folder[0]) remove_all(w.folder, w.sockets, w.own_sockets);
        return error_wrap(err, "start a scratch PostgreSQL");
    }
    *ret = j;
    return 0;
}

int pg_scratch_start(const struct surface_context *ctx, const json_t *facts, json_t **ret, struct error *err) {
    return scratch(ctx, facts, true, ret, err);
}

int pg_scratch_prepare(const struct surface_context *ctx, const json_t *facts, json_t **ret, struct error *err) {
    return scratch(ctx, facts, false, ret, err);
}

static int stop_server(const json_t *scratch, struct error *err) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/pg_ctl", json_string_value(json_object_get(scratch, "bin")));
    const char *argv[] = {path,
                          "--pgdata",
                          json_string_value(json_object_get(scratch, "data")),
                          "--mode=immediate",
                          "--wait",
                          "--timeout=30",
                          "--silent",
                          "stop",
                          NULL};
    struct proc_spec spec = {.argv = argv,
                             .user = json_string_value(json_object_get(scratch, "run_as")),
                             .cwd = json_string_value(json_object_get(scratch, "folder")),
                             .keep_fd = -1};
    return proc_run(&spec, NULL, err);
}

int pg_scratch_rest(const struct surface_context *ctx, const json_t *scratch, struct error *err) {
    (void)ctx;
    return stop_server(scratch, err);
}

void pg_scratch_stop(const struct surface_context *ctx, json_t *scratch) {
    const char *folder = json_string_value(json_object_get(scratch, "folder"));
    const char *data = json_string_value(json_object_get(scratch, "data"));
    const char *bin = json_string_value(json_object_get(scratch, "bin"));
    const char *sockets = json_string_value(json_object_get(scratch, "host"));
    struct error ignored = ERROR_INIT;
    if (!folder || !data || !bin || !sockets) return;
    /* Only what pg_scratch_start can have named is ever removed. */
    size_t n = strlen(ctx->scratch_dir);
    if (strncmp(folder, ctx->scratch_dir, n) != 0 || strncmp(folder + n, "/pg-", 4) != 0 || strchr(folder + n + 1, '/'))
        return;
    bool own_sockets = json_is_true(json_object_get(scratch, "own_sockets")) &&
                       strncmp(sockets, SOCKETS_ELSEWHERE, strlen(SOCKETS_ELSEWHERE)) == 0 &&
                       !strchr(sockets + strlen(SOCKETS_ELSEWHERE), '/');
    (void)!stop_server(scratch, &ignored); /* a server that is gone is as good as stopped */
    remove_all(folder, sockets, own_sockets);
}
