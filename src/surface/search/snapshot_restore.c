#include "surface/search/snapshot.h"

#include "base/seam.h"
#include "base/thread.h"
#include <stdio.h>

#define STEP_MS 200
#define STEP_CAP_MS 2000
#define SILENCE_TRIES 20u

struct restore {
    struct search_restoring r;
    struct engine_place place;
    bool placed;
};

/* ---- what the cluster says of an index that is being restored ---- */
static int in_restore(const struct restore *w, const char *name, bool *ret, struct error *err) {
    json_t *j = NULL;
    const json_t *one, *index;
    size_t i, k;
    int r = search_ask(w->r.c, "GET", "/_cluster/state/customs?filter_path=restore", NULL, &j, NULL,
                       "ask what is being restored", err);
    *ret = false;
    json_array_foreach(json_object_get(json_object_get(j, "restore"), "snapshots"), i, one)
        json_array_foreach(json_object_get(one, "indices"), k, index) *ret |=
        json_is_string(index) && !strcmp(json_string_value(index), name);
    json_decref(j);
    return r;
}

static int wait_for(const struct restore *w, const char *name, struct error *err) {
    unsigned silent = 0;
    bool running = true;
    for (int step = STEP_MS; running; step = step * 3 / 2 > STEP_CAP_MS ? STEP_CAP_MS : step * 3 / 2) {
        int r = stop_check(err);
        if (r < 0) return error_state(err, "the cluster goes on restoring %s; the same command waits for it", name);
        r = in_restore(w, name, &running, err);
        if (r < 0 && (++silent == SILENCE_TRIES || r == -ERR_SEARCH_AUTH || r == -ERR_SEARCH_DENIED)) return r;
        if (r == 0) silent = 0;
        running |= r < 0; /* no answer is none */
        error_clear(err);
        search_progress(w->r.c->s, "restore", w->r.bytes, w->r.documents);
        if (running) (void)!seam_poll(NULL, 0, step);
    }
    return 0;
}

/* Primaries that are not there, of how many; and whether it is this snapshot that they were to come from. */
struct shards {
    size_t all, lost;
    bool ours;
    char why[300];
};

static int look(const struct restore *w, const char *name, struct shards *ret, struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    const char *snapshot = json_text(json_object_get(w->r.q->facts, "snapshot"), "name", "");
    json_t *j = NULL, *copies;
    const json_t *copy;
    const char *number;
    size_t i;
    *ret = (struct shards){0};
    int r = search_path(&path, "/_cluster/state/routing_table/", name, "?filter_path=routing_table", err);
    if (r == 0)
        r = search_ask(w->r.c, "GET", (const char *)path.ptr, NULL, &j, NULL, "ask where an index's shards are", err);
    const json_t *table = json_object_get(json_object_get(j, "routing_table"), "indices");
    json_object_foreach(json_object_get(json_object_get(table, name), "shards"), number, copies)
        json_array_foreach(copies, i, copy) {
        const json_t *from = json_object_get(copy, "recovery_source"), *why = json_object_get(copy, "unassigned_info");
        if (!json_is_true(json_object_get(copy, "primary"))) continue;
        ret->all++;
        if (!strcmp(json_text(copy, "state", ""), "STARTED") || !strcmp(json_text(copy, "state", ""), "RELOCATING"))
            continue;
        ret->lost++;
        ret->ours |=
            !strcmp(json_text(from, "type", ""), "SNAPSHOT") && !strcmp(json_text(from, "snapshot", ""), snapshot);
        if (!*ret->why)
            snprintf(ret->why, sizeof ret->why, "shard %.10s: %.280s", number,
                     json_text(why, "details", json_text(why, "reason", "")));
    }
    json_decref(j);
    return r;
}

/* Whether all shards of an index came from this snapshot, as long as the nodes remember. */
static int came_from(const struct restore *w, const char *name, bool *ret, struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    const json_t *snapshot = json_object_get(w->r.q->facts, "snapshot"), *shard;
    json_t *j = NULL;
    size_t i, n = 0;
    int r = search_path(&path, "/", name, "/_recovery", err);
    if (r == 0)
        r = search_ask(w->r.c, "GET", (const char *)path.ptr, NULL, &j, NULL, "ask where an index came from", err);
    *ret = r == 0;
    json_array_foreach(json_object_get(json_object_get(j, name), "shards"), i, shard) {
        if (!json_is_true(json_object_get(shard, "primary"))) continue;
        n++;
        *ret &= !strcmp(json_text(json_object_get(shard, "source"), "snapshot", ""), json_text(snapshot, "name", ""));
    }
    *ret &= n > 0;
    json_decref(j);
    return r;
}

/* ---- comparing ---- */
static int compare_facets(const struct restore *w, const char *index, const char *name, struct error *err) {
    json_t *now = json_object(), *v;
    const char *key;
    int r = now ? search_facets(w->r.c, index, name, NULL, now, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    json_object_foreach(now, key, v) {
        const json_t *was = json_object_get(json_object_get(w->r.q->invariants, key), "value");
        if (r == 0 && was && !json_equal(was, json_object_get(v, "value")))
            r = error_set(err, ERR_RESTORE_DIFFERS, "%s answers %s otherwise than when it was backed up", name, key);
    }
    json_decref(now);
    return r;
}

/* Of an index that was written to while the snapshot was made nothing was measured that it has to have: its shards'
 * success is all there is. */
static int compare(struct restore *w, const json_t *x, const char *name, uint64_t *ret_documents, struct error *err) {
    const char *index = json_text(x, "name", "");
    const json_t *count = search_expected(&w->r, index, "documents"), *digest = search_expected(&w->r, index, "digest");
    struct search_tally t = {0};
    char hex[33];
    int r = search_refresh(w->r.c, name, err);
    if (r == 0) r = search_count(w->r.c, name, ret_documents, err);
    if (r == 0 && count && (uint64_t)json_integer_value(count) != *ret_documents)
        r = error_set(err, ERR_RESTORE_DIFFERS, "%s has %llu documents, and the backup has %lld", name,
                      (unsigned long long)*ret_documents, (long long)json_integer_value(count));
    if (r == 0) r = compare_facets(w, index, name, err);
    if (r < 0 || !digest) return r;
    r = search_tally_run(w->r.c, name, (unsigned)json_integer_value(json_object_get(x, "primaries")), &t, err);
    hash128_hex(t.sum, hex);
    if (r == 0 && strcmp(hex, json_string_value(digest)) != 0)
        r = error_set(err, ERR_RESTORE_DIFFERS, "%s has other documents than the backup: %s and not %s", name, hex,
                      json_string_value(digest));
    return r;
}

/* ---- one index ---- */
static int literal(struct buf *out, const char *name, struct error *err) { /* in what a match is replaced with */
    int r = 0;
    for (; *name && r == 0; name++) {
        if (*name == '$' || *name == '\\') r = buf_append(out, "\\", 1, err);
        if (r == 0) r = buf_append(out, name, 1, err);
    }
    return r == 0 ? buf_terminate(out, err) : r;
}

static int order(struct restore *w, const char *index, const char *name, struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192), to = BUF_INIT(8192), as = BUF_INIT(8192);
    const char *snapshot = json_text(json_object_get(w->r.q->facts, "snapshot"), "name", "");
    char what[400];
    json_t *body = NULL;
    int r = literal(&as, name, err);
    if (r == 0) r = search_path(&to, "/", snapshot, "/_restore?wait_for_completion=false", err);
    if (r == 0) r = search_path(&path, "/_snapshot/", w->place.repository, (const char *)to.ptr, err);
    if (r < 0) return r;
    /* Rules that would close, roll over or delete a copy stay out of it. */
    body = json_pack("{s:s, s:b, s:b, s:b, s:b, s:s, s:s, s:[s, s, s]}", "indices", index, "ignore_unavailable", 0,
                     "include_global_state", 0, "include_aliases", 0, "partial", 0, "rename_pattern", "^.+$",
                     "rename_replacement", (const char *)as.ptr, "ignore_index_settings", "index.lifecycle.*",
                     "index.plugins.index_state_management.*", "index.opendistro.index_state_management.*");
    snprintf(what, sizeof what, "restore the index %.150s as %.150s", index, name);
    r = body ? search_ask(w->r.c, "POST", (const char *)path.ptr, body, NULL, NULL, what, err)
             : error_set(err, ERR_NO_MEMORY, "no memory");
    json_decref(body);
    if (r < 0 && err->code == ERR_SEARCH_REPLY) {
        struct error e = *err;
        error_clear(err);
        r = error_set(err, ERR_ENGINE_RESTORE, "%s", e.text);
    }
    return r;
}

static int fetch(struct restore *w, const json_t *x, const char *name, struct error *err) {
    struct shards s;
    int r = w->placed ? 0 : engine_place_open(w->r.c, w->r.src, w->r.q, &w->place, err);
    if (r < 0) return r;
    w->placed = true;
    r = order(w, json_text(x, "name", ""), name, err);
    if (r == 0) r = wait_for(w, name, err);
    if (r == 0) r = look(w, name, &s, err);
    if (r < 0 || (s.all && !s.lost)) return r;
    struct error e = ERROR_INIT;
    bool gone = search_index_delete(w->r.c, name, &e) == 0;
    r = error_set(err, ERR_ENGINE_RESTORE, "%zu of %zu shards of %s were not restored: %s", s.lost, s.all, name,
                  s.all ? s.why : "the index is not there");
    return error_state(err,
                       gone ? "what had been restored of %s was removed again"
                            : "%s is half restored, and the next run removes it",
                       name);
}

/* Whether its documents, or at least their number and the name that only this restore gives, say that it is it. */
static bool told_by(const struct restore *w, const char *index, const char *name) {
    const char *stamp = json_text(w->r.q->facts, "stamp", "");
    return search_expected(&w->r, index, "digest") ||
           (search_expected(&w->r, index, "documents") && *stamp && strstr(name, stamp));
}

/* One that is there is waited for when a run before began it, passed over when it is what was backed up, made anew when
 * it is half of that, and else left alone. */
static int build(struct restore *w, const json_t *x, const char *name, bool *ret_there, uint64_t *ret_n,
                 struct error *err) {
    const char *index = json_text(x, "name", "");
    json_t *there = NULL;
    struct shards s;
    bool missing = false, ours = false;
    *ret_there = false;
    int r = search_index_get(w->r.c, name, &there, &missing, err);
    json_decref(there);
    if (r == 0 && !missing) {
        r = wait_for(w, name, err);
        if (r == 0) r = look(w, name, &s, err);
        if (r < 0) return r;
        if (s.lost && s.ours) {
            r = search_index_delete(w->r.c, name, err);
            if (r < 0) return r;
            missing = true;
        } else {
            ours = s.lost == 0;
            if (ours && !told_by(w, index, name)) r = came_from(w, name, &ours, err);
            if (r == 0 && ours) r = compare(w, x, name, ret_n, err);
            *ret_there = r == 0 && ours;
            if (r < 0 && r != -ERR_RESTORE_DIFFERS) return r;
            error_clear(err);
            if (*ret_there) return 0;
            r = error_set(err, ERR_SEARCH_EXISTS, "there is an index %s already, and it is not what was backed up",
                          name);
            return error_state(err, "it was not changed");
        }
    }
    if (r == 0) r = fetch(w, x, name, err);
    if (r == 0) r = search_wait_healthy(w->r.c, name, err);
    return r == 0 ? compare(w, x, name, ret_n, err) : r;
}

static int put_in_place(struct restore *w, const json_t *x, const char *name, const json_t *definition,
                        struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    const char *index = json_text(x, "name", "");
    json_t *now = NULL, *later = NULL;
    uint64_t n = 0;
    int r = search_plan_settings(definition, true, &now, &later, err);
    if (r == 0) r = search_put_in_place(w->r.c, name, index, definition, err);
    if (r == 0) r = search_path(&path, "/", index, "/_settings", err);
    if (r == 0)
        r = search_ask(w->r.c, "PUT", (const char *)path.ptr, later, NULL, NULL, "set what an index is set to", err);
    if (r == 0) r = compare(w, x, index, &n, err);
    if (r == 0) r = search_index_delete(w->r.c, name, err);
    json_decref(now);
    json_decref(later);
    return r;
}

static int one_index(struct restore *w, const json_t *x, struct error *err) {
    const char *index = json_text(x, "name", "");
    char name[256];
    json_t *definition = NULL;
    unsigned primaries = 1;
    bool there = false;
    uint64_t n = 0;
    int r = search_target_name(w->r.t, index, name, err);
    if (r == 0) r = search_definition_read(w->r.src, index, &definition, &primaries, err);
    if (r == 0) r = build(w, x, name, &there, &n, err);
    if (r == 0 && w->r.t->swap) r = search_swap_aliases(w->r.c, name, index, definition, err);
    if (r == 0 && w->r.t->live) r = put_in_place(w, x, name, definition, err);
    if (r == 0) {
        w->r.documents += there ? 0 : n;
        w->r.bytes += there ? 0 : (uint64_t)json_integer_value(json_object_get(x, "bytes"));
        r = json_push(w->r.done,
                      json_pack("{s:s, s:s, s:I, s:b, s:b}", "index", index, "target", w->r.t->live ? index : name,
                                "documents", (json_int_t)n, "was_there", there, "compared",
                                search_expected(&w->r, index, "documents") != NULL),
                      err);
    }
    json_decref(definition);
    return r;
}

static bool takes(const struct restore *w, const json_t *x) {
    return search_takes_backing(w->r.q->include, json_text(x, "name", ""), json_text(x, "data_stream", NULL));
}

static int indices(struct restore *w, struct error *err) {
    const json_t *all = json_object_get(w->r.q->facts, "indices"), *x;
    size_t i, n = 0;
    int r = 0;
    json_array_foreach((json_t *)all, i, x) { /* before anything is changed */
        const char *stream = json_text(x, "data_stream", NULL);
        if (!takes(w, x)) continue;
        n++;
        if (r == 0 && stream && (w->r.t->live || w->r.t->swap))
            r = error_set(err, ERR_USAGE, "the index %s is part of the data stream %s: it is restored beside it only",
                          json_text(x, "name", ""), stream);
    }
    if (r == 0 && n > 1 && !strchr(w->r.t->pattern, '*'))
        r = error_set(err, ERR_USAGE, "%zu indices cannot all be restored as '%s': put a * into it", n,
                      w->r.t->pattern);
    json_array_foreach((json_t *)all, i, x) if (r == 0 && takes(w, x)) r = one_index(w, x, err);
    return r;
}

int engine_restore(const struct surface_context *ctx, struct source *src, const struct restore_request *q,
                   struct restore_result *ret, struct error *err) {
    CLEANUP(search_settings_freep) struct search_settings *s = NULL;
    struct search_target t = {0};
    struct search_client c = {0};
    struct restore w = {.r = {.c = &c, .src = src, .q = q, .t = &t, .done = json_array()}};
    int r = w.r.done ? search_target_decide(q, &t, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = search_settings_load(ctx, q->as_scratch ? q->scratch : NULL, t.url, &s, err);
    if (r == 0) r = search_open(s, &c, err);
    if (r == 0) r = indices(&w, err);
    if (r == 0) r = search_sections_restore(&c, src, q, t.live, &w.r.definitions, err);
    if (r == 0 && !w.placed) w.placed = engine_place_find(&c, q, &w.place);
    if (w.placed) {
        struct error e = ERROR_INIT;
        if (engine_place_close(&c, &w.place, &e) < 0) {
            if (r == 0) {
                *err = e;
                r = -(int)e.code;
            } else {
                (void)!error_state(err, "%.300s", e.text);
            }
        }
    }
    if (r == 0)
        r = search_restored(&w.r,
                            json_is_true(json_object_get(json_object_get(q->facts, "snapshot"), "carried"))
                                ? "this repository"
                                : "the cluster's repository",
                            ret, err);
    if (r < 0 && json_array_size(w.r.done))
        (void)!error_state(err, "%zu indices had been restored by then, and are there", json_array_size(w.r.done));
    json_decref(w.r.done);
    search_target_free(&t);
    search_close(&c);
    return r < 0 ? error_wrap(err, "search %s", ctx->name ? ctx->name : "") : 0;
}
