#include "surface/search/snapshot.h"

#include "base/seam.h"
#include "base/thread.h"
#include "base/time.h"
#include <stdio.h>

#define STEP_MS 200
#define STEP_CAP_MS 3000
#define COPIED_IN_NS (INT64_C(7) * 86400 * NS_PER_S) /* no backup copies one for longer */
#define SILENCE_TRIES 20u /* answers in a row that may be missing while a snapshot is made */

static int path_of(struct buf *path, const char *repository, const char *name, const char *after, struct error *err) {
    CLEANUP(buf_free) struct buf to = BUF_INIT(8192);
    int r = search_path(&to, "/", name, after, err);
    return r == 0 ? search_path(path, "/_snapshot/", repository, (const char *)to.ptr, err) : r;
}

static const json_t *first(const json_t *answer) {
    const json_t *list = json_object_get(answer, "snapshots");
    if (!list) list = json_object_get(json_array_get(json_object_get(answer, "responses"), 0), "snapshots");
    return json_array_get(list, 0);
}

static int ask_of(const struct search_client *c, const char *repository, const char *name, const char *tail,
                  const char *what, json_t **ret, struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    json_t *answer = NULL;
    bool missing = false;
    int r = path_of(&path, repository, name, tail, err);
    if (r == 0) r = search_ask(c, "GET", (const char *)path.ptr, NULL, &answer, &missing, what, err);
    if (r == 0 && !first(answer))
        r = error_set(err, ERR_ENGINE_GONE, "there is no snapshot %s in the cluster's repository %s", name, repository);
    if (r == 0) *ret = json_incref((json_t *)first(answer));
    json_decref(answer);
    return r;
}

int engine_snapshot_get(const struct search_client *c, const char *repository, const char *name, json_t **ret,
                        struct error *err) {
    return ask_of(c, repository, name, "", "ask what a snapshot is", ret, err);
}

int engine_snapshot_status(const struct search_client *c, const char *repository, const char *name, json_t **ret,
                           struct error *err) {
    return ask_of(c, repository, name, "/_status", "ask how large a snapshot is", ret, err);
}

int engine_snapshot_remove(const struct search_client *c, const char *repository, const char *name, struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    int r = path_of(&path, repository, name, "", err);
    return r == 0 ? search_ask(c, "DELETE", (const char *)path.ptr, NULL, NULL, NULL,
                               "remove a snapshot of the cluster", err)
                  : r;
}

static bool has(const json_t *list, const char *name) {
    const json_t *v;
    size_t i;
    json_array_foreach((json_t *)list, i, v) if (json_is_string(v) && !strcmp(json_string_value(v), name)) return true;
    return false;
}

/* _status is not asked: of some versions it says SUCCESS of a snapshot that is PARTIAL. */
int engine_snapshot_judge(const json_t *info, const json_t *indices, struct error *err) {
    const char *state = json_text(info, "state", "without a state");
    const json_t *shards = json_object_get(info, "shards"), *failures = json_object_get(info, "failures"), *x;
    const json_t *one = json_array_get(failures, 0);
    json_int_t total = json_integer_value(json_object_get(shards, "total"));
    json_int_t good = json_integer_value(json_object_get(shards, "successful"));
    size_t i;
    if (strcmp(state, "SUCCESS") != 0 || json_array_size(failures) || !json_is_array(failures) || good != total ||
        json_integer_value(json_object_get(shards, "failed")) != 0 ||
        !json_is_integer(json_object_get(shards, "total")))
        return error_set(err, ERR_ENGINE_PARTIAL, "the snapshot %s is %s: %lld of %lld shards%s%.200s%s%.300s",
                         json_text(info, "snapshot", ""), state, (long long)good, (long long)total,
                         one ? "; the first that failed is of " : "", json_text(one, "index", ""), one ? ": " : "",
                         json_text(one, "reason", json_text(info, "reason", "")));
    json_array_foreach((json_t *)indices, i, x) {
        if (!has(json_object_get(info, "indices"), json_string_value(x)))
            return error_set(err, ERR_ENGINE_PARTIAL, "the snapshot %s does not have the index %s",
                             json_text(info, "snapshot", ""), json_string_value(x));
    }
    return 0;
}

/* Until it is over, whatever its end. */
static int wait_for(const struct search_client *c, const char *repository, const char *name, json_t **ret,
                    struct error *err) {
    unsigned silent = 0;
    for (int step = STEP_MS;; step = step * 3 / 2 > STEP_CAP_MS ? STEP_CAP_MS : step * 3 / 2) {
        json_t *info = NULL;
        int r = stop_check(err);
        if (r < 0) return r;
        r = engine_snapshot_get(c, repository, name, &info, err);
        if (r == -ERR_ENGINE_GONE)
            return error_state(err, "it was being made, and somebody else removed it or the cluster gave it up");
        if (r < 0 && (++silent == SILENCE_TRIES || r == -ERR_SEARCH_AUTH || r == -ERR_SEARCH_DENIED)) return r;
        if (r == 0) {
            const char *state = json_text(info, "state", "");
            silent = 0;
            search_progress(
                c->s, "snapshot", 0,
                (uint64_t)json_integer_value(json_object_get(json_object_get(info, "shards"), "successful")));
            if (strcmp(state, "IN_PROGRESS") != 0 && strcmp(state, "STARTED") != 0 && strcmp(state, "INIT") != 0) {
                *ret = info;
                return 0;
            }
            json_decref(info);
        }
        error_clear(err);
        (void)!seam_poll(NULL, 0, step);
    }
}

static void label_of(const struct search_client *c, char out[300]) {
    snprintf(out, 300, "%.140s/%.140s", c->s->ctx->environment ? c->s->ctx->environment : "",
             c->s->ctx->name ? c->s->ctx->name : "");
}

bool engine_snapshot_ours(const struct search_client *c, const json_t *info) {
    const json_t *note = json_object_get(json_object_get(info, "metadata"), "proofkeep");
    char label[300];
    label_of(c, label);
    return !strncmp(json_text(info, "snapshot", ""), "proofkeep-", 10) &&
           !strcmp(json_text(note, "surface", ""), label);
}

static json_t *request(const struct search_client *c, const json_t *indices, bool carry) {
    char label[300];
    CLEANUP(buf_free) struct buf list = BUF_INIT(1u << 20);
    struct error e = ERROR_INIT;
    const json_t *x;
    size_t i;
    json_array_foreach((json_t *)indices, i,
                       x) if (buf_printf(&list, &e, "%s%s", i ? "," : "", json_string_value(x)) < 0) return NULL;
    label_of(c, label);
    return json_pack("{s:s%, s:b, s:b, s:b, s:{s:{s:s, s:b, s:s*}}}", "indices", (const char *)list.ptr, list.len,
                     "ignore_unavailable", 0, "include_global_state", 0, "partial", 0, "metadata", "proofkeep",
                     "surface", label, "carried", carry, "job", c->s->ctx->claims ? c->s->ctx->claims->job : NULL);
}

/* What stopped it is the error; what became of the snapshot is added to it. */
static int give_up(const struct search_client *c, const char *repository, const char *name, struct error *err) {
    struct error e = ERROR_INIT;
    bool gone = engine_snapshot_remove(c, repository, name, &e) == 0 || strstr(e.text, "snapshot_missing_exception");
    if (gone) engine_unclaim(c, repository, name);
    if (gone) return error_state(err, "the snapshot %s was removed from the cluster's repository %s", name, repository);
    return error_state(err, "the snapshot %s may be in the cluster's repository %s, and could not be removed: %.300s",
                       name, repository, e.text);
}

int engine_snapshot_make(const struct search_client *c, const char *repository, const char *name, const json_t *indices,
                         bool carry, json_t **ret, struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    json_t *body = request(c, indices, carry), *info = NULL;
    int r = body ? path_of(&path, repository, name, "?wait_for_completion=false", err)
                 : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = engine_claim(c, repository, name, err);
    if (r < 0) { /* it was not asked for */
        json_decref(body);
        return r;
    }
    r = search_ask(c, "PUT", (const char *)path.ptr, body, NULL, NULL, "make a snapshot", err);
    json_decref(body);
    /* refused; the note stays for the next backup, as what is between us and the cluster may have said so of one that
     * was begun */
    if (r < 0 && err->code == ERR_SEARCH_REPLY) {
        struct error e = *err;
        bool shards = strstr(e.text, "primary shards") != NULL;
        error_clear(err);
        return error_set(err, shards ? ERR_ENGINE_PARTIAL : ERR_ENGINE_REPOSITORY, "%s", e.text);
    }
    if (r == -ERR_SEARCH_AUTH || r == -ERR_SEARCH_DENIED || r == -ERR_SEARCH_BUSY) return r;
    /* Without an answer, it may have been begun. */
    if (r == 0) r = wait_for(c, repository, name, &info, err);
    if (r == 0) r = engine_snapshot_judge(info, indices, err);
    if (r == 0)
        *ret = info;
    else
        json_decref(info);
    return r < 0 ? give_up(c, repository, name, err) : 0;
}

/* Whether nobody copies it any more: the log has the recovery point of the backup that made it. Those of versions that
 * did not say which one are known by the facts of the last. */
static bool is_copied(const struct search_client *c, const json_t *info) {
    const struct surface_context *ctx = c->s->ctx;
    const char *job = json_text(json_object_get(json_object_get(info, "metadata"), "proofkeep"), "job", NULL);
    const json_int_t started_ms = json_integer_value(json_object_get(info, "start_time_in_millis"));
    if (started_ms > 0 && started_ms < (time_now_ns() - COPIED_IN_NS) / 1000000) return true;
    if (job) return ctx->claims && ctx->claims->stored(ctx->claims->ctx, job);
    json_auto_t *former = ctx->former_facts ? ctx->former_facts(ctx->former_ctx) : NULL;
    return !strcmp(json_text(json_object_get(former, "snapshot"), "name", ""), json_text(info, "snapshot", ""));
}

int engine_snapshot_tidy(const struct search_client *c, const char *repository, const char *name, uint64_t *ret,
                         struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    json_t *answer = NULL;
    const json_t *list, *one;
    bool missing = false;
    size_t i;
    int r = search_path(&path, "/_snapshot/", repository, "/proofkeep-*?ignore_unavailable=true", err);
    if (r == 0)
        r = search_ask(c, "GET", (const char *)path.ptr, NULL, &answer, &missing, "list the cluster's snapshots", err);
    list = json_object_get(answer, "snapshots");
    if (!list) list = json_object_get(json_array_get(json_object_get(answer, "responses"), 0), "snapshots");
    json_array_foreach((json_t *)list, i, one) {
        const json_t *ours = json_object_get(json_object_get(one, "metadata"), "proofkeep");
        const char *its = json_text(one, "snapshot", "");
        if (r < 0 || !strcmp(its, name) || !engine_snapshot_ours(c, one) ||
            !json_is_true(json_object_get(ours, "carried")) || !strcmp(json_text(one, "state", ""), "IN_PROGRESS") ||
            !is_copied(c, one))
            continue;
        r = engine_snapshot_remove(c, repository, its, err);
        if (r == 0) ++*ret;
    }
    json_decref(answer);
    return r;
}
