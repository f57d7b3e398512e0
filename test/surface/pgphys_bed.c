#include "pgphys_bed.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void need(bool holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "# the test cluster: %s\n", what);
    abort();
}

int cluster_shell(struct cluster *c, const char *fmt, ...) {
    char inner[8192], line[9216];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(inner, sizeof inner, fmt, ap);
    va_end(ap);
    snprintf(line, sizeof line,
             "cd / && %s env LC_ALL=C.UTF-8 PGHOST=%s PGUSER=postgres PGDATABASE=postgres LD_LIBRARY_PATH=%s/../lib sh "
             "-c '%s'",
             c->root ? "runuser -u postgres --" : "", c->folder, c->server, inner);
    return system(line);
}

static void add(struct cluster *ret, size_t n, size_t *count, const char *bin) {
    char path[300];
    struct cluster c = {.root = geteuid() == 0};
    if (*count == n) return;
    snprintf(path, sizeof path, "%s/initdb", bin);
    if (access(path, X_OK) != 0) return;
    snprintf(c.server, sizeof c.server, "%s", bin);
    snprintf(path, sizeof path, "LD_LIBRARY_PATH=%s/../lib %s/postgres --version", bin, bin);
    FILE *p = popen(path, "r");
    char text[128] = "";
    need(p && fgets(text, sizeof text, p), "a version");
    pclose(p);
    const char *at = text;
    while (*at && !isdigit((unsigned char)*at)) at++;
    c.major = atoi(at);
    snprintf(path, sizeof path, "%s/psql", bin);
    if (access(path, X_OK) == 0) snprintf(c.client, sizeof c.client, "%s", bin);
    ret[(*count)++] = c;
}

size_t cluster_find(struct cluster *ret, size_t n) {
    size_t count = 0;
    char path[64], list[2048];
    for (int major = 15; major <= 18; major++) {
        snprintf(path, sizeof path, "/usr/lib/postgresql/%d/bin", major);
        add(ret, n, &count, path);
    }
    const char *more = getenv("PK_TEST_PG_SERVERS");
    snprintf(list, sizeof list, "%s", more ? more : "");
    for (char *save = NULL, *one = strtok_r(list, ":", &save); one; one = strtok_r(NULL, ":", &save))
        add(ret, n, &count, one);
    for (size_t i = 0; i < count; i++) /* any psql will do */
        for (size_t k = 0; k < count && !ret[i].client[0]; k++)
            if (ret[k].client[0]) snprintf(ret[i].client, sizeof ret[i].client, "%s", ret[k].client);
    return count;
}

bool cluster_try_run(struct cluster *c, const char *data) {
    return cluster_shell(c, "%s/pg_ctl -D %s/%s -l %s/log-%s -w -s start", c->server, c->folder, data, c->folder,
                         data) == 0;
}

void cluster_run(struct cluster *c, const char *data) {
    bool up = cluster_try_run(c, data);
    if (!up) (void)!cluster_shell(c, "tail -n 20 %s/log-%s | sed s/^/#\\ / >&2", c->folder, data);
    need(up, "start");
}

void cluster_start(struct cluster *c, const char *options, const char *conf) {
    char line[512], path[160];
    snprintf(c->folder, sizeof c->folder, "/tmp/pk-phys-XXXXXX");
    need(mkdtemp(c->folder) != NULL, "make a folder");
    snprintf(line, sizeof line, "%s %s && chmod 755 %s", c->root ? "chown postgres" : "true", c->folder, c->folder);
    need(system(line) == 0, "give the folder away");
    need(cluster_shell(c, "%s/initdb -D %s/data -k -A trust -U postgres --no-sync %s >/dev/null", c->server, c->folder,
                       options) == 0,
         "initdb");
    snprintf(path, sizeof path, "%s/data/postgresql.conf", c->folder);
    FILE *f = fopen(path, "a");
    need(f &&
             fprintf(f,
                     "listen_addresses = ''\nunix_socket_directories = '%s'\nfsync = off\nshared_buffers = 16MB\n"
                     "max_connections = 20\nlogging_collector = off\n%s\n",
                     c->folder, conf) > 0 &&
             fclose(f) == 0,
         "configure");
    cluster_run(c, "data");
}

void cluster_stop(struct cluster *c, const char *data, const char *mode) {
    (void)!cluster_shell(c, "%s/pg_ctl -D %s/%s -m %s -w -s stop 2>/dev/null", c->server, c->folder, data, mode);
}

void cluster_remove(struct cluster *c) {
    char line[128];
    cluster_stop(c, "data", "immediate");
    snprintf(line, sizeof line, "rm -rf %s", c->folder);
    need(system(line) == 0, "remove the folder");
}

const char *cluster_ask(struct cluster *c, const char *sql) {
    static char *answers[8];
    static unsigned at;
    char script[160], line[1024];
    snprintf(script, sizeof script, "/tmp/pk-phys-sql-%d", (int)getpid());
    FILE *f = fopen(script, "w");
    need(f && fputs(sql, f) >= 0 && fclose(f) == 0 && chmod(script, 0644) == 0, "write a script");
    snprintf(line, sizeof line,
             "%s env -u LD_LIBRARY_PATH LC_ALL=C.UTF-8 PGHOST=%s PGUSER=postgres %s/psql -X -q -At -v ON_ERROR_STOP=1 "
             "-d postgres -f %s",
             c->root ? "runuser -u postgres --" : "", c->folder, c->client, script);
    FILE *p = popen(line, "r");
    char **slot = &answers[at++ % 8], *all = NULL;
    size_t cap = 0;
    ssize_t n = p ? getdelim(&all, &cap, 0, p) : -1;
    if (n < 0) {
        free(all);
        all = strdup("");
    } else if (n > 0 && all[n - 1] == '\n') {
        all[n - 1] = 0;
    }
    if (!p || pclose(p) != 0) fprintf(stderr, "# psql failed: %s\n", sql), abort();
    unlink(script);
    free(*slot);
    return *slot = all;
}

void cluster_context(struct cluster *c, struct surface_context *ret, struct surface_events events) {
    char scratch[128];
    snprintf(scratch, sizeof scratch, "%s/scratch", c->folder);
    need(mkdir(scratch, 0700) == 0 || access(scratch, F_OK) == 0, "scratch");
    json_t *settings = json_pack("{s:{s:s, s:s}}", "connect", "host", c->folder, "user", "postgres");
    need(settings != NULL, "settings");
    *ret = (struct surface_context){.environment = "test",
                                    .name = "cluster",
                                    .settings = settings,
                                    .jobs = 2,
                                    .scratch_dir = strdup(scratch),
                                    .events = events};
}

void cluster_context_free(struct surface_context *ctx) {
    json_decref((json_t *)ctx->settings);
    free((char *)ctx->scratch_dir);
}

struct restoring {
    struct cluster *c;
    struct source *src;
    char folder[128], name[64];
};

static int restore_one(void *ctx, const struct source_head *h, struct error *err) {
    struct restoring *r = ctx;
    struct pgphys_attr a;
    char path[4400], target[4400], space[128];
    need(pgphys_attr_decode(h->attr, &a, err) == 0, "an attribute record");
    snprintf(path, sizeof path, "%s/%.*s", r->folder, (int)h->name.len, (const char *)h->name.ptr);
    if (a.type == PGPHYS_FOLDER) {
        need(mkdir(path, a.mode & 07777) == 0 || access(path, F_OK) == 0, path);
        return 0;
    }
    if (a.type == PGPHYS_LINK) {
        snprintf(target, sizeof target, "%.*s", (int)a.target.len, (const char *)a.target.ptr);
        snprintf(space, sizeof space, "%s/space/", r->c->folder);
        if (!strncmp(target, space, strlen(space))) {
            char inner[2200];
            snprintf(inner, sizeof inner, "%.2000s", target + strlen(space));
            snprintf(target, sizeof target, "%s/space-%s/%s", r->c->folder, r->name, inner);
            char line[9000];
            snprintf(line, sizeof line, "mkdir -p %s", target);
            need(system(line) == 0, "a tablespace's folder");
        }
        need(symlink(target, path) == 0, path);
        return 0;
    }
    struct source_item *it;
    struct bytes piece;
    int rc = r->src->ops->open(r->src, h, &it, err);
    FILE *f = fopen(path, "w");
    need(rc == 0 && f, path);
    while ((rc = r->src->ops->next(it, &piece, err)) == 0 && piece.len)
        need(piece.ptr ? fwrite(piece.ptr, 1, piece.len, f) == piece.len : fseek(f, (long)piece.len, SEEK_CUR) == 0,
             path);
    r->src->ops->close(it);
    need(rc == 0 && fclose(f) == 0 && chmod(path, a.mode & 07777) == 0, path);
    return 0;
}

void cluster_restore(struct cluster *c, struct source *src, const char *name) {
    struct restoring r = {.c = c, .src = src};
    struct error err = ERROR_INIT;
    char line[512];
    snprintf(r.folder, sizeof r.folder, "%s/%s", c->folder, name);
    snprintf(r.name, sizeof r.name, "%s", name);
    need(mkdir(r.folder, 0700) == 0, r.folder);
    need(src->ops->walk(src, BYTES_OF(NULL, 0), restore_one, &r, &err) == 0, err.text);
    snprintf(line, sizeof line, "cd %s && %s", c->folder, c->root ? "chown -R postgres ." : "true");
    need(system(line) == 0, "hand the files over");
}

void cluster_remap(struct cluster *c, const char *name) {
    char line[512];
    snprintf(line, sizeof line,
             "cd %s && if [ -s %s/tablespace_map ]; then sed -i s,/space/,/space-%s/, %s/tablespace_map; fi", c->folder,
             name, name, name);
    need(system(line) == 0, "lead the tablespaces elsewhere");
}
