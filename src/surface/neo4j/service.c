#include "surface/neo4j/neo4j_offline.h"

#include "base/seam.h"
#include "base/time.h"
#include <stdio.h>

#define JOURNAL_MAX (1u << 20)

static void journal_path(const struct neo4j_offline *o, char out[PATH_MAX + 64]) {
    snprintf(out, PATH_MAX + 64, "%s/" NEO4J_JOURNAL, o->home);
}

static int journal_write(const struct neo4j_offline *o, const char *action, const char *before, const json_t *databases,
                         struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(JOURNAL_MAX);
    char path[PATH_MAX + 64], now[32];
    journal_path(o, path);
    time_format(time_now_ns(), now);
    json_t *doc = json_pack("{s:i, s:s, s:s, s:s, s:s}", "v", 1, "environment", o->ctx->environment, "surface",
                            o->ctx->name, "action", action, "since", now);
    int r = doc ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0 && before) r = json_put_str(doc, "before", before, err);
    if (r == 0 && before) r = json_put(doc, "databases", json_incref((json_t *)databases), err);
    if (r == 0) r = json_write(doc, &text, err);
    if (r == 0) r = buf_append_str(&text, "\n", err);
    if (r == 0) r = io_replace_file(AT_FDCWD, path, buf_bytes(&text), 0600, err);
    json_decref(doc);
    return r;
}

static json_t *journal_read(const struct neo4j_offline *o) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(JOURNAL_MAX);
    struct error ignored = ERROR_INIT;
    char path[PATH_MAX + 64];
    json_t *doc = NULL;
    journal_path(o, path);
    if (io_read_file(AT_FDCWD, path, JOURNAL_MAX, &text, &ignored) == 0)
        (void)!json_parse(buf_bytes(&text), JOURNAL_MAX, path, &doc, &ignored);
    return doc;
}

static void journal_remove(const struct neo4j_offline *o) {
    char path[PATH_MAX + 64];
    journal_path(o, path);
    (void)!seam_unlinkat(AT_FDCWD, path, 0);
}

bool neo4j_service_left(const struct neo4j_offline *o, char *out, size_t n) {
    char path[PATH_MAX + 64];
    struct stat st;
    journal_path(o, path);
    if (seam_fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) < 0) return false;
    json_t *doc = journal_read(o);
    const char *since = json_string_value(json_object_get(doc, "since")),
               *action = json_string_value(json_object_get(doc, "action"));
    if (json_object_get(doc, "before"))
        snprintf(out, n, "a restore was cut off at %s while it replaced databases, which may be half loaded",
                 since ? since : "");
    else
        snprintf(out, n, "a %s stopped it at %s and never came to start it again", action ? action : "job",
                 since ? since : "a time that cannot be read");
    json_decref(doc);
    return true;
}

int neo4j_service_replacing(const struct neo4j_offline *o, const char *before, const json_t *databases,
                            struct error *err) {
    return journal_write(o, "restore", before, databases, err);
}

int neo4j_service_replaced(const struct neo4j_offline *o, bool stopped, struct error *err) {
    if (stopped) return journal_write(o, "restore", NULL, NULL, err);
    journal_remove(o);
    return 0;
}

bool neo4j_service_half(const struct neo4j_offline *o, char before[PATH_MAX], json_t **ret_databases) {
    json_t *doc = journal_read(o), *databases = json_object_get(doc, "databases");
    const char *path = json_string_value(json_object_get(doc, "before"));
    bool half = path && json_is_array(databases) && strlen(path) < PATH_MAX;
    if (half) {
        snprintf(before, PATH_MAX, "%s", path);
        *ret_databases = json_incref(databases);
    }
    json_decref(doc);
    return half;
}

/* What an earlier restore left half loaded is no backup, and no server is started on it. */
static int refuse_half(const struct neo4j_offline *o, struct error *err) {
    char before[PATH_MAX];
    json_t *databases = NULL;
    if (!neo4j_service_half(o, before, &databases)) return 0;
    json_decref(databases);
    error_set(err, ERR_NEO4J_STOPPED, "a restore in place was cut off while it replaced databases of %.200s", o->home);
    (void)!error_state(err, "they may be half loaded; what they were is in %.200s as dumps", before);
    return error_next(
        err,
        "Restore in place again, which goes on from there. Or load the dumps, start Neo4j, and remove " NEO4J_JOURNAL
        " from its home.");
}

static bool is_half(const struct neo4j_offline *o) {
    json_t *doc = journal_read(o);
    bool half = json_object_get(doc, "before") != NULL;
    json_decref(doc);
    return half;
}

static int start(const struct neo4j_offline *o, const char *action, struct error *err) {
    struct error why = ERROR_INIT;
    /* What stops us must not keep the service down. */
    int r = o->ctx->hook(o->ctx->hook_ctx, "start", action, NULL, &why);
    if (r != 0) {
        error_clear(&why);
        r = o->ctx->hook(o->ctx->hook_ctx, "start", action, NULL, &why);
    }
    if (r == 1) error_set(&why, ERR_HOOK, "there is a hook 'stop', and none that is called 'start'");
    if (r == 0) {
        if (!is_half(o)) journal_remove(o);
        return 0;
    }
    return error_set(err, ERR_NEO4J_STOPPED, "Neo4j was stopped for this %s, and does not start: %s", action, why.text);
}

int neo4j_service_check(const struct neo4j_offline *o, struct error *err) {
    const json_t *hooks = json_object_get(o->ctx->settings, "hooks");
    if (!json_is_true(json_object_get(hooks, "stop")) || json_is_true(json_object_get(hooks, "start"))) return 0;
    error_set(err, ERR_CONFIG_VALUE, "there is a hook 'stop', and none 'start' that would bring the service back");
    return error_state(err, "nothing was stopped");
}

int neo4j_service_stop(const struct neo4j_offline *o, const char *action, bool *ret_stopped, struct error *err) {
    char left[256];
    *ret_stopped = false;
    int r = strcmp(action, "restore") != 0 ? refuse_half(o, err) : 0;
    if (r < 0) return r;
    bool was_left = neo4j_service_left(o, left, sizeof left);
    if (was_left && o->ctx->events.note)
        o->ctx->events.note(o->ctx->events.ctx, NOTE_WARNING, BYTES_STR("Neo4j"), left);
    if (!o->ctx->hook) return 0;
    r = neo4j_service_check(o, err);
    if (r == 0 && !was_left && (r = journal_write(o, action, NULL, NULL, err)) < 0)
        (void)!error_state(err, "nothing was stopped");
    if (r < 0) return r;
    r = o->ctx->hook(o->ctx->hook_ctx, "stop", action, NULL, err);
    if (r == 1) {
        if (!was_left) journal_remove(o);
        return 0;
    }
    *ret_stopped = r == 0;
    return r < 0 ? neo4j_service_start(o, action, true, r, err) : 0;
}

int neo4j_service_start(const struct neo4j_offline *o, const char *action, bool stopped, int r, struct error *err) {
    struct error why = ERROR_INIT;
    if (!stopped) return r;
    int s = start(o, action, &why);
    if (s == 0) return r;
    if (r == 0) {
        *err = why;
        return s;
    }
    (void)!error_state(err, "%.240s", why.text);
    (void)!error_next(err, "Start Neo4j now, by hand: it is not running.");
    return r;
}
