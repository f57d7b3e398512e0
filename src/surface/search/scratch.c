#include "surface/search/search_internal.h"

#include "base/proc.h"
#include "base/seam.h"
#include "base/thread.h"
#include "base/time.h"
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WAIT_S 180
#define STEP_MS 200

struct place {
    const struct search_settings *s;
    char folder[PATH_MAX], conf[PATH_MAX + 16], program[PATH_MAX + 64];
    const char *product; /* "opensearch" */
    uid_t uid;
    gid_t gid;
    bool become;
};

/* A server refuses to be root. */
static int choose_user(struct place *p, struct error *err) {
    struct passwd pw, *found = NULL;
    char text[8192];
    if (geteuid() != 0) return 0;
    if (!p->s->run_as)
        return error_set(err, ERR_SEARCH_SCRATCH,
                         "a scratch server does not run as root: set cluster.run_as to another user");
    if (getpwnam_r(p->s->run_as, &pw, text, sizeof text, &found) != 0 || !found || pw.pw_uid == 0)
        return error_set(err, ERR_CONFIG_VALUE, "cluster.run_as names %s, who is no other user of this system",
                         p->s->run_as);
    p->uid = pw.pw_uid;
    p->gid = pw.pw_gid;
    p->become = true;
    return 0;
}

static int give(const struct place *p, const char *path, struct error *err) {
    if (p->become && seam_fchownat(AT_FDCWD, path, p->uid, p->gid, AT_SYMLINK_NOFOLLOW) < 0)
        return error_set_errno(err, ERR_IO_WRITE, "give %s to %s", path, p->s->run_as);
    return 0;
}

/* The user passes through our private folder, and may not list it. */
static int let_pass(const struct place *p, const char *base, struct error *err) {
    struct stat st;
    int r = 0;
    if (!p->become) return 0;
    int fd = seam_openat(AT_FDCWD, base, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0) return error_set_errno(err, ERR_IO_READ, "open %s", base);
    if (seam_fstat(fd, &st) < 0 || seam_fchmod(fd, (st.st_mode & 07777) | 0011) < 0)
        r = error_set_errno(err, ERR_IO_WRITE, "let %s pass through %s", p->s->run_as, base);
    io_close(&fd);
    return r;
}

static int make_folders(struct place *p, struct error *err) {
    static const char *const below[] = {"", "/data", "/logs", "/conf", "/tmp", "/repo", NULL};
    uint8_t random[8];
    char hex[17], path[PATH_MAX + 16];
    const char *base = p->s->ctx->scratch_dir;
    if (!base) return error_set(err, ERR_INTERNAL, "search: no scratch folder was given");
    int r = random_bytes(random, sizeof random, err);
    if (r < 0) return r;
    hex_encode(random, sizeof random, hex);
    if (snprintf(p->folder, sizeof p->folder, "%s/search-%s", base, hex) >= PATH_MAX - 64)
        return error_set(err, ERR_IO_WRITE, "the path of the scratch folder is too long");
    snprintf(p->conf, sizeof p->conf, "%s/conf", p->folder);
    r = let_pass(p, base, err);
    for (size_t i = 0; below[i] && r == 0; i++) {
        snprintf(path, sizeof path, "%s%s", p->folder, below[i]);
        r = io_mkdirs(path, 0700, err);
        if (r == 0) r = give(p, path, err);
    }
    return r;
}

static int write_file(const struct place *p, const char *name, const struct buf *text, struct error *err) {
    char path[PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/%s", p->conf, name);
    int fd = seam_openat(AT_FDCWD, path, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) return error_set_errno(err, ERR_IO_WRITE, "make %s", path);
    int r = io_write_full(fd, text->ptr, text->len, path, err);
    io_close(&fd);
    return r == 0 ? give(p, path, err) : r;
}

/* YAML in single quotes. */
static int quoted(struct buf *b, const char *key, const char *folder, const char *below, struct error *err) {
    int r = buf_printf(b, err, *key == ' ' ? "%s'" : "%s: '", key);
    for (const char *c = folder; r == 0 && *c; c++)
        r = *c == '\'' ? buf_append(b, "''", 2, err) : buf_append(b, c, 1, err);
    return r == 0 ? buf_printf(b, err, "%s'\n", below) : r;
}

static int copy_logging(const struct place *p, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(1u << 20);
    char path[PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/config/log4j2.properties", p->s->distribution);
    int r = io_read_file(AT_FDCWD, path, 1u << 20, &text, err);
    return r == 0 ? write_file(p, "log4j2.properties", &text, err) : r;
}

static int configure(const struct place *p, const json_t *facts, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(65536), jvm = BUF_INIT(65536);
    const char *version = json_string_value(json_object_get(facts, "version"));
    int major = version ? atoi(version) : 0;
    bool es = !strcmp(p->product, "elasticsearch");
    char name[64];
    int r =
        buf_append_str(&text,
                       "# scratch: private, disposable, on the loopback address only\ncluster.name: proofkeep-scratch\n"
                       "network.host: 127.0.0.1\nhttp.port: 0\ntransport.port: 0\nnode.portsfile: true\n"
                       "discovery.type: single-node\ncluster.routing.allocation.disk.threshold_enabled: false\n"
                       "cluster.max_shards_per_node: 20000\nhttp.max_content_length: 400mb\n",
                       err);
    if (r == 0) r = quoted(&text, "path.data", p->folder, "/data", err);
    if (r == 0) r = quoted(&text, "path.logs", p->folder, "/logs", err);
    /* where snapshots are restored from: ours, and the cluster's own */
    const char *repo = json_text(json_object_get(facts, "snapshot"), "folder", NULL);
    if (r == 0) r = buf_append_str(&text, "path.repo:\n", err);
    if (r == 0) r = quoted(&text, "  - ", p->folder, "/repo", err);
    if (r == 0 && repo) r = quoted(&text, "  - ", repo, "", err);
    if (r == 0 && es && major >= 7 && version && strncmp(version, "7.10", 4) != 0)
        r = buf_append_str(&text, "xpack.security.enabled: false\n", err);
    if (r == 0 && es && major >= 8) r = buf_append_str(&text, "xpack.ml.enabled: false\n", err);
    if (r == 0)
        r = buf_printf(
            &jvm, err,
            "-Xms256m\n-Xmx1g\n-XX:+UseSerialGC\n-Djava.io.tmpdir=%s/tmp\n18-23:-Djava.security.manager=allow\n",
            p->folder);
    if (r == 0 && !es && major >= 3)
        r = buf_printf(&jvm, err, "-javaagent:%s/agent/opensearch-agent.jar\n", p->s->distribution);
    snprintf(name, sizeof name, "%s.yml", p->product);
    if (r == 0) r = write_file(p, name, &text, err);
    if (r == 0) r = write_file(p, "jvm.options", &jvm, err);
    return r == 0 ? copy_logging(p, err) : r;
}

/* The distribution says what it is by its program; it is of the product that was backed up, or nothing can be said. */
static int find_program(struct place *p, const json_t *facts, struct error *err) {
    struct stat st;
    const char *product = json_string_value(json_object_get(facts, "product"));
    p->product = product && !strcmp(product, "opensearch") ? "opensearch" : "elasticsearch";
    if (!p->s->distribution) return error_set(err, ERR_SEARCH_SCRATCH, "cluster.distribution is not set");
    if (snprintf(p->program, sizeof p->program, "%s/bin/%s", p->s->distribution, p->product) >= PATH_MAX)
        return error_set(err, ERR_SEARCH_SCRATCH, "the path of cluster.distribution is too long");
    if (seam_fstatat(AT_FDCWD, p->program, &st, 0) < 0)
        return error_set_errno(err, ERR_SEARCH_SCRATCH, "%s, which was backed up, is not in cluster.distribution: %s",
                               p->product, p->program);
    return 0;
}

static int launch(const struct place *p, struct proc **ret, struct error *err) {
    char conf[PATH_MAX + 64], home[PATH_MAX + 32], java[3][PATH_MAX + 32];
    const char *env[10], *argv[] = {p->program, NULL};
    size_t n = 0;
    snprintf(conf, sizeof conf, "%s_PATH_CONF=%s", !strcmp(p->product, "opensearch") ? "OPENSEARCH" : "ES", p->conf);
    snprintf(home, sizeof home, "HOME=%s", p->folder);
    env[n++] = "PATH=/usr/bin:/bin";
    env[n++] = "LANG=C.UTF-8";
    env[n++] = home;
    env[n++] = conf;
    for (size_t i = 0; p->s->java_home && i < 3; i++) {
        static const char *const names[] = {"JAVA_HOME", "ES_JAVA_HOME", "OPENSEARCH_JAVA_HOME"};
        snprintf(java[i], sizeof java[i], "%s=%s", names[i], p->s->java_home);
        env[n++] = java[i];
    }
    env[n] = NULL;
    struct proc_spec spec = {
        .argv = argv, .env = env, .user = p->become ? p->s->run_as : NULL, .cwd = p->folder, .keep_fd = -1};
    return proc_start(&spec, ret, err);
}

/* The port that it chose, from the file that it writes when it listens. */
static bool port_of(const struct place *p, unsigned *ret) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(65536);
    struct error ignored = ERROR_INIT;
    char path[PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/logs/http.ports", p->folder);
    if (io_read_file(AT_FDCWD, path, 65536, &text, &ignored) < 0 || buf_terminate(&text, &ignored) < 0) return false;
    const char *at = strstr((const char *)text.ptr, "127.0.0.1:");
    return at && sscanf(at, "127.0.0.1:%u", ret) == 1;
}

static int wait_for(const struct surface_context *ctx, const struct place *p, struct proc *proc, json_t **ret,
                    struct error *err) {
    int64_t until = time_monotonic_ns() + WAIT_S * NS_PER_S;
    struct error why = ERROR_INIT;
    char url[64];
    unsigned port;
    for (;;) {
        int r = stop_check(err);
        if (r < 0) return r;
        if (port_of(p, &port)) {
            CLEANUP(search_settings_freep) struct search_settings *s = NULL;
            struct search_client c = {0};
            snprintf(url, sizeof url, "http://127.0.0.1:%u", port);
            json_t *j = json_pack("{s:s, s:s, s:s, s:I}", "kind", "search", "url", url, "folder", p->folder, "process",
                                  (json_int_t)(intptr_t)proc);
            if (!j) return error_set(err, ERR_NO_MEMORY, "no memory");
            error_clear(&why);
            r = search_settings_load(ctx, j, NULL, &s, err);
            if (r == 0 && search_open(s, &c, &why) == 0) {
                search_close(&c);
                *ret = j;
                return 0;
            }
            json_decref(j);
            if (r < 0) return r;
        }
        if (time_monotonic_ns() > until)
            return error_set(err, ERR_SEARCH_SCRATCH, "it does not answer within %d s: %s", WAIT_S, why.text);
        if (!proc_running(proc))
            return proc_wait(proc, NULL, err) < 0 ? -(int)err->code
                                                  : error_set(err, ERR_SEARCH_SCRATCH, "it ended at once");
        (void)!seam_poll(NULL, 0, STEP_MS);
    }
}

static void remove_folder(const char *folder) {
    struct error ignored = ERROR_INIT;
    (void)!io_remove_tree(AT_FDCWD, folder, &ignored);
}

int search_scratch_start(const struct surface_context *ctx, const json_t *facts, json_t **ret, struct error *err) {
    CLEANUP(search_settings_freep) struct search_settings *s = NULL;
    struct place p = {0};
    struct proc *proc = NULL;
    json_t *none = json_object(); /* where the live cluster is does not matter, and its password is not asked for */
    int r = none ? search_settings_load(ctx, none, NULL, &s, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    json_decref(none);
    p.s = s;
    if (r == 0) r = find_program(&p, facts, err);
    if (r == 0) r = choose_user(&p, err);
    if (r == 0) r = make_folders(&p, err);
    if (r == 0) r = configure(&p, facts, err);
    if (r == 0) r = launch(&p, &proc, err);
    if (r == 0) r = wait_for(ctx, &p, proc, ret, err);
    if (r == 0) return 0;
    proc_free(proc);
    if (p.folder[0]) remove_folder(p.folder);
    return error_wrap(err, "start a scratch search server");
}

void search_scratch_stop(const struct surface_context *ctx, json_t *scratch) {
    const char *folder = json_string_value(json_object_get(scratch, "folder"));
    /* The number is only ever one that search_scratch_start of this process wrote. */
    struct proc *proc = (struct proc *)(intptr_t)json_integer_value(json_object_get(scratch, "process"));
    proc_free(proc);
    if (!folder || !ctx->scratch_dir) return;
    size_t n = strlen(ctx->scratch_dir);
    if (strncmp(folder, ctx->scratch_dir, n) == 0 && strncmp(folder + n, "/search-", 8) == 0 &&
        !strchr(folder + n + 1, '/'))
        remove_folder(folder);
}
