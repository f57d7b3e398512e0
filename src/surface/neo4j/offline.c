#include "surface/neo4j/neo4j_offline.h"

#include "base/seam.h"
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define HOME "/var/lib/neo4j"
#define CONF "/etc/neo4j"
#define INFO_MAX (4u << 20)

static bool is_there(const char *path) {
    struct stat st;
    return seam_fstatat(AT_FDCWD, path, &st, 0) == 0;
}

static int path_of(const json_t *dbms, const char *key, char out[PATH_MAX], struct error *err) {
    const char *v = json_string_value(json_object_get(dbms, key));
    out[0] = 0;
    if (!v) return 0;
    if (v[0] != '/' || strlen(v) >= PATH_MAX - 300)
        return error_set(err, ERR_CONFIG_VALUE, "neo4j: dbms.%s is no absolute path", key);
    snprintf(out, PATH_MAX, "%s", v);
    return 0;
}

static int find_user(struct neo4j_offline *o, struct error *err) {
    struct passwd pw, *found = NULL;
    char text[16384];
    if (!o->run_as || geteuid() != 0) return 0;
    if (getpwnam_r(o->run_as, &pw, text, sizeof text, &found) != 0 || !found)
        return error_set(err, ERR_CONFIG_VALUE, "neo4j: dbms.run_as: there is no user %s", o->run_as);
    o->become = found->pw_uid != 0;
    o->uid = found->pw_uid;
    o->gid = found->pw_gid;
    return 0;
}

int neo4j_offline_load(const struct surface_context *ctx, struct neo4j_offline *ret, struct error *err) {
    const json_t *dbms = json_object_get(ctx->settings, "dbms");
    *ret = (struct neo4j_offline){.ctx = ctx};
    int r = path_of(dbms, "home", ret->home, err);
    if (r == 0) r = path_of(dbms, "conf", ret->conf, err);
    if (r == 0) r = path_of(dbms, "admin", ret->admin, err);
    if (r < 0) return r;
    ret->run_as = json_string_value(json_object_get(dbms, "run_as"));
    ret->databases = json_object_get(dbms, "databases");
    if (!ret->home[0]) snprintf(ret->home, sizeof ret->home, HOME);
    if (!ret->conf[0]) {
        snprintf(ret->conf, sizeof ret->conf, "%.4000s/conf", ret->home);
        if (!is_there(ret->conf) && is_there(CONF)) snprintf(ret->conf, sizeof ret->conf, CONF);
    }
    if (!ret->admin[0]) {
        snprintf(ret->admin, sizeof ret->admin, "%.4000s/bin/neo4j-admin", ret->home);
        if (!is_there(ret->admin)) snprintf(ret->admin, sizeof ret->admin, "neo4j-admin");
    }
    return find_user(ret, err);
}

bool neo4j_offline_has(const struct neo4j_offline *o, const char *database) {
    const json_t *v;
    size_t i;
    if (!json_array_size(o->databases)) return true;
    json_array_foreach(o->databases, i, v) {
        const char *one = json_string_value(v);
        if (one && !strcmp(one, database)) return true;
    }
    return false;
}

int neo4j_admin_start(const struct neo4j_offline *o, const char *conf, const char *const *args, bool pipe_in,
                      bool pipe_out, struct proc **ret, struct error *err) {
    char home[PATH_MAX + 16], folder[PATH_MAX + 16], java[PATH_MAX], path[PATH_MAX];
    const char *argv[24], *env[8];
    size_t n = 0, e = 0;
    argv[n++] = o->admin;
    for (; *args; args++) {
        if (n + 1 == sizeof argv / sizeof *argv)
            return error_set(err, ERR_INTERNAL, "too many arguments for neo4j-admin");
        argv[n++] = *args;
    }
    argv[n] = NULL;
    const char *p = getenv("PATH"), *j = getenv("JAVA_HOME");
    snprintf(path, sizeof path, "PATH=%.4000s", p ? p : "/usr/local/bin:/usr/bin:/bin");
    snprintf(home, sizeof home, "NEO4J_HOME=%s", o->home);
    snprintf(folder, sizeof folder, "NEO4J_CONF=%s", conf ? conf : o->conf);
    env[e++] = path;
    env[e++] = "LANG=C.UTF-8";
    env[e++] = "LC_ALL=C.UTF-8";
    env[e++] = home;
    env[e++] = folder;
    if (j && snprintf(java, sizeof java, "JAVA_HOME=%s", j) < (int)sizeof java) env[e++] = java;
    env[e] = NULL;
    struct proc_spec spec = {.argv = argv,
                             .env = env,
                             .user = o->become ? o->run_as : NULL,
                             .pipe_in = pipe_in,
                             .pipe_out = pipe_out,
                             .keep_fd = -1};
    int r = proc_start(&spec, ret, err);
    if (r == -ERR_PROC_SPAWN)
        (void)!error_next(err, "Name neo4j-admin with 'dbms.admin', or the server's home with 'dbms.home'.");
    return r;
}

/* What it says went wrong; lines of progress and advice are none of it. */
static void words_of(const char *output, char *out, size_t n) {
    const char *best = "it says nothing", *line = output;
    size_t len = strlen(best);
    bool said = false;
    for (; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        size_t k = strcspn(line, "\n");
        const char *failed = memmem(line, k, "Failed to ", 10);
        if (k == 0 || !strncmp(line, "Files: ", 7) || !strncmp(line, "Run with ", 9) || line[0] == '\t') continue;
        if (said && !failed) continue;
        said = failed != NULL;
        best = failed ? failed : line;
        len = k - (size_t)(best - line);
    }
    snprintf(out, n, "%.*s", (int)(len < 600 ? len : 600), best);
}

int neo4j_admin_wait(struct proc *p, const char *doing, struct error *err) {
    struct error why = ERROR_INIT;
    char words[640];
    int status = 0, r = proc_wait(p, &status, &why);
    if (r == 0) return 0;
    if (r != -ERR_PROC_FAILED) {
        *err = why;
        return error_wrap(err, "%s", doing);
    }
    words_of(proc_output(p), words, sizeof words);
    if (strstr(proc_output(p), "database is in use"))
        return error_set(err, ERR_NEO4J_IN_USE, "%s: neo4j-admin refused, as a server is running on it (%s)", doing,
                         words);
    return error_set(err, ERR_NEO4J_ADMIN, "%s: neo4j-admin ended with status %d: %s", doing, status, words);
}

int neo4j_admin_run(const struct neo4j_offline *o, const char *conf, const char *const *args, const char *doing,
                    struct buf *out, struct error *err) {
    struct proc *p = NULL;
    int r = neo4j_admin_start(o, conf, args, false, out != NULL, &p, err);
    while (r == 0 && out) {
        size_t got = 0;
        r = buf_reserve(out, 64 << 10, err);
        if (r == 0)
            r = io_read_full(proc_out(p), out->ptr + out->len, 64 << 10, &got, "the output of neo4j-admin", err);
        if (r < 0 || got == 0) break;
        out->len += got;
    }
    if (r == 0) r = neo4j_admin_wait(p, doing, err);
    proc_free(p);
    return r;
}

int neo4j_admin_version(const struct neo4j_offline *o, char out[64], struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(1 << 20);
    int r =
        neo4j_admin_run(o, NULL, (const char *[]){"--version", NULL}, "ask neo4j-admin for its version", &text, err);
    if (r == 0) r = buf_terminate(&text, err);
    if (r < 0) return r;
    const char *v = (const char *)text.ptr + strcspn((const char *)text.ptr, "0123456789");
    snprintf(out, 64, "%.*s", (int)strcspn(v, " \r\n"), v);
    if (out[0] && strtol(out, NULL, 10) >= 5) return 0;
    return error_set(err, ERR_NEO4J_ADMIN, "%s is of Neo4j '%.40s', and what is needed here came with version 5",
                     o->admin, out);
}

bool neo4j_name_holds(const char *name) {
    for (const char *p = name; *p; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9');
        if (!plain && (p == name || (*p != '.' && *p != '-' && *p != '_'))) return false;
    }
    return name[0] && strlen(name) < NEO4J_NAME_MAX;
}

static int info_row(const json_t *in, json_t *out, struct error *err) {
    const char *name = json_string_value(json_object_get(in, "databaseName"));
    const char *last = json_string_value(json_object_get(in, "lastCommittedTransaction"));
    const char *used = json_string_value(json_object_get(in, "inUse"));
    const char *recovery = json_string_value(json_object_get(in, "recoveryRequired"));
    if (!name || !neo4j_name_holds(name))
        return error_set(err, ERR_NEO4J_ADMIN, "neo4j-admin database info names a database that cannot be one");
    json_t *row =
        json_pack("{s:s, s:O?, s:I, s:b, s:b}", "name", name, "store_format", json_object_get(in, "storeFormat"),
                  "last_committed", (json_int_t)(last ? atoll(last) : -1), "in_use", used && !strcmp(used, "true"),
                  "needs_recovery", recovery && !strcmp(recovery, "true"));
    return json_push(out, row, err);
}

int neo4j_admin_info(const struct neo4j_offline *o, const char *conf, json_t **ret, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(INFO_MAX);
    json_t *doc = NULL, *rows = json_array();
    const json_t *row;
    size_t i;
    int r = rows ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0)
        r = neo4j_admin_run(o, conf, (const char *[]){"database", "info", "--format=json", NULL}, "list the databases",
                            &text, err);
    /* Anything that is said before is not the answer. */
    const uint8_t *at = text.len ? memchr(text.ptr, '[', text.len) : NULL;
    if (r == 0 && at)
        r = json_parse(BYTES_OF(at, text.len - (size_t)(at - text.ptr)), INFO_MAX, "database info", &doc, err);
    else if (r == 0) /* no answer is not the answer that there is none: what it does not list is replaced undumped */
        r = error_set(err, ERR_NEO4J_ADMIN, "list the databases: neo4j-admin succeeded, and gave no list");
    json_array_foreach(doc, i, row) if (r == 0) r = info_row(row, rows, err);
    json_decref(doc);
    if (r < 0)
        json_decref(rows);
    else
        *ret = rows;
    return r;
}

const json_t *neo4j_info_of(const json_t *info, const char *database) {
    const json_t *row;
    size_t i;
    json_array_foreach(info, i, row) {
        const char *name = json_string_value(json_object_get(row, "name"));
        if (name && !strcmp(name, database)) return row;
    }
    return NULL;
}
