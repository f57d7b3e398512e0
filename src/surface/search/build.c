#include "surface/search/search_internal.h"

#include "base/seam.h"
#include <stdio.h>

static bool begins(const char *s, const char *with) {
    return strncmp(s, with, strlen(with)) == 0;
}

/* ---- what an index is made with, and what is set later ---- */
static bool is_own(const char *key) { /* the cluster's own, of this one index */
    static const char *const list[] = {"index.uuid",
                                       "index.creation_date",
                                       "index.provided_name",
                                       "index.version.",
                                       "index.history.",
                                       "index.resize.",
                                       "index.routing.allocation.initial_recovery.",
                                       "index.routing.allocation.include._tier_preference",
                                       "index.remote_store.",
                                       "index.store.snapshot.",
                                       "index.verified_before_close",
                                       NULL};
    for (size_t i = 0; list[i]; i++)
        if (begins(key, list[i])) return true;
    return false;
}

static bool is_life(const char *key) { /* rules that would close, roll over or delete a copy */
    return begins(key, "index.lifecycle.") || begins(key, "index.plugins.index_state_management.") ||
           begins(key, "index.opendistro.index_state_management.");
}

static const char *const while_loading[][2] = {
    {"index.refresh_interval", "-1"},        {"index.number_of_replicas", "0"},
    {"index.auto_expand_replicas", "false"}, {"index.translog.durability", "request"},
    {"index.default_pipeline", "_none"},     {"index.final_pipeline", "_none"}};
#define LOADING_COUNT (sizeof while_loading / sizeof *while_loading)

int search_plan_settings(const json_t *definition, bool live, json_t **ret_now, json_t **ret_later, struct error *err) {
    json_t *now = json_object(), *later = json_object(), *value;
    const char *key;
    int r = now && later ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    for (size_t i = 0; i < LOADING_COUNT && r == 0; i++) {
        r = json_put_str(now, while_loading[i][0], while_loading[i][1], err);
        /* unset in the backup is unset again */
        if (r == 0) r = json_put(later, while_loading[i][0], json_null(), err);
    }
    json_object_foreach(json_object_get(definition, "settings"), key, value) {
        bool after = json_object_get(later, key) || begins(key, "index.blocks.") || is_life(key);
        if (r < 0 || is_own(key) || (is_life(key) && !live)) continue;
        r = json_put(after ? later : now, key, json_incref(value), err);
    }
    /* Not all take it as unset: an index has at least a number. */
    if (r == 0 && json_is_null(json_object_get(later, "index.number_of_replicas")))
        r = json_put_str(later, "index.number_of_replicas", "1", err);
    if (r < 0) {
        json_decref(now);
        json_decref(later);
        return r;
    }
    *ret_now = now;
    *ret_later = later;
    return 0;
}

int search_wait_healthy(const struct search_client *c, const char *index, struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    json_t *j = NULL;
    bool missing = false;
    int r = search_path(&path, "/_cluster/health/", index,
                        "?wait_for_status=yellow&wait_for_no_initializing_shards=true&timeout=60s", err);
    if (r == 0) r = search_ask(c, "GET", (const char *)path.ptr, NULL, &j, &missing, "wait for an index", err);
    if (r < 0 && err->code == ERR_SEARCH_REPLY) { /* 408: it is not yet */
        error_clear(err);
        r = error_set(err, ERR_SEARCH_HEALTH, "the index %s is not ready within 60 s", index);
    }
    const char *status = json_string_value(json_object_get(j, "status"));
    if (r == 0 && (!status || !strcmp(status, "red") || json_is_true(json_object_get(j, "timed_out"))))
        r = error_set(err, ERR_SEARCH_HEALTH, "the index %s is %s", index, status ? status : "not there");
    json_decref(j);
    return r;
}

int search_put(const struct search_client *c, const char *index, const char *after, json_t *body, const char *what,
               struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    int r = body ? search_path(&path, "/", index, after, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = search_ask(c, "PUT", (const char *)path.ptr, body, NULL, NULL, what, err);
    json_decref(body);
    return r;
}

int search_index_delete(const struct search_client *c, const char *index, struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    int r = search_path(&path, "/", index, "", err);
    return r == 0 ? search_ask(c, "DELETE", (const char *)path.ptr, NULL, NULL, NULL, "remove an index", err) : r;
}

/* What templates of the cluster gave the new index unasked. */
static int strip(const struct search_client *c, const char *index, const json_t *asked, const char *mark,
                 struct error *err) {
    json_t *now = NULL, *value, *reset = json_object(), *actions = json_array();
    const char *key;
    int r = reset && actions ? search_index_get(c, index, &now, NULL, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    json_object_foreach(json_object_get(now, "aliases"), key, value) {
        if (r == 0 && strcmp(key, mark) != 0)
            r = json_push(actions, json_pack("{s:{s:s, s:s}}", "remove", "index", index, "alias", key), err);
    }
    json_object_foreach(json_object_get(now, "settings"), key, value) {
        if (r == 0 && is_life(key) && !json_object_get(asked, key)) r = json_put(reset, key, json_null(), err);
    }
    if (r == 0 && json_array_size(actions)) {
        json_t *body = json_pack("{s:O}", "actions", actions);
        r = search_ask(c, "POST", "/_aliases", body, NULL, NULL, "take aliases of templates away", err);
        json_decref(body);
    }
    if (r == 0 && json_object_size(reset))
        r = search_put(c, index, "/_settings", json_incref(reset), "take settings of templates away", err);
    json_decref(now);
    json_decref(reset);
    json_decref(actions);
    return r;
}

/* An alias is the mark: it is the one thing of an index that leaves nothing behind when it is taken away. */
static void mark_of(const struct search_restoring *w, char out[80]) {
    snprintf(out, 80, "proofkeep-restoring-%.40s", json_text(w->q->facts, "stamp", ""));
}

/* What is written last is on disk when the index is whole, not after each request. Help only: a cluster may forbid it.
 */
static void hurry(const struct search_client *c, const char *name) {
    struct error ignored = ERROR_INIT;
    (void)!search_put(c, name, "/_settings", json_pack("{s:s}", "index.translog.durability", "async"), "hurry",
                      &ignored);
}

static int create(struct search_restoring *w, const char *name, const json_t *definition, const json_t *now,
                  struct error *err) {
    char what[300], mark[80] = "";
    json_t *mappings = json_object_get(definition, "mappings"), *none = json_object(), *aliases = json_object();
    int r = none && aliases ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    if (!w->q->as_scratch) mark_of(w, mark);
    if (r == 0 && *mark) r = json_put(aliases, mark, json_object(), err);
    snprintf(what, sizeof what, "make the index %.250s", name);
    if (r == 0)
        r = search_put(
            w->c, name, "",
            json_pack("{s:O, s:O, s:O}", "settings", now, "mappings", mappings ? mappings : none, "aliases", aliases),
            what, err);
    json_decref(none);
    json_decref(aliases);
    if (r == 0) r = strip(w->c, name, now, mark, err);
    if (r == 0) hurry(w->c, name);
    return r;
}

/* ---- comparing ---- */
const json_t *search_expected(const struct search_restoring *w, const char *index, const char *what) {
    char name[320];
    snprintf(name, sizeof name, "index/%.255s/%s", index, what);
    return json_object_get(json_object_get(w->q->invariants, name), "value");
}

int search_compare(struct search_restoring *w, const char *index, const char *name, unsigned primaries,
                   struct error *err) {
    const json_t *count = search_expected(w, index, "documents");
    const char *digest = json_string_value(search_expected(w, index, "digest"));
    struct search_tally t = {0};
    uint64_t there = 0;
    char hex[33];
    int r = search_refresh(w->c, name, err);
    if (r == 0) r = search_count(w->c, name, &there, err);
    if (r == 0 && !(count && digest))
        return error_set(err, ERR_RESTORE_DIFFERS, "the snapshot does not say how many documents %s has", index);
    if (r == 0 && (uint64_t)json_integer_value(count) == there) r = search_tally_run(w->c, name, primaries, &t, err);
    if (r < 0) return r;
    hash128_hex(t.sum, hex);
    if ((uint64_t)json_integer_value(count) != there || t.documents != there || strcmp(hex, digest) != 0)
        return error_set(err, ERR_RESTORE_DIFFERS, "%s has %llu documents, %s; the backup has %lld, %s", name,
                         (unsigned long long)there, hex, (long long)json_integer_value(count), digest);
    return 0;
}

/* ---- one index ---- */
/* Its mark goes, and the aliases come that it had, at once. */
static int finish(struct search_restoring *w, const char *name, const json_t *aliases, struct error *err) {
    char mark[80];
    json_t *actions = json_array(), *body, *value;
    const char *key;
    mark_of(w, mark);
    int r = actions ? json_push(actions, json_pack("{s:{s:s, s:s}}", "remove", "index", name, "alias", mark), err)
                    : error_set(err, ERR_NO_MEMORY, "no memory");
    json_object_foreach((json_t *)aliases, key, value) if (r == 0) r = search_alias_add(actions, name, key, value, err);
    body = json_pack("{s:O}", "actions", actions);
    if (r == 0)
        r = body ? search_ask(w->c, "POST", "/_aliases", body, NULL, NULL, "finish an index", err)
                 : error_set(err, ERR_NO_MEMORY, "no memory");
    json_decref(body);
    json_decref(actions);
    return r;
}

bool search_is_half_made(const struct search_restoring *w, const json_t *there) {
    char mark[80];
    mark_of(w, mark);
    return json_object_get(json_object_get(there, "aliases"), mark) != NULL;
}

/* What it is set to before its mark goes, so that no whole index is left as it was filled; blocks would be in the way
 * of that. */
int search_set_later(struct search_restoring *w, const char *name, const json_t *later, struct error *err) {
    json_t *now = json_object(), *value;
    const char *key;
    int r = now ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    json_object_foreach((json_t *)later, key, value) if (r == 0 && !begins(key, "index.blocks.")) r =
        json_put(now, key, json_incref(value), err);
    if (r == 0) r = search_put(w->c, name, "/_settings", json_incref(now), "set what an index is set to", err);
    json_decref(now);
    return r;
}

/* Fills it and compares it. */
int search_fill(struct search_restoring *w, const char *index, const char *name, const char *as, bool create_only,
                unsigned primaries, struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    char item[320];
    uint64_t n = 0, bytes = 0;
    snprintf(item, sizeof item, "index/%.255s/documents", index);
    int r = search_bulk(w->c, w->src, item, as, create_only, &n, &bytes, err);
    w->documents += n;
    w->bytes += bytes;
    if (r == 0) r = search_path(&path, "/", name, "/_flush", err);
    if (r == 0) r = search_ask(w->c, "POST", (const char *)path.ptr, NULL, NULL, NULL, "put an index on disk", err);
    return r == 0 ? search_compare(w, index, name, primaries, err) : r;
}

/* Makes the index and fills it. One that a former run left half made is made again; a whole one stays. */
int search_build(struct search_restoring *w, const char *index, const char *name, const json_t *definition,
                 const json_t *now, const json_t *later, const json_t *aliases, unsigned primaries, bool *ret_there,
                 struct error *err) {
    json_t *there = NULL;
    bool missing = false;
    *ret_there = false;
    int r = search_index_get(w->c, name, &there, &missing, err);
    if (r < 0) return r;
    bool ours = search_is_half_made(w, there);
    json_decref(there);
    if (!missing && !ours) {
        r = search_compare(w, index, name, primaries, err);
        if (r == -ERR_RESTORE_DIFFERS) {
            error_clear(err);
            r = error_set(err, ERR_SEARCH_EXISTS, "there is an index %s already, and it is not what was backed up",
                          name);
            error_state(err, "it was not changed");
        }
        *ret_there = r == 0;
        return r;
    }
    if (ours) r = search_index_delete(w->c, name, err);
    if (r == 0) r = create(w, name, definition, now, err);
    if (r == 0) r = search_fill(w, index, name, name, false, primaries, err);
    if (r == 0 && later) r = search_set_later(w, name, later, err);
    if (r == 0 && !w->q->as_scratch) r = finish(w, name, aliases, err);
    return r < 0 ? error_state(err, "the index %s is half made and marked so; the next run makes it anew", name) : 0;
}
