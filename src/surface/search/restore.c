#include "surface/search/search_internal.h"

#include "base/seam.h"
#include <stdio.h>

/* In place of nothing, an index is made where it belongs, and is just what it was: a clone would say of itself for ever
 * what it is a clone of. What a former run has left beside is gone on from. */
static int goes_direct(struct search_restoring *w, const char *index, const char *built, bool *ret, struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    json_t *live = NULL, *beside = NULL;
    bool none = false, none_beside = false;
    int r = search_path(&path, "/", index, "", err);
    if (r == 0) r = search_ask(w->c, "GET", (const char *)path.ptr, NULL, &live, &none, "look at an index", err);
    if (r == 0) r = search_index_get(w->c, built, &beside, &none_beside, err);
    *ret = none_beside && (none || search_is_half_made(w, json_object_get(live, index)));
    json_decref(live);
    json_decref(beside);
    return r;
}

static int one_index(struct search_restoring *w, const char *index, const json_t *definition, unsigned primaries,
                     struct error *err) {
    char name[256];
    json_t *now = NULL, *later = NULL;
    bool there = false, direct = false;
    int r = search_target_name(w->t, index, name, err);
    if (r == 0) r = search_plan_settings(definition, w->t->live, &now, &later, err);
    if (r == 0 && w->t->live) r = goes_direct(w, index, name, &direct, err);
    if (r == 0 && direct) snprintf(name, sizeof name, "%s", index);
    if (r == 0)
        r = search_build(w, index, name, definition, now, w->t->live && !direct ? NULL : later,
                         direct ? json_object_get(definition, "aliases") : NULL, primaries, &there, err);
    if (r == 0 && (direct || !w->t->live) && !there)
        r = search_put(w->c, name, "/_settings", json_incref(later), "set what an index is set to", err);
    if (r == 0) r = search_wait_healthy(w->c, name, err);
    if (r == 0 && w->t->swap) r = search_swap_aliases(w->c, name, index, definition, err);
    if (r == 0 && w->t->live && !direct) {
        r = search_put_in_place(w->c, name, index, definition, err);
        if (r == 0) r = search_put(w->c, index, "/_settings", json_incref(later), "set what an index is set to", err);
        if (r == 0) r = search_compare(w, index, index, primaries, err);
        if (r == 0) r = search_index_delete(w->c, name, err);
    }
    if (r == 0)
        r = json_push(w->done,
                      json_pack("{s:s, s:s, s:O, s:b}", "index", index, "target", w->t->live ? index : name,
                                "documents", search_expected(w, index, "documents"), "was_there", there),
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
    if (r == 0 && type && name && !strcmp(type, "index") &&
        search_takes_backing(l->q->include, name, json_string_value(json_object_get(attr, "data_stream"))))
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

int search_definition_read(struct source *src, const char *index, json_t **ret, unsigned *ret_primaries,
                           struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(SEARCH_ANSWER_MAX);
    char item[320];
    bool there = false;
    snprintf(item, sizeof item, "index/%.255s/meta", index);
    int r = search_item_read(src, item, &text, &there, err);
    if (r == 0 && !there)
        r = error_set(err, ERR_RESTORE_DIFFERS, "the snapshot has no definition of the index %s", index);
    if (r == 0) r = json_parse(buf_bytes(&text), SEARCH_ANSWER_MAX, "an index's definition", ret, err);
    if (r == 0) *ret_primaries = primaries_of(*ret);
    return r;
}

static int indices(struct search_restoring *w, struct error *err) {
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
        if (r == 0 && stream && w->t->swap)
            r = error_set(err, ERR_USAGE, "the index %s is part of the data stream %s, which no alias can be moved to",
                          json_string_value(json_object_get(one, "index")), stream);
    }
    json_array_foreach(l.of, i, one) {
        const char *name = json_string_value(json_object_get(one, "index"));
        json_t *definition = NULL;
        unsigned primaries = 1;
        if (r < 0) break;
        if (w->t->live && json_object_get(one, "data_stream")) { /* after the templates */
            w->in_streams++;
            continue;
        }
        r = search_definition_read(w->src, name, &definition, &primaries, err);
        if (r == 0) r = one_index(w, name, definition, primaries, err);
        json_decref(definition);
    }
    json_decref(l.of);
    return r;
}

int search_sections_restore(const struct search_client *c, struct source *src, const struct restore_request *q,
                            bool live, uint64_t *ret_put, struct error *err) {
    int r = 0;
    for (const struct search_section *x = search_sections; x->name && r == 0; x++) {
        CLEANUP(buf_free) struct buf text = BUF_INIT(SEARCH_ANSWER_MAX);
        json_t *bodies = NULL;
        char item[64];
        bool there = false;
        if (x->apart || !search_takes_section(q->include, x->name, q->as_scratch || live)) continue;
        snprintf(item, sizeof item, "cluster/%s", x->name);
        r = search_item_read(src, item, &text, &there, err);
        if (r == 0 && there) r = json_parse(buf_bytes(&text), SEARCH_ANSWER_MAX, item, &bodies, err);
        if (r == 0 && bodies) r = search_section_put(c, x, bodies, live || q->as_scratch, ret_put, err);
        json_decref(bodies);
    }
    return r;
}

int search_restored(const struct search_restoring *w, const char *from, struct restore_result *ret, struct error *err) {
    json_t *facts = json_pack("{s:O, s:I, s:I, s:s*}", "indices", w->done, "documents", (json_int_t)w->documents,
                              "definitions", (json_int_t)w->definitions, "from", from);
    char target[1024];
    snprintf(target, sizeof target, "%.600s/%s", w->c->s->url, w->t->live ? "" : w->t->pattern);
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
    struct search_restoring w = {.c = &c, .src = src, .q = q, .t = &t, .done = json_array()};
    int r = w.done ? search_target_decide(q, &t, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = search_settings_load(ctx, q->as_scratch ? q->scratch : NULL, t.url, &s, err);
    if (r == 0) r = search_open(s, &c, err);
    if (r == 0) r = indices(&w, err);
    if (r == 0) r = search_sections_restore(&c, src, q, t.live, &w.definitions, err);
    if (r == 0 && t.live) r = search_restore_streams(&w, err);
    if (r == 0) r = search_restored(&w, NULL, ret, err);
    if (r < 0 && json_array_size(w.done))
        error_state(err, "%zu indices had been restored by then, and are there", json_array_size(w.done));
    if (r < 0 && c.http)
        error_state(err, "no index was finished; one that is half made is marked so, and the next run makes it anew");
    json_decref(w.done);
    search_target_free(&t);
    search_close(&c);
    return r < 0 ? error_wrap(err, "search %s", ctx->name ? ctx->name : "") : 0;
}
