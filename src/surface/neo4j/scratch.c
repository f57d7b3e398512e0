#include "surface/neo4j/neo4j_offline.h"

#include "base/seam.h"
#include "base/thread.h"
#include "base/time.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define ELSEWHERE "/tmp/proofkeep-neo4j-"
#define WAIT_NS (240 * NS_PER_S)
#define STEP_MS 100
#define LOG_MAX (4u << 20)
#define PORT_FIRST 10240u
#define PORT_LAST 32000u
#define ATTEMPTS 3

/* Servers end with this process, or when they are stopped; a scratch instance's facts only name them. */
struct running {
    struct running *next;
    struct proc *proc;
    struct secret *password; /* NULL: there is no way in */
    char home[PATH_MAX];
};
static struct running *all;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct proc *forget(const char *home) {
    struct proc *p = NULL;
    pthread_mutex_lock(&lock);
    for (struct running **r = &all; *r; r = &(*r)->next)
        if (!strcmp((*r)->home, home)) {
            struct running *gone = *r;
            *r = gone->next;
            p = gone->proc;
            secret_free(gone->password);
            seam_free(gone);
            break;
        }
    pthread_mutex_unlock(&lock);
    return p;
}

/* The user that the server is must be able to reach its home: not in a folder that is ours alone. */
static int choose(const struct neo4j_offline *o, char out[PATH_MAX], struct error *err) {
    uint8_t random[8];
    char hex[17];
    int r = random_bytes(random, sizeof random, err);
    if (r < 0) return r;
    hex_encode(random, sizeof random, hex);
    if (!o->become && !o->ctx->scratch_dir) return error_set(err, ERR_INTERNAL, "neo4j: no scratch folder was given");
    if (o->become)
        snprintf(out, PATH_MAX, ELSEWHERE "%s", hex);
    else if (snprintf(out, PATH_MAX, "%s/neo4j-%s", o->ctx->scratch_dir, hex) >= PATH_MAX - 64)
        return error_set(err, ERR_IO_WRITE, "the path of the scratch folder is too long");
    return 0;
}

int neo4j_scratch_start(const struct surface_context *ctx, const json_t *facts, json_t **ret, struct error *err) {
    const char *method = json_string_value(json_object_get(facts, "method"));
    struct error ignored = ERROR_INIT;
    struct neo4j_offline o;
    char home[PATH_MAX] = "";
    json_t *j = NULL;
    int r = neo4j_offline_load(ctx, &o, err);
    if (r == 0) r = choose(&o, home, err);
    if (r == 0) r = neo4j_home_make(&o, home, err);
    if (r == 0) r = neo4j_home_configure(&o, home, home, NULL, err);
    if (r == 0 && !(j = json_pack("{s:s}", "home", home))) r = error_set(err, ERR_NO_MEMORY, "no memory");
    /* Dumps are loaded while no server runs; an import needs one. */
    if (r == 0 && (!method || strcmp(method, "offline") != 0)) r = neo4j_scratch_serve(ctx, j, err);
    if (r == 0) {
        *ret = j;
        return 0;
    }
    json_decref(j);
    if (home[0]) (void)!io_remove_tree(AT_FDCWD, home, &ignored);
    return error_wrap(err, "start a scratch Neo4j");
}

static void program_of(const struct neo4j_offline *o, char out[PATH_MAX]) {
    const char *slash = strrchr(o->admin, '/');
    snprintf(out, PATH_MAX, "%.*sneo4j", slash ? (int)(slash + 1 - o->admin) : 0, o->admin);
}

/* The one that is counted: a server that begins without `system` must know it by that name. */
static const char *main_database(const struct neo4j_offline *o) {
    const char *name = json_string_value(json_object_get(json_object_get(o->ctx->settings, "dbms"), "database"));
    return name && neo4j_name_holds(name) && strcmp(name, "system") != 0 ? name : "neo4j";
}

/* A server that is given port 0 does not tell which one it took: so one is guessed, below those that clients get. */
static int configure(const struct neo4j_offline *o, const char *home, bool open, unsigned *ret_port,
                     struct error *err) {
    char more[1000];
    uint8_t random[2];
    int r = random_bytes(random, sizeof random, err);
    if (r < 0) return r;
    *ret_port = PORT_FIRST + get_u16(random) % (PORT_LAST - PORT_FIRST + 1);
    snprintf(more, sizeof more,
             "server.default_listen_address=127.0.0.1\nserver.bolt.listen_address=127.0.0.1:%u\n"
             "server.bolt.enabled=%s\ninitial.dbms.default_database=%s\n"
             "server.http.enabled=false\nserver.https.enabled=false\ndbms.usage_report.enabled=false\n"
             "dbms.security.auth_enabled=true\nserver.memory.heap.initial_size=128m\n"
             "server.memory.heap.max_size=512m\nserver.memory.pagecache.size=64m\n",
             *ret_port, open ? "true" : "false", main_database(o));
    return neo4j_home_configure(o, home, home, more, err);
}

/* 0 while it starts, 1 when it has; by the server's own log, which is in its home and nobody else's. */
static int look(const char *home, bool open, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(LOG_MAX);
    struct error ignored = ERROR_INIT;
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/logs/neo4j.log", home);
    if (io_read_file(AT_FDCWD, path, LOG_MAX, &text, &ignored) < 0 || buf_terminate(&text, &ignored) < 0) return 0;
    const char *failed = strstr((const char *)text.ptr, "Failed to start Neo4j");
    if (failed) return error_set(err, ERR_NEO4J_SCRATCH, "%.*s", (int)strcspn(failed, "\n"), failed);
    const char *bolt = strstr((const char *)text.ptr, open ? "Bolt enabled on " : " Starting...");
    return bolt && strstr(bolt, " Started.");
}

/* `password` is taken, unless it fails. */
static int start(const struct neo4j_offline *o, const char *home, struct secret *password, struct error *err) {
    char program[PATH_MAX], own[PATH_MAX + 16], conf[PATH_MAX + 16], path[PATH_MAX], java[PATH_MAX];
    const char *p = getenv("PATH"), *j = getenv("JAVA_HOME");
    void *mem = NULL;
    program_of(o, program);
    snprintf(own, sizeof own, "NEO4J_HOME=%s", o->home);
    snprintf(conf, sizeof conf, "NEO4J_CONF=%s/conf", home);
    snprintf(path, sizeof path, "PATH=%.4000s", p ? p : "/usr/local/bin:/usr/bin:/bin");
    snprintf(java, sizeof java, "JAVA_HOME=%.4000s", j ? j : "");
    struct proc_spec spec = {
        .argv = (const char *[]){program, "console", NULL},
        .env = (const char *[]){path, "LANG=C.UTF-8", "LC_ALL=C.UTF-8", own, conf, j ? java : NULL, NULL},
        .user = o->become ? o->run_as : NULL,
        .keep_fd = -1};
    int r = mem_alloc(sizeof(struct running), &mem, err);
    if (r < 0) return r;
    struct running *run = mem;
    if ((r = proc_start(&spec, &run->proc, err)) < 0) {
        seam_free(run);
        return r;
    }
    run->password = password;
    snprintf(run->home, sizeof run->home, "%s", home);
    pthread_mutex_lock(&lock);
    run->next = all;
    all = run;
    pthread_mutex_unlock(&lock);
    return 0;
}

/* Text of 24 random bytes. */
static int password_make(const struct neo4j_offline *o, const char *home, struct secret **ret, struct error *err) {
    CLEANUP(secret_freep) struct secret *raw = NULL;
    char hex[49];
    int r = secret_random(24, &raw, err);
    if (r < 0) return r;
    hex_encode(secret_bytes(raw).ptr, 24, hex);
    r = neo4j_home_password(o, home, BYTES_OF(hex, 48), err);
    if (r == 0) r = secret_new(BYTES_OF(hex, 48), ret, err);
    wipe(hex, sizeof hex);
    return r;
}

static int serve(const struct neo4j_offline *o, const char *home, bool open, unsigned *ret_port, struct error *err) {
    char logs[PATH_MAX + 32];
    struct secret *password = NULL;
    snprintf(logs, sizeof logs, "%s/logs/neo4j.log", home);
    if (seam_unlinkat(AT_FDCWD, logs, 0) < 0 && errno != ENOENT)
        return error_set_errno(err, ERR_IO_WRITE, "remove %s", logs);
    int r = configure(o, home, open, ret_port, err);
    if (r == 0 && open) r = password_make(o, home, &password, err);
    if (r == 0 && (r = start(o, home, password, err)) < 0) secret_free(password);
    if (r < 0) return r;
    for (int64_t until = time_monotonic_ns() + WAIT_NS; (r = look(home, open, err)) == 0;) {
        if (time_monotonic_ns() > until)
            r = error_set(err, ERR_NEO4J_SCRATCH, "the server did not start within %d s", (int)(WAIT_NS / NS_PER_S));
        if (r == 0) r = stop_check(err);
        if (r < 0) break;
        (void)!seam_poll(NULL, 0, STEP_MS);
    }
    if (r > 0) return 0;
    proc_free(forget(home));
    return r;
}

static const char *const system_parts[] = {"data/databases/system", "data/transactions/system"};

static int drop_system(const char *home, struct error *err) {
    char path[PATH_MAX + 64];
    int r = 0;
    for (size_t i = 0; r == 0 && i < sizeof system_parts / sizeof *system_parts; i++) {
        snprintf(path, sizeof path, "%s/%s", home, system_parts[i]);
        r = io_remove_tree(AT_FDCWD, path, err);
    }
    return r;
}

/* Nobody can log in to it who does not know its passwords, and without any everybody could. That a server starts from
 * it is seen all the same. */
static int leave_system(const struct neo4j_offline *o, const char *home, struct error *err) {
    char path[PATH_MAX + 64];
    struct stat st;
    unsigned port;
    snprintf(path, sizeof path, "%s/%s", home, system_parts[0]);
    if (seam_fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) < 0) return 0;
    int r = serve(o, home, false, &port, err);
    if (r < 0) return r;
    proc_free(forget(home));
    return drop_system(home, err);
}

int neo4j_scratch_serve(const struct surface_context *ctx, json_t *scratch, struct error *err) {
    const char *home = json_string_value(json_object_get(scratch, "home"));
    struct neo4j_offline o;
    unsigned port = 0;
    int r = home ? neo4j_offline_load(ctx, &o, err) : error_set(err, ERR_JSON, "the scratch instance has no home");
    if (r == 0) r = leave_system(&o, home, err);
    if (r < 0) return r;
    /* Another may have the port: a second and a third are tried before it counts. */
    for (int i = 0; i < ATTEMPTS; i++) {
        error_clear(err);
        /* one that failed may have made `system` with its own password, and another is taken from auth.ini only once */
        r = i ? drop_system(home, err) : 0;
        if (r == 0) r = serve(&o, home, true, &port, err);
        if (r != -ERR_NEO4J_SCRATCH) break;
    }
    if (r == 0) r = json_put_str(scratch, "host", "127.0.0.1", err);
    return r == 0 ? json_put_int(scratch, "port", port, err) : r;
}

int neo4j_scratch_password(const json_t *scratch, struct secret **ret, struct error *err) {
    const char *home = json_string_value(json_object_get(scratch, "home"));
    int r = 0;
    pthread_mutex_lock(&lock);
    for (struct running *i = all; home && i && r == 0; i = i->next)
        if (!strcmp(i->home, home) && i->password && !*ret) r = secret_new(secret_bytes(i->password), ret, err);
    pthread_mutex_unlock(&lock);
    return r;
}

void neo4j_scratch_stop(const struct surface_context *ctx, json_t *scratch) {
    const char *home = json_string_value(json_object_get(scratch, "home"));
    struct error ignored = ERROR_INIT;
    size_t n = ctx->scratch_dir ? strlen(ctx->scratch_dir) : 0;
    if (!home) return;
    proc_free(forget(home));
    /* Only what neo4j_scratch_start can have named is ever removed. */
    bool ours =
        n && !strncmp(home, ctx->scratch_dir, n) && !strncmp(home + n, "/neo4j-", 7) && !strchr(home + n + 1, '/');
    bool elsewhere = !strncmp(home, ELSEWHERE, sizeof ELSEWHERE - 1) && !strchr(home + 5, '/');
    if (ours || elsewhere) (void)!io_remove_tree(AT_FDCWD, home, &ignored);
}
