#include "surface/pgphys/takeover.h"
#include "surface/pgphys/restore_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CONF_BYTES_MAX (1u << 20)
#define LOG_NAME "proofkeep_start.log"
#define LOG_SHOWN 700
#define PAUSE_MS 200
#define READY_NS (20 * NS_PER_S) /* that a server which says it is ready may refuse us */
#define START_SECONDS "20"       /* that pg_ctl itself waits; recovery is waited for here */
#define STOP_SECONDS "300"

struct server {
    const struct surface_context *ctx;
    const struct cutover_start *q;
    struct pg_settings *s; /* whom its programs run as */
};

static int server_open(const struct surface_context *ctx, const struct cutover_start *q, struct server *ret,
                       struct error *err) {
    json_t *nowhere = json_object();
    *ret = (struct server){.ctx = ctx, .q = q};
    int rc = nowhere ? pg_settings_load(ctx, nowhere, &ret->s, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    json_decref(nowhere);
    const char *user = json_string_value(json_object_get(ctx->settings, "run_as"));
    if (rc == 0 && geteuid() == 0 && !ret->s->run_as) {
        rc = mem_strdup(user ? user : "postgres", &ret->s->run_as, err);
        if (rc == 0) rc = pg_settings_user(ret->s, err);
    }
    const char *tools = json_string_value(json_object_get(ctx->settings, "tools_dir"));
    if (rc == 0 && tools && !ret->s->tools_dir) rc = mem_strdup(tools, &ret->s->tools_dir, err);
    return rc;
}

static void server_close(struct server *v) {
    pg_settings_freep(&v->s);
}

static void path_of(const struct server *v, const char *name, char out[PATH_MAX]) {
    snprintf(out, PATH_MAX, "%.3500s/%.500s", v->q->folder, name);
}

static int replace(const struct server *v, const char *path, struct bytes content, struct error *err) {
    int rc = io_replace_file(AT_FDCWD, path, content, 0600, err);
    if (rc == 0 && v->s->become && seam_fchownat(AT_FDCWD, path, v->s->uid, v->s->gid, AT_SYMLINK_NOFOLLOW) < 0)
        rc = error_set_errno(err, ERR_IO_WRITE, "give %s to %s", path, v->s->run_as);
    return rc;
}

/* ---- before the first start ---- */

/* archive_mode cannot be changed while a server runs. With no command it keeps its WAL, and archives it later. Who
 * recovers with hot_standby must have as many connections and workers as the original had at any time since the backup,
 * and waits for somebody, or goes down, where that has been given more. */
static const char mark[] = "# by proofkeep, when this was restored:\n";
static const char off[] = "archive_mode = 'off'\n",
                  held[] = "archive_command = ''\narchive_library = ''\nhot_standby = 'off'\n",
                  alone[] = "max_logical_replication_workers = '0'\n";

static int ready(const struct surface_context *ctx, const struct cutover_start *q, struct error *err) {
    CLEANUP(server_close) struct server v;
    CLEANUP(buf_free) struct buf was = BUF_INIT(CONF_BYTES_MAX);
    CLEANUP(buf_free) struct buf now = BUF_INIT(CONF_BYTES_MAX);
    char path[PATH_MAX];
    int rc = server_open(ctx, q, &v, err);
    path_of(&v, PGPHYS_AUTO_CONF, path);
    if (rc == 0) rc = io_read_file(AT_FDCWD, path, CONF_BYTES_MAX, &was, err);
    if (rc == 0) rc = buf_terminate(&was, err);
    if (rc < 0) return rc;
    const char *text = (const char *)was.ptr, *at = NULL;
    for (const char *p = text; (p = strstr(p, mark)); p += sizeof mark - 1) at = p;
    at = at ? strstr(at, off) : NULL;                        /* the one that the restore wrote */
    if (!at) return replace(&v, path, buf_bytes(&was), err); /* done before; its owner perhaps not */
    rc = buf_append(&now, text, (size_t)(at - text), err);
    if (rc == 0) rc = buf_append_str(&now, held, err);
    if (rc == 0 && q->alone) rc = buf_append_str(&now, alone, err);
    if (rc == 0) rc = buf_append_str(&now, at + sizeof off - 1, err);
    return rc == 0 ? replace(&v, path, buf_bytes(&now), err) : rc;
}

/* ---- starting and stopping ---- */

struct pid_file { /* PostgreSQL's miscadmin.h, LOCK_FILE_LINE_* */
    long pid;
    unsigned port;
    char socket[108], listen[128];
    bool ready;
};

/* false: no server runs in the folder. */
static bool pid_read(const struct server *v, struct pid_file *ret) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(8192);
    struct error none = ERROR_INIT;
    char path[PATH_MAX], *line[8] = {0};
    struct stat st, folder;
    *ret = (struct pid_file){0};
    path_of(v, "postmaster.pid", path);
    if (io_read_file(AT_FDCWD, path, 4096, &b, &none) < 0 || buf_terminate(&b, &none) < 0) return false;
    char *rest = (char *)b.ptr;
    for (size_t i = 0; i < 8 && rest; i++) {
        line[i] = rest;
        rest = strchr(rest, '\n');
        if (rest) *rest++ = 0;
    }
    ret->pid = line[0] ? strtol(line[0], NULL, 10) : 0;
    if (line[3]) ret->port = (unsigned)strtoul(line[3], NULL, 10);
    if (line[4]) snprintf(ret->socket, sizeof ret->socket, "%s", line[4]);
    if (line[5]) snprintf(ret->listen, sizeof ret->listen, "%s", line[5]);
    ret->ready = line[7] && !strncmp(line[7], "ready", 5);
    /* A server works in its data folder; whoever has its number now may be another, or dead and not yet buried. */
    snprintf(path, sizeof path, "/proc/%ld/cwd", ret->pid);
    if (ret->pid <= 0) return false;
    if (seam_fstatat(AT_FDCWD, path, &st, 0) < 0) return errno == EACCES || errno == EPERM;
    return seam_fstatat(AT_FDCWD, v->q->folder, &folder, 0) == 0 && folder.st_dev == st.st_dev &&
           folder.st_ino == st.st_ino;
}

static int tools(const struct server *v, struct pg_tools *ret, struct error *err) {
    int64_t version = 0;
    int rc = json_need_int(v->q->facts, "server_version_num", "the snapshot's facts", &version, err);
    if (rc == 0) rc = pg_tools_find(v->s, (int)(version / 10000), true, ret, err);
    if (rc == 0 && ret->major != version / 10000)
        rc = error_set(err, ERR_PG_SCRATCH, "a cluster of PostgreSQL %d needs that server; %s in %s was found",
                       (int)(version / 10000), ret->version, ret->dir);
    return rc;
}

/* The server runs restore_command and archive_command with it, which want a home and a cache folder. */
static void env_of(const struct server *v, char home[PATH_MAX], char cache[PATH_MAX], char tmp[PATH_MAX],
                   const char *env[8]) {
    struct passwd pw, *found = NULL;
    char text[8192];
    const char *h = getenv("HOME"), *c = getenv("XDG_CACHE_HOME"), *t = getenv("TMPDIR");
    size_t n = 0;
    if (v->s->become) {
        h = getpwuid_r(v->s->uid, &pw, text, sizeof text, &found) == 0 && found ? found->pw_dir : NULL;
        c = t = NULL; /* ours, and perhaps closed to that user */
    }
    env[n++] = "PATH=/usr/local/bin:/usr/bin:/bin";
    env[n++] = "LANG=C.UTF-8";
    env[n++] = "LC_ALL=C.UTF-8";
    snprintf(home, PATH_MAX, "HOME=%.4000s", h ? h : "");
    snprintf(cache, PATH_MAX, "XDG_CACHE_HOME=%.4000s", c ? c : "");
    snprintf(tmp, PATH_MAX, "TMPDIR=%.4000s", t ? t : "");
    if (h) env[n++] = home;
    if (c) env[n++] = cache;
    if (t) env[n++] = tmp;
    env[n] = NULL;
}

static int pg_ctl(const struct server *v, const char *const *args, struct error *err) {
    struct pg_tools t;
    char path[PATH_MAX + 16], home[PATH_MAX], cache[PATH_MAX], tmp[PATH_MAX];
    const char *argv[16], *env[8];
    size_t n = 0;
    int rc = tools(v, &t, err);
    if (rc < 0) return rc;
    snprintf(path, sizeof path, "%s/pg_ctl", t.dir);
    for (argv[n++] = path; *args && n < 15; args++) argv[n++] = *args;
    argv[n] = NULL;
    env_of(v, home, cache, tmp, env);
    struct proc_spec spec = {.argv = argv, .env = env, .user = v->s->run_as, .cwd = v->q->folder, .keep_fd = -1};
    return proc_run(&spec, NULL, err);
}

/* pg_ctl hands the options to a shell. */
static int setting(struct buf *b, const char *name, const char *value, struct error *err) {
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./:@=,+";
    if (value[strspn(value, plain)])
        return error_set(err, ERR_CUTOVER_UNFIT,
                         "the path %s has characters that cannot be handed to pg_ctl; give the surface hooks.start",
                         value);
    return buf_printf(b, err, "%s-c %s=%s", b->len ? " " : "", name, value);
}

static bool there(const char *path) {
    struct stat st;
    return seam_fstatat(AT_FDCWD, path, &st, 0) == 0;
}

/* Where the configuration lay outside of the data folder, the captured one is taken. */
static int outside(const struct server *v, struct buf *b, struct error *err) {
    static const char *const files[][2] = {
        {"postgresql.conf", "config_file"}, {"pg_hba.conf", "hba_file"}, {"pg_ident.conf", "ident_file"}};
    char path[PATH_MAX];
    const json_t *o;
    size_t k;
    path_of(v, "postgresql.conf", path);
    if (there(path)) return 0;
    int rc = setting(b, "data_directory", v->q->folder, err);
    for (size_t i = 0; rc == 0 && i < sizeof files / sizeof *files; i++) {
        bool found = false;
        json_array_foreach(json_object_get(v->q->facts, "config_outside"), k, o) {
            const char *was = json_string_value(json_object_get(o, "path"));
            const char *last = was ? strrchr(was, '/') : NULL;
            if (found || !last || strcmp(last + 1, files[i][0]) != 0) continue;
            char name[PATH_MAX];
            snprintf(name, sizeof name, PGPHYS_CONFIG "%s", was);
            path_of(v, name, path);
            found = there(path);
            if (found) rc = setting(b, files[i][1], path, err);
        }
        if (rc == 0 && !found && i == 0)
            rc = error_set(err, ERR_CUTOVER_UNFIT,
                           "the configuration of the server is outside of its data folder, and not in the backup; give "
                           "the surface hooks.start, which starts the restored server with one");
    }
    return rc == 0 ? buf_append_str(b, " -c external_pid_file=''", err) : rc;
}

static void add_log(const struct server *v, struct error *err) {
    CLEANUP(buf_free) struct buf log = BUF_INIT(16u << 20);
    struct error none = ERROR_INIT;
    char path[PATH_MAX];
    path_of(v, LOG_NAME, path);
    if (io_read_file(AT_FDCWD, path, 16u << 20, &log, &none) < 0 || log.len == 0) return;
    size_t n = log.len < LOG_SHOWN ? log.len : LOG_SHOWN;
    error_wrap(err, "the server said: %.*s", (int)n, (const char *)log.ptr + log.len - n);
}

static json_t *hook_facts(const struct cutover_start *q) {
    return json_pack("{s:s, s:o}", "folder", q->folder, "port", q->port ? json_integer(q->port) : json_null());
}

/* 1: there is no such hook */
static int by_hook(const struct server *v, const char *name, struct error *err) {
    if (!v->ctx->hook) return 1;
    json_t *facts = hook_facts(v->q);
    if (!facts) return error_set(err, ERR_NO_MEMORY, "no memory");
    int rc = v->ctx->hook(v->ctx->hook_ctx, name, "cutover", facts, err);
    json_decref(facts);
    return rc;
}

static int start(const struct surface_context *ctx, const struct cutover_start *q, struct error *err) {
    CLEANUP(server_close) struct server v;
    CLEANUP(buf_free) struct buf options = BUF_INIT(16 << 10);
    struct pid_file pid;
    struct error why = ERROR_INIT;
    char log[PATH_MAX], port[16];
    int rc = server_open(ctx, q, &v, err);
    if (rc < 0 || pid_read(&v, &pid)) return rc;
    if ((rc = by_hook(&v, "start", err)) != 1) return rc;
    snprintf(port, sizeof port, "%u", q->port);
    rc = q->port ? setting(&options, "port", port, err) : 0;
    if (rc == 0) rc = outside(&v, &options, err);
    if (rc == 0) rc = buf_terminate(&options, err);
    if (rc < 0) return rc;
    path_of(&v, LOG_NAME, log);
    const char *args[] = {"--pgdata",
                          q->folder,
                          "--log",
                          log,
                          "--silent",
                          "--wait",
                          "--timeout=" START_SECONDS,
                          "--options",
                          options.len ? (const char *)options.ptr : "",
                          "start",
                          NULL};
    rc = pg_ctl(&v, args, &why);
    /* It does not come up within that time while it recovers, which is no failure. */
    if (rc == 0 || (rc == -ERR_PROC_FAILED && pid_read(&v, &pid))) return 0;
    if (rc != -ERR_PROC_FAILED) {
        *err = why;
        return rc;
    }
    error_set(err, ERR_PG_RECOVERY, "the restored server in %s did not come up", q->folder);
    add_log(&v, err);
    return -(int)err->code;
}

static int stop(const struct surface_context *ctx, const struct cutover_start *q, struct error *err) {
    CLEANUP(server_close) struct server v;
    struct pid_file pid;
    const char *args[] = {"--pgdata",    q->folder, "--silent", "--wait", "--timeout=" STOP_SECONDS,
                          "--mode=fast", "stop",    NULL};
    int rc = server_open(ctx, q, &v, err);
    if (rc < 0 || !pid_read(&v, &pid)) return rc;
    rc = by_hook(&v, "stop", err);
    return rc == 1 ? pg_ctl(&v, args, err) : rc;
}

/* ---- what came up ---- */

int pgphys_takeover_context(const struct surface_context *ctx, const json_t *connection, struct surface_context *ret,
                            json_t **ret_settings, struct error *err) {
    json_t *settings = json_copy_whole(ctx->settings), *connect = NULL;
    int rc = settings ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0 && !json_object_get(settings, "connect")) rc = json_put(settings, "connect", json_object(), err);
    if (rc == 0) connect = json_object_get(settings, "connect");
    if (rc == 0) rc = json_put(connect, "host", json_incref(json_object_get(connection, "host")), err);
    if (rc == 0) rc = json_put(connect, "port", json_incref(json_object_get(connection, "port")), err);
    if (rc < 0) {
        json_decref(settings);
        return rc;
    }
    *ret = *ctx;
    ret->settings = *ret_settings = settings;
    return 0;
}

/* Where recovery ended: what a promoted server writes into the history of its new timeline. */
static int recovered_to(PGconn *c, json_t *out, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    struct wal_switch *list = NULL;
    size_t n = 0;
    char lsn[24];
    int rc = pg_query(c, &r, err,
                      "SELECT t, pg_catalog.pg_read_file('pg_wal/' || t || '.history', 0, 1048576, true) FROM (SELECT "
                      "pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) AS t) AS x",
                      0, NULL);
    if (rc < 0) return rc;
    uint32_t timeline = (uint32_t)strtoul(pg_value(r, 0, 0), NULL, 16);
    rc = json_put_int(out, "timeline", timeline, err);
    if (rc < 0) return rc;
    /* A crash between the end of its recovery and its first checkpoint leaves it on the timeline that it came from,
     * where it would go on as if it were the live server. */
    if (PQgetisnull(r, 0, 1))
        return error_set(err, ERR_PG_RECOVERY,
                         "the restored server is on timeline %u, which has no history: its promotion was cut off by a "
                         "crash, and it must be restored again",
                         (unsigned)timeline);
    rc = wal_history_parse(BYTES_STR(pg_value(r, 0, 1)), timeline, &list, &n, err);
    if (rc == 0 && n) {
        wal_lsn_format(list[n - 1].lsn, lsn);
        rc = json_put_str(out, "recovered_to", lsn, err);
    }
    seam_free(list);
    return rc;
}

/* 0: it takes writes; 1: not yet, and why. */
static int look(const struct surface_context *ctx, const struct cutover_start *q, const struct pid_file *pid,
                const char *host, json_t **ret, struct error *why, struct error *err) {
    CLEANUP(pg_settings_freep) struct pg_settings *s = NULL;
    CLEANUP(pg_finishp) PGconn *c = NULL;
    CLEANUP(pg_clearp) PGresult *r = NULL;
    struct surface_context there;
    json_t *settings = NULL;
    if (!pid->port || !*host) return 1;
    error_clear(why);
    json_t *out = json_pack("{s:s, s:i, s:s, s:I}", "host", host, "port", (int)pid->port, "data_directory", q->folder,
                            "pid", (json_int_t)pid->pid);
    int rc =
        out ? pgphys_takeover_context(ctx, out, &there, &settings, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0) rc = pg_settings_load(&there, NULL, &s, err);
    if (rc == 0 && pg_connect(s, NULL, &c, why) < 0) rc = 1;
    if (rc == 0 && pg_query(c, &r, why, "SELECT pg_catalog.pg_is_in_recovery()", 0, NULL) < 0) rc = 1;
    if (rc == 0 && pg_true(r, 0, 0)) rc = 1;
    if (rc == 0) rc = recovered_to(c, out, err);
    json_decref(settings);
    if (rc == 0)
        *ret = out;
    else
        json_decref(out);
    return rc;
}

static int wait_up(const struct surface_context *ctx, const struct cutover_start *q, json_t **ret, struct error *err) {
    CLEANUP(server_close) struct server v;
    struct error why = ERROR_INIT;
    int64_t ready_ns = 0;
    int rc = server_open(ctx, q, &v, err);
    for (rc = rc == 0 ? 1 : rc; rc == 1;) {
        struct pid_file pid;
        if (!pid_read(&v, &pid)) {
            error_set(err, ERR_PG_RECOVERY, "the restored server in %s went down while it recovered", q->folder);
            add_log(&v, err);
            return -(int)err->code;
        }
        rc = look(ctx, q, &pid, pid.socket, ret, &why, err);
        if (rc == 1) rc = look(ctx, q, &pid, strcmp(pid.listen, "*") ? pid.listen : "127.0.0.1", ret, &why, err);
        if (rc == 1 && pid.ready && !ready_ns) ready_ns = time_monotonic_ns();
        if (rc == 1 && ready_ns && time_monotonic_ns() - ready_ns > READY_NS && why.code) {
            *err = why;
            return error_wrap(err, "the restored server has come up, and takes no connection of ours");
        }
        if (rc == 1 && stop_check(err) < 0) return -(int)err->code;
        if (rc == 1) pgphys_pause(PAUSE_MS);
    }
    return rc;
}

/* ---- when it has taken over ---- */

static int adopt_one(PGconn *c, const char *name, const char *ours, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    CLEANUP(buf_free) struct buf b = BUF_INIT(16 << 10);
    const char *params[] = {name};
    int rc = pg_query(c, &r, err,
                      "SELECT setting FROM pg_catalog.pg_file_settings WHERE name = $1"
                      " AND sourcefile LIKE '%/postgresql.auto.conf' ORDER BY seqno DESC LIMIT 2",
                      1, params);
    if (rc < 0) return rc;
    /* The last is ours while it says so; the one before it is what stood in the backup. Where both say the same both
     * stay: one alone would be taken for ours by whoever comes again. */
    if (!PQntuples(r) || strcmp(pg_value(r, 0, 0), ours) != 0) return 0;
    if (PQntuples(r) == 2 && strcmp(pg_value(r, 1, 0), ours) == 0) return 0;
    if (PQntuples(r) == 1) return pg_command(c, err, "ALTER SYSTEM RESET %s", name);
    rc = pg_literal(&b, BYTES_STR(pg_value(r, 1, 0)), err);
    if (rc == 0) rc = buf_terminate(&b, err);
    return rc == 0 ? pg_command(c, err, "ALTER SYSTEM SET %s = %s", name, (const char *)b.ptr) : rc;
}

static int adopt(const struct surface_context *ctx, const struct cutover_start *q, const json_t *connection,
                 struct error *err) {
    CLEANUP(pg_settings_freep) struct pg_settings *s = NULL;
    CLEANUP(pg_finishp) PGconn *c = NULL;
    CLEANUP(pg_clearp) PGresult *r = NULL;
    struct surface_context there;
    json_t *settings = NULL;
    int rc = pgphys_takeover_context(ctx, connection, &there, &settings, err);
    if (rc == 0) rc = pg_settings_load(&there, NULL, &s, err);
    if (rc == 0) rc = pg_connect(s, NULL, &c, err);
    if (rc == 0) rc = adopt_one(c, "archive_command", "", err);
    if (rc == 0) rc = adopt_one(c, "archive_library", "", err);
    if (rc == 0) rc = adopt_one(c, "hot_standby", "off", err);
    if (rc == 0 && q->alone) rc = adopt_one(c, "max_logical_replication_workers", "0", err);
    if (rc == 0) rc = pg_query(c, &r, err, "SELECT pg_catalog.pg_reload_conf()", 0, NULL);
    json_decref(settings);
    return rc;
}

const struct cutover_driver pgphys_cutover = {
    .look = pgphys_freeze_look,
    .before_freeze = pgphys_freeze_before,
    .freeze = pgphys_freeze,
    .resume = pgphys_freeze_resume,
    .last_wal = pgphys_freeze_last_wal,
    .quiet = pgphys_freeze_quiet,
    .ready = ready,
    .start = start,
    .wait = wait_up,
    .stop = stop,
    .check = pgphys_takeover_check,
    .adopt = adopt,
    .health = pgphys_takeover_health,
};
