#include "surface/neo4j/neo4j_offline.h"

#include "base/seam.h"
#include "base/time.h"
#include <stdio.h>

#define JOURNAL_MAX 4096

static void journal_path(const struct neo4j_offline *o, char out[PATH_MAX + 64]) {
    snprintf(out, PATH_MAX + 64, "%s/" NEO4J_JOURNAL, o->home);
}

static int journal_write(const struct neo4j_offline *o, const char *action, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(JOURNAL_MAX);
    char path[PATH_MAX + 64], now[32];
    journal_path(o, path);
    time_format(time_now_ns(), now);
    json_t *doc = json_pack("{s:i, s:s, s:s, s:s, s:s}", "v", 1, "environment", o->ctx->environment, "surface",
                            o->ctx->name, "action", action, "since", now);
    int r = doc ? json_write(doc, &text, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = buf_append_str(&text, "\n", err);
    if (r == 0) r = io_replace_file(AT_FDCWD, path, buf_bytes(&text), 0600, err);
    json_decref(doc);
    if (r < 0) (void)!error_state(err, "nothing was stopped");
    return r;
}

static void journal_remove(const struct neo4j_offline *o) {
    char path[PATH_MAX + 64];
    journal_path(o, path);
    (void)!seam_unlinkat(AT_FDCWD, path, 0);
}

bool neo4j_service_left(const struct neo4j_offline *o, char *out, size_t n) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(JOURNAL_MAX);
    struct error ignored = ERROR_INIT;
    char path[PATH_MAX + 64];
    json_t *doc = NULL;
    struct stat st;
    journal_path(o, path);
    if (seam_fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) < 0) return false;
    if (io_read_file(AT_FDCWD, path, JOURNAL_MAX, &text, &ignored) == 0)
        (void)!json_parse(buf_bytes(&text), JOURNAL_MAX, path, &doc, &ignored);
    const char *since = json_string_value(json_object_get(doc, "since")),
               *action = json_string_value(json_object_get(doc, "action"));
    snprintf(out, n, "a %s stopped it at %s and never came to start it again", action ? action : "job",
             since ? since : "a time that cannot be read");
    json_decref(doc);
    return true;
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
        journal_remove(o);
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
    bool was_left = neo4j_service_left(o, left, sizeof left);
    if (was_left && o->ctx->events.note)
        o->ctx->events.note(o->ctx->events.ctx, NOTE_WARNING, BYTES_STR("Neo4j"), left);
    if (!o->ctx->hook) return 0;
    int r = neo4j_service_check(o, err);
    if (r == 0 && !was_left) r = journal_write(o, action, err);
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
