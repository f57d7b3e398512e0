#include "surface/search/search_internal.h"

#include "base/seam.h"
#include <stdio.h>

#define MARK "proofkeep_restoring" /* in an index's _meta, until it is whole and compared */

struct restore {
    const struct search_client *c;
    struct source *src;
    const struct restore_request *q;
    const struct search_target *t;
    json_t *done;
    uint64_t documents, bytes, definitions;
};

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

static const char *const while_loading[][2] = {{"index.refresh_interval", "-1"},
                                               {"index.number_of_replicas", "0"},
                                               {"index.auto_expand_replicas", "false"},
                                               {"index.default_pipeline", "_none"},
                                               {"index.final_pipeline", "_none"}};
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

static int put(const struct search_client *c, const char *index, const char *after, json_t *body, const char *what,
               struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    int r = body ? search_path(&path, "/", index, after, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = search_ask(c, "PUT", (const char *)path.ptr, body, NULL, NULL, what, err);
    json_decref(body);
    return r;
}

static int delete_index(const struct search_client *c, const char *index, struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    int r = search_path(&path, "/", index, "", err);
    return r == 0 ? search_ask(c, "DELETE", (const char *)path.ptr, NULL, NULL, NULL, "remove an index", err) : r;
}

/* What templates of the cluster gave the new index unasked. */
static int strip(const struct search_client *c, const char *index, const json_t *asked, struct error *err) {
    json_t *now = NULL, *value, *reset = json_object(), *actions = json_array();
    const char *key;
    int r = reset && actions ? search_index_get(c, index, &now, NULL, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    json_object_foreach(json_object_get(now, "aliases"), key, value) {
        if (r == 0) r = json_push(actions, json_pack("{s:{s:s, s:s}}", "remove", "index", index, "alias", key), err);
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
        r = put(c, index, "/_settings", json_incref(reset), "take settings of templates away", err);
    json_decref(now);
    json_decref(reset);
    json_decref(actions);
    return r;
}

static int create(struct restore *w, const char *name, const json_t *definition, const json_t *now, struct error *err) {
    const char *stamp = json_string_value(json_object_get(w->q->facts, "stamp"));
    char what[300];
    json_t *mappings = json_copy(json_object_get(definition, "mappings")), *meta;
    if (!mappings) mappings = json_object();
    meta = json_object_get(mappings, "_meta") ? json_copy(json_object_get(mappings, "_meta")) : json_object();
    int r = mappings && meta ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0 && !w->q->as_scratch) {
        r = json_put_str(meta, MARK, stamp ? stamp : "", err);
        if (r == 0) r = json_put(mappings, "_meta", json_incref(meta), err);
    }
    snprintf(what, sizeof what, "make the index %.250s", name);
    if (r == 0) r = put(w->c, name, "", json_pack("{s:O, s:O}", "settings", now, "mappings", mappings), what, err);
    json_decref(mappings);
    json_decref(meta);
    return r == 0 ? strip(w->c, name, now, err) : r;
}

/* ---- comparing ---- */
static const json_t *expected(const struct restore *w, const char *index, const char *what) {
    char name[320];
    snprintf(name, sizeof name, "index/%.255s/%s", index, what);
    return json_object_get(json_object_get(w->q->invariants, name), "value");
}

static int compare(struct restore *w, const char *index, const char *name, unsigned primaries, struct error *err) {
    const json_t *count = expected(w, index, "documents");
    const char *digest = json_string_value(expected(w, index, "digest"));
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
/* All of the mappings again: some parameters of their root may not be left out. */
static int finish_meta(struct restore *w, const char *name, const json_t *definition, struct error *err) {
    const json_t *was = json_object_get(definition, "mappings");
    json_t *body = was ? json_copy((json_t *)was) : json_object();
    if (body && !json_object_get(body, "_meta") && json_object_set_new(body, "_meta", json_object()) < 0) {
        json_decref(body);
        body = NULL;
    }
    return put(w->c, name, "/_mapping", body, "finish an index", err);
}

/* What it is set to before its mark goes, so that no whole index is left as it was filled; blocks would be in the way
 * of that. */
static int set_later(struct restore *w, const char *name, const json_t *later, struct error *err) {
    json_t *now = json_object(), *value;
    const char *key;
    int r = now ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    json_object_foreach((json_t *)later, key, value) if (r == 0 && !begins(key, "index.blocks.")) r =
        json_put(now, key, json_incref(value), err);
    if (r == 0) r = put(w->c, name, "/_settings", json_incref(now), "set what an index is set to", err);
    json_decref(now);
    return r;
}

/* Makes the index and fills it. One that a former run left half made is made again; a whole one stays. */
static int build(struct restore *w, const char *index, const char *name, const json_t *definition, json_t *now,
                 const json_t *later, unsigned primaries, bool *ret_there, struct error *err) {
    const char *stamp = json_string_value(json_object_get(w->q->facts, "stamp")), *mark;
    char item[320];
    uint64_t n = 0, bytes = 0;
    json_t *there = NULL;
    bool missing = false;
    *ret_there = false;
    int r = search_index_get(w->c, name, &there, &missing, err);
    if (r < 0) return r;
    mark = json_string_value(json_object_get(json_object_get(json_object_get(there, "mappings"), "_meta"), MARK));
    bool ours = mark && stamp && !strcmp(mark, stamp);
    json_decref(there);
    if (!missing && !ours) {
        r = compare(w, index, name, primaries, err);
        if (r == -ERR_RESTORE_DIFFERS) {
            error_clear(err);
            r = error_set(err, ERR_SEARCH_EXISTS, "there is an index %s already, and it is not what was backed up",
                          name);
            error_state(err, "it was not changed");
        }
        *ret_there = r == 0;
        return r;
    }
    if (ours) r = delete_index(w->c, name, err);
    if (r == 0) r = create(w, name, definition, now, err);
    snprintf(item, sizeof item, "index/%.255s/documents", index);
    if (r == 0) r = search_bulk(w->c, w->src, item, name, &n, &bytes, err);
    w->documents += n;
    w->bytes += bytes;
    if (r == 0) r = compare(w, index, name, primaries, err);
    if (r == 0 && !w->t->live) r = set_later(w, name, later, err);
    if (r == 0 && !w->q->as_scratch) r = finish_meta(w, name, definition, err);
    return r < 0 ? error_state(err, "the index %s is half made and marked so; the next run makes it anew", name) : 0;
}

static int one_index(struct restore *w, const char *index, const json_t *definition, unsigned primaries,
                     struct error *err) {
    char name[256];
    json_t *now = NULL, *later = NULL;
    bool there = false;
    int r = search_target_name(w->t, index, name, err);
    if (r == 0) r = search_plan_settings(definition, w->t->live, &now, &later, err);
    if (r == 0) r = build(w, index, name, definition, now, later, primaries, &there, err);
    if (r == 0 && !w->t->live && !there)
        r = put(w->c, name, "/_settings", json_incref(later), "set what an index is set to", err);
    if (r == 0) r = search_wait_healthy(w->c, name, err);
    if (r == 0 && w->t->swap) r = search_swap_aliases(w->c, name, index, definition, err);
    if (r == 0 && w->t->live) {
        r = search_put_in_place(w->c, name, index, definition, err);
        if (r == 0) r = put(w->c, index, "/_settings", json_incref(later), "set what an index is set to", err);
        if (r == 0) r = compare(w, index, index, primaries, err);
        if (r == 0) r = delete_index(w->c, name, err);
    }
    if (r == 0)
        r = json_push(w->done,
                      json_pack("{s:s, s:s, s:O, s:b}", "index", index, "target", w->t->live ? index : name,
                                "documents", expected(w, index, "documents"), "was_there", there),
                      err);
    json_decref(now);
    json_decref(later);
    return r;
}

struct list {
    json_t *of; /* attributes of their items */
    const struct restore_request *q;
};
static int on_item(void *ctx, const struct source_head *h, struct error *err) {
    struct list *l = ctx;
    json_t *attr = NULL;
    int r = json_parse(h->attr, JSON_MAX_BYTES, "an item's attributes", &attr, err);
    const char *type = json_string_value(json_object_get(attr, "type"));
    const char *name = json_string_value(json_object_get(attr, "index"));
    if (r == 0 && type && name && !strcmp(type, "index") && search_takes_index(l->q->include, name))
        r = json_push(l->of, json_incref(attr), err);
    json_decref(attr);
    return r;
}

static unsigned primaries_of(const json_t *definition) {
    const char *n =
        json_string_value(json_object_get(json_object_get(definition, "settings"), "index.number_of_shards"));
    unsigned v = 1;
    return n && sscanf(n, "%u", &v) == 1 ? v : 1;
}

static int indices(struct restore *w, struct error *err) {
    struct list l = {.of = json_array(), .q = w->q};
    const json_t *one;
    size_t i;
    int r = l.of ? w->src->ops->walk(w->src, BYTES_STR("index/"), on_item, &l, err)
                 : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0 && json_array_size(l.of) > 1 && !strchr(w->t->pattern, '*'))
        r = error_set(err, ERR_USAGE, "%zu indices cannot all be restored as '%s': put a * into it",
                      json_array_size(l.of), w->t->pattern);
    json_array_foreach(l.of, i, one) { /* before anything is changed */
        const char *stream = json_string_value(json_object_get(one, "data_stream"));
        if (r == 0 && stream && (w->t->live || w->t->swap))
            r = error_set(err, ERR_USAGE, "the index %s is part of the data stream %s: it is restored beside it only",
                          json_string_value(json_object_get(one, "index")), stream);
    }
    json_array_foreach(l.of, i, one) {
        CLEANUP(buf_free) struct buf text = BUF_INIT(SEARCH_ANSWER_MAX);
        const char *name = json_string_value(json_object_get(one, "index"));
        char item[320];
        json_t *definition = NULL;
        bool there = false;
        if (r < 0) break;
        snprintf(item, sizeof item, "index/%.255s/meta", name);
        r = search_item_read(w->src, item, &text, &there, err);
        if (r == 0) r = json_parse(buf_bytes(&text), SEARCH_ANSWER_MAX, "an index's definition", &definition, err);
        if (r == 0) r = one_index(w, name, definition, primaries_of(definition), err);
        json_decref(definition);
    }
    json_decref(l.of);
    return r;
}

/* Last, so that templates do not meddle with what is restored. */
static int sections(struct restore *w, struct error *err) {
    bool by_default = w->q->as_scratch || w->t->live;
    int r = 0;
    for (const struct search_section *x = search_sections; x->name && r == 0; x++) {
        CLEANUP(buf_free) struct buf text = BUF_INIT(SEARCH_ANSWER_MAX);
        json_t *bodies = NULL;
        char item[64];
        bool there = false;
        if (!search_takes_section(w->q->include, x->name, by_default)) continue;
        snprintf(item, sizeof item, "cluster/%s", x->name);
        r = search_item_read(w->src, item, &text, &there, err);
        if (r == 0 && there) r = json_parse(buf_bytes(&text), SEARCH_ANSWER_MAX, item, &bodies, err);
        if (r == 0 && bodies)
            r = search_section_put(w->c, x, bodies, w->t->live || w->q->as_scratch, &w->definitions, err);
        json_decref(bodies);
    }
    return r;
}

static int report(struct restore *w, const struct search_settings *s, struct restore_result *ret, struct error *err) {
    json_t *facts = json_pack("{s:O, s:I, s:I}", "indices", w->done, "documents", (json_int_t)w->documents,
                              "definitions", (json_int_t)w->definitions);
    char target[1024];
    snprintf(target, sizeof target, "%.600s/%s", s->url, w->t->live ? "" : w->t->pattern);
    int r = facts ? json_put_str(facts, "target", target, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r < 0)
        json_decref(facts);
    else
        *ret = (struct restore_result){.facts = facts, .items = w->documents, .bytes = w->bytes};
    return r;
}

int search_restore(const struct surface_context *ctx, struct source *src, const struct restore_request *q,
                   struct restore_result *ret, struct error *err) {
    CLEANUP(search_settings_freep) struct search_settings *s = NULL;
    struct search_target t = {0};
    struct search_client c = {0};
    struct restore w = {.c = &c, .src = src, .q = q, .t = &t, .done = json_array()};
    int r = w.done ? search_target_decide(q, &t, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = search_settings_load(ctx, q->as_scratch ? q->scratch : NULL, t.url, &s, err);
    if (r == 0) r = search_open(s, &c, err);
    if (r == 0) r = indices(&w, err);
    if (r == 0) r = sections(&w, err);
    if (r == 0) r = report(&w, s, ret, err);
    if (r < 0 && json_array_size(w.done))
        error_state(err, "%zu indices had been restored by then, and are there", json_array_size(w.done));
    if (r < 0 && c.http)
        error_state(err, "no index was finished; one that is half made is marked so, and the next run makes it anew");
    json_decref(w.done);
    search_target_free(&t);
    search_close(&c);
    return r < 0 ? error_wrap(err, "search %s", ctx->name ? ctx->name : "") : 0;
}
