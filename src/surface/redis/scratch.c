#include "surface/redis/redis_internal.h"

#include "base/proc.h"
#include "base/seam.h"
#include "base/time.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#define ELSEWHERE "/tmp/proofkeep-redis-"
#define WAIT_MS 15000
#define STEP_MS 20
#define LOG_SHOWN 400

static void pause_a_moment(void) {
    (void)!seam_poll(NULL, 0, STEP_MS);
}

static int write_file(const char *path, const struct buf *text, struct error *err) {
    int fd = seam_openat(AT_FDCWD, path, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW, 0600);
    if (fd < 0) return error_set_errno(err, ERR_IO_WRITE, "make %s", path);
    int r = io_write_full(fd, text->ptr, text->len, path, err);
    io_close(&fd);
    return r;
}

struct place {
    char folder[PATH_MAX], socket_dir[PATH_MAX], socket[PATH_MAX + 16], config[PATH_MAX + 16];
    bool own_sockets;
};

static int choose(const struct surface_context *ctx, struct place *p, struct error *err) {
    uint8_t random[8];
    char hex[17];
    if (!ctx->scratch_dir) return error_set(err, ERR_INTERNAL, "redis: no scratch folder was given");
    int r = random_bytes(random, sizeof random, err);
    if (r < 0) return r;
    hex_encode(random, sizeof random, hex);
    if (snprintf(p->folder, sizeof p->folder, "%s/redis-%s", ctx->scratch_dir, hex) >= PATH_MAX - 64)
        return error_set(err, ERR_IO_WRITE, "the path of the scratch folder is too long");
    if ((r = io_mkdirs(p->folder, 0700, err)) < 0) return r;
    snprintf(p->socket_dir, sizeof p->socket_dir, "%s", p->folder);
    snprintf(p->config, sizeof p->config, "%s/redis.conf", p->folder);
    if (strlen(p->folder) + sizeof "/socket" > sizeof((struct sockaddr_un *)0)->sun_path) {
        snprintf(p->socket_dir, sizeof p->socket_dir, ELSEWHERE "%s", hex);
        if (seam_mkdirat(AT_FDCWD, p->socket_dir, 0700) < 0)
            return error_set_errno(err, ERR_IO_WRITE, "make the folder %s", p->socket_dir);
        p->own_sockets = true;
    }
    snprintf(p->socket, sizeof p->socket, "%s/socket", p->socket_dir);
    return 0;
}

/* Paths are ours, but for the scratch folder's own, which may hold blanks and quotes. */
static int quoted(struct buf *b, const char *key, const char *path, struct error *err) {
    int r = buf_printf(b, err, "%s \"", key);
    for (; r == 0 && *path; path++)
        r = *path == '"' || *path == '\\' ? buf_printf(b, err, "\\%c", *path) : buf_append(b, path, 1, err);
    return r == 0 ? buf_append_str(b, "\"\n", err) : r;
}

static int configure(const struct place *p, const json_t *facts, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(16384);
    CLEANUP(buf_free) struct buf log = BUF_INIT(PATH_MAX + 64);
    const json_t *d;
    size_t i;
    json_int_t databases = 16;
    json_array_foreach(json_object_get(facts, "databases"), i, d) if (json_integer_value(d) >= databases) databases =
        json_integer_value(d) + 1;
    int r = buf_printf(&log, err, "%s/log", p->folder);
    if (r == 0) r = buf_terminate(&log, err);
    if (r == 0)
        r = buf_printf(&text, err,
                       "# scratch: private, disposable, reachable by its own socket only\nport 0\nunixsocketperm 700\n"
                       "daemonize yes\nsave \"\"\nappendonly no\nmaxmemory 0\nmaxmemory-policy noeviction\n"
                       "proto-max-bulk-len 64gb\ndatabases %lld\nrepl-diskless-sync yes\nrepl-diskless-sync-delay 0\n",
                       (long long)databases);
    if (r == 0) r = quoted(&text, "dir", p->folder, err);
    if (r == 0) r = quoted(&text, "unixsocket", p->socket, err);
    if (r == 0) r = quoted(&text, "logfile", (const char *)log.ptr, err);
    return r == 0 ? write_file(p->config, &text, err) : r;
}

/* The kin of what was captured first: values of one may be newer than the other loads. */
static int run(const struct place *p, const json_t *facts, struct error *err) {
    bool valkey = json_object_get(facts, "valkey_version") != NULL;
    const char *const programs[] = {valkey ? "valkey-server" : "redis-server",
                                    valkey ? "redis-server" : "valkey-server"};
    int r = 0;
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        const char *argv[] = {programs[i], p->config, NULL};
        struct proc_spec spec = {.argv = argv, .cwd = p->folder, .keep_fd = -1};
        error_clear(err);
        r = proc_run(&spec, NULL, err);
        if (r == 0 || err->code != ERR_PROC_SPAWN) return r;
    }
    error_clear(err);
    return error_set(err, ERR_REDIS_SCRATCH, "neither redis-server nor valkey-server is installed here");
}

static int answers(const struct redis_settings *s, struct error *err) {
    struct resp c;
    int r = redis_connect(s, NULL, 0, &c, err);
    if (r < 0) return r;
    r = resp_ask(&c, NULL, err, "PING", NULL);
    resp_close(&c);
    return r;
}

static int wait_for(const struct surface_context *ctx, const json_t *scratch, struct error *err) {
    CLEANUP(redis_settings_freep) struct redis_settings *s = NULL;
    int64_t until = time_monotonic_ns() + WAIT_MS * (NS_PER_S / 1000);
    int r = redis_settings_load(ctx, scratch, &s, err);
    while (r == 0) {
        struct error why = ERROR_INIT;
        if (answers(s, &why) == 0) return 0;
        if (time_monotonic_ns() > until) r = error_set(err, ERR_REDIS_SCRATCH, "it does not answer: %s", why.text);
        pause_a_moment();
    }
    return r;
}

static void add_log(const struct place *p, struct error *err) {
    CLEANUP(buf_free) struct buf log = BUF_INIT(1 << 20);
    struct error ignored = ERROR_INIT;
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/log", p->folder);
    if (io_read_file(AT_FDCWD, path, 1 << 20, &log, &ignored) < 0 || log.len == 0) return;
    size_t n = log.len < LOG_SHOWN ? log.len : LOG_SHOWN;
    error_wrap(err, "the server said: %.*s", (int)n, (const char *)log.ptr + log.len - n);
}

static void remove_all(const char *folder, const char *sockets) {
    struct error ignored = ERROR_INIT;
    (void)!io_remove_tree(AT_FDCWD, folder, &ignored);
    error_clear(&ignored);
    if (sockets) (void)!io_remove_tree(AT_FDCWD, sockets, &ignored);
}

int redis_scratch_start(const struct surface_context *ctx, const json_t *facts, json_t **ret, struct error *err) {
    struct place p = {0};
    json_t *j = NULL;
    bool started = false;
    int r = choose(ctx, &p, err);
    if (r == 0) r = configure(&p, facts, err);
    if (r == 0) {
        j = json_pack("{s:s, s:s, s:i, s:s, s:b, s:I}", "kind", "redis", "host", p.socket, "port", 0, "folder",
                      p.folder, "own_sockets", p.own_sockets, "shift_ms", (json_int_t)REDIS_SCRATCH_SHIFT_MS);
        if (!j) r = error_set(err, ERR_NO_MEMORY, "no memory");
    }
    if (r == 0) r = run(&p, facts, err);
    started = r == 0;
    if (r == 0) r = wait_for(ctx, j, err);
    if (r == 0) {
        *ret = j;
        return 0;
    }
    add_log(&p, err);
    if (started) redis_scratch_stop(ctx, j);
    json_decref(j);
    if (p.folder[0]) remove_all(p.folder, p.own_sockets ? p.socket_dir : NULL);
    return error_wrap(err, "start a scratch Redis");
}

void redis_scratch_stop(const struct surface_context *ctx, json_t *scratch) {
    CLEANUP(redis_settings_freep) struct redis_settings *s = NULL;
    const char *folder = json_string_value(json_object_get(scratch, "folder"));
    const char *socket = json_string_value(json_object_get(scratch, "host"));
    struct error ignored = ERROR_INIT;
    struct resp c;
    struct stat st;
    char sockets[PATH_MAX];
    if (!folder || !socket || !ctx->scratch_dir) return;
    /* Only what redis_scratch_start can have named is ever removed. */
    size_t n = strlen(ctx->scratch_dir);
    if (strncmp(folder, ctx->scratch_dir, n) != 0 || strncmp(folder + n, "/redis-", 7) != 0 ||
        strchr(folder + n + 1, '/'))
        return;
    if (redis_settings_load(ctx, scratch, &s, &ignored) == 0 && redis_connect(s, NULL, 0, &c, &ignored) == 0) {
        (void)!resp_ask(&c, NULL, &ignored, "SHUTDOWN", "NOSAVE", NULL); /* it answers by going */
        resp_close(&c);
        for (int64_t until = time_monotonic_ns() + WAIT_MS * (NS_PER_S / 1000);
             time_monotonic_ns() < until && seam_fstatat(AT_FDCWD, socket, &st, AT_SYMLINK_NOFOLLOW) == 0;)
            pause_a_moment();
    }
    bool own =
        json_is_true(json_object_get(scratch, "own_sockets")) && strncmp(socket, ELSEWHERE, strlen(ELSEWHERE)) == 0;
    snprintf(sockets, sizeof sockets, "%.*s", (int)(strrchr(socket, '/') - socket), socket);
    remove_all(folder, own ? sockets : NULL);
}
