#include "surface/postgres/postgres_internal.h"

#include "base/seam.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define MAJOR_FIRST 10
#define MAJOR_LAST 40 /* of the folders that are looked into */

struct search {
    const struct pg_settings *s;
    int want;
    bool server;
    struct pg_tools best;
    struct buf found; /* for the message */
};

static bool has(const char *dir, const char *program) {
    char path[PATH_MAX];
    struct stat st;
    return snprintf(path, sizeof path, "%s/%s", dir, program) < PATH_MAX && seam_fstatat(AT_FDCWD, path, &st, 0) == 0 &&
           S_ISREG(st.st_mode) && (st.st_mode & 0111);
}

static int version_of(const char *dir, int *ret_major, char version[64], struct error *err) {
    char path[PATH_MAX];
    CLEANUP(buf_free) struct buf out = BUF_INIT(4096);
    snprintf(path, sizeof path, "%s/pg_dump", dir);
    const char *argv[] = {path, "--version", NULL};
    struct proc_spec spec = {.argv = argv, .keep_fd = -1};
    int r = proc_run(&spec, &out, err);
    if (r == 0) r = buf_terminate(&out, err);
    if (r < 0) return r;
    const char *p = strstr((const char *)out.ptr, ") ");
    char *stop;
    long major = p ? strtol(p + 2, &stop, 10) : 0;
    if (major < 9 || major > 1000) return error_set(err, ERR_PG_VERSION, "%s does not tell its version", path);
    snprintf(version, 64, "%.*s", (int)strcspn(p + 2, " \n"), p + 2);
    *ret_major = (int)major;
    return 0;
}

static int look(struct search *q, const char *dir, struct error *err) {
    static const char *const client[] = {"pg_dump", "pg_dumpall", "pg_restore", NULL};
    static const char *const server[] = {"initdb", "pg_ctl", "postgres", NULL};
    struct error ignored = ERROR_INIT;
    struct pg_tools t = {0};
    for (size_t i = 0; client[i]; i++)
        if (!has(dir, client[i])) return 0;
    for (size_t i = 0; q->server && server[i]; i++)
        if (!has(dir, server[i])) return 0;
    if (snprintf(t.dir, sizeof t.dir, "%s", dir) >= (int)sizeof t.dir) return 0;
    if (version_of(dir, &t.major, t.version, &ignored) < 0)
        return buf_printf(&q->found, err, "%s%s (its version cannot be told)", q->found.len ? ", " : "", dir);
    int r = buf_printf(&q->found, err, "%s%s in %s", q->found.len ? ", " : "", t.version, dir);
    if (r == 0 && t.major >= q->want && (!q->best.major || t.major < q->best.major)) q->best = t;
    return r;
}

static int look_everywhere(struct search *q, struct error *err) {
    static const char *const patterns[] = {"/usr/lib/postgresql/%d/bin", "/usr/pgsql-%d/bin", "/opt/postgresql/%d/bin",
                                           "/usr/libexec/postgresql%d"};
    char dir[PATH_MAX];
    int r = 0;
    if (q->s->tools_dir) return look(q, q->s->tools_dir, err);
    for (int major = MAJOR_FIRST; r == 0 && major <= MAJOR_LAST; major++)
        for (size_t i = 0; r == 0 && i < sizeof patterns / sizeof *patterns; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            snprintf(dir, sizeof dir, patterns[i], major);
#pragma GCC diagnostic pop
            r = look(q, dir, err);
        }
    const char *path = getenv("PATH");
    for (const char *p = path ? path : ""; r == 0 && *p && !q->best.major;) {
        size_t n = strcspn(p, ":");
        if (*p == '/' && n < sizeof dir) {
            snprintf(dir, sizeof dir, "%.*s", (int)n, p);
            r = look(q, dir, err);
        }
        p += n + (p[n] == ':');
    }
    return r;
}

int pg_tools_find(const struct pg_settings *s, int major, bool server, struct pg_tools *ret, struct error *err) {
    struct search q = {.s = s, .want = major, .server = server, .found = BUF_INIT(8192)};
    int r = look_everywhere(&q, err);
    if (r == 0) r = buf_terminate(&q.found, err);
    if (r == 0 && !q.best.major)
        r = error_set(err, server ? ERR_PG_SCRATCH : ERR_PG_VERSION,
                      "%s of PostgreSQL %d or newer were not found%s%s; found: %s",
                      server ? "server and client programs" : "client programs", major, s->tools_dir ? " in " : "",
                      s->tools_dir ? s->tools_dir : "", q.found.len ? (const char *)q.found.ptr : "none");
    if (r == 0) *ret = q.best;
    buf_free(&q.found);
    return r;
}
