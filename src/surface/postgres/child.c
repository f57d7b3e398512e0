#include "surface/postgres/postgres_internal.h"

#include "base/seam.h"
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#define PASSFILE "PGPASSFILE=/proc/self/fd/3"

static int conninfo_add(struct buf *b, const char *key, const char *value, struct error *err) {
    if (!value) return 0;
    int r = buf_printf(b, err, "%s%s='", b->len ? " " : "", key);
    for (const char *p = value; r == 0 && *p; p++) {
        if (*p == '\'' || *p == '\\') r = buf_append_str(b, "\\", err);
        if (r == 0) r = buf_append(b, p, 1, err);
    }
    return r == 0 ? buf_append_str(b, "'", err) : r;
}

int pg_conninfo(const struct pg_settings *s, const char *dbname, char **ret, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(64 << 10);
    int r = conninfo_add(&b, "dbname", dbname, err);
    if (r == 0) r = conninfo_add(&b, "host", s->host, err);
    if (r == 0) r = conninfo_add(&b, "port", s->port, err);
    if (r == 0) r = conninfo_add(&b, "user", s->user, err);
    if (r == 0) r = conninfo_add(&b, "sslmode", s->sslmode, err);
    if (r == 0) r = conninfo_add(&b, "sslrootcert", s->sslrootcert, err);
    if (r == 0) r = buf_append_str(&b, " connect_timeout=15 tcp_user_timeout=60000 keepalives_idle=30", err);
    if (r == 0) r = buf_terminate(&b, err);
    return r == 0 ? mem_strdup((const char *)b.ptr, ret, err) : r;
}

/* A password file without a name, so that nothing is left behind however this process ends. libpq reads it through the
 * inherited descriptor, checks that it is a private regular file, and finds the one line that fits every server. */
static int passfile_make(const struct pg_settings *s, int *ret_fd, struct error *err) {
    struct bytes b = secret_bytes(s->password);
    uint8_t line[2048] = "*:*:*:*:";
    size_t n = 8;
    for (size_t i = 0; i < b.len; i++) {
        if (n + 3 > sizeof line || b.ptr[i] == '\n' || b.ptr[i] == 0) {
            wipe(line, sizeof line);
            return error_set(err, ERR_SECRET, "the password for PostgreSQL is too long or has a newline");
        }
        if (b.ptr[i] == ':' || b.ptr[i] == '\\') line[n++] = '\\';
        line[n++] = b.ptr[i];
    }
    line[n++] = '\n';
    int fd = -1, r = io_nameless(s->ctx->scratch_dir, &fd, err);
    if (r < 0) error_wrap(err, "the password file");
    if (r == 0) r = io_write_full(fd, line, n, "the password file", err);
    wipe(line, sizeof line);
    if (r == 0 && s->become && seam_fchownat(fd, "", s->uid, s->gid, AT_EMPTY_PATH) < 0)
        r = error_set_errno(err, ERR_IO_WRITE, "give the password file to %s", s->run_as);
    if (r < 0)
        io_close(&fd);
    else
        *ret_fd = fd;
    return r;
}

int pg_child_start(const struct pg_settings *s, const struct pg_tools *t, const char *program, const char *const *args,
                   const char *pgoptions, const char *cwd, bool pipe_out, struct pg_child *ret, struct error *err) {
    char path[PATH_MAX + 64], options[512];
    const char *argv[32], *env[12];
    size_t n = 0, e = 0;
    snprintf(path, sizeof path, "%s/%s", t->dir, program);
    snprintf(options, sizeof options, "PGOPTIONS=%s", pgoptions ? pgoptions : "");
    argv[n++] = path;
    for (; *args; args++) {
        if (n + 1 == sizeof argv / sizeof *argv)
            return error_set(err, ERR_INTERNAL, "too many arguments for %s", program);
        argv[n++] = *args;
    }
    argv[n] = NULL;
    env[e++] = "PATH=/usr/local/bin:/usr/bin:/bin";
    env[e++] = "LANG=C.UTF-8";
    env[e++] = "LC_ALL=C.UTF-8";
    env[e++] = "PGAPPNAME=proofkeep";
    env[e++] = "PGTZ=UTC"; /* so that times read the same on every server */
    if (pgoptions) env[e++] = options;
    ret->proc = NULL;
    ret->passfile = -1;
    if (s->password) {
        int r = passfile_make(s, &ret->passfile, err);
        if (r < 0) return r;
        env[e++] = PASSFILE;
    }
    env[e] = NULL;
    struct proc_spec spec = {
        .argv = argv, .env = env, .user = s->run_as, .cwd = cwd, .pipe_out = pipe_out, .keep_fd = ret->passfile};
    int r = proc_start(&spec, &ret->proc, err);
    if (r < 0) io_close(&ret->passfile);
    return r;
}

void pg_child_free(struct pg_child *c) {
    proc_free(c->proc);
    c->proc = NULL;
    io_close(&c->passfile);
}

int pg_child_run(const struct pg_settings *s, const struct pg_tools *t, const char *program, const char *const *args,
                 const char *pgoptions, const char *cwd, struct buf *out, struct error *err) {
    struct pg_child c;
    int r = pg_child_start(s, t, program, args, pgoptions, cwd, out != NULL, &c, err);
    if (r < 0) return r;
    while (out) {
        size_t n;
        r = buf_reserve(out, 64 << 10, err);
        if (r == 0) r = io_read_full(proc_out(c.proc), out->ptr + out->len, 64 << 10, &n, program, err);
        if (r < 0) break;
        out->len += n;
        if (n == 0) break;
    }
    if (r == 0) r = proc_wait(c.proc, NULL, err);
    pg_child_free(&c);
    return r;
}
