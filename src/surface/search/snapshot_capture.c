#include "surface/search/snapshot.h"

#include "base/seam.h"
#include "base/time.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#define DIGESTED_MAX ((int64_t)64 << 20) /* of an index: reading more is what the logical method is for */

struct capture {
    const struct search_client *c;
    struct search_items out;
    struct search_indices indices;
    struct engine_repository repository;
    struct engine_files files; /* of carry */
    json_t *facts, *invariants;
    json_t *names, *measured; /* of open indices; {index: {"writes", "known", "invariants", "documents"}} */
    json_t *info, *status;
    struct engine_carried carried;
    uint64_t unreadable;
    bool carry, exact;
};

/* ---- what the indices have, before and after ---- */
static int store_bytes(const struct capture *c, const char *index, int64_t *ret, struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    json_t *j = NULL;
    int r = search_path(&path, "/", index, "/_stats/store?filter_path=_all.primaries.store.size_in_bytes", err);
    if (r == 0) r = search_ask(c->c, "GET", (const char *)path.ptr, NULL, &j, NULL, "ask how large an index is", err);
    const json_t *all = json_object_get(json_object_get(j, "_all"), "primaries");
    *ret = json_integer_value(json_object_get(json_object_get(all, "store"), "size_in_bytes"));
    json_decref(j);
    return r;
}

static int writes_of(const struct capture *c, struct search_index *x, json_t *out, const char *key, struct error *err) {
    struct search_indices one = {.of = x, .n = 1};
    uint64_t n = 0;
    bool known = false;
    int r = search_writes(c->c, &one, &n, &known, err);
    return r == 0 ? json_put(out, key, known ? json_integer((json_int_t)n) : json_null(), err) : r;
}

static int measure(struct capture *c, struct search_index *x, struct error *err) {
    struct search_tally t = {0};
    struct error why = ERROR_INIT;
    uint64_t documents = 0;
    int64_t bytes = 0;
    char name[320], hex[33];
    json_t *m = json_object(), *invariants = json_object();
    int r = m && invariants ? writes_of(c, x, m, "before", err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = search_refresh(c->c, x->name, err);
    if (r == 0) r = search_count(c->c, x->name, &documents, err);
    if (r == 0) r = store_bytes(c, x->name, &bytes, err);
    bool digest = bytes <= DIGESTED_MAX && search_index_check(x, &why) == 0;
    snprintf(name, sizeof name, "index/%.255s/documents", x->name);
    if (r == 0) r = search_invariant(invariants, name, json_integer((json_int_t)documents), err);
    if (r == 0) r = search_facets(c->c, x->name, x->name, NULL, invariants, err);
    if (r == 0 && digest) r = search_tally_run(c->c, x->name, x->primaries, &t, err);
    if (r == 0 && digest) {
        hash128_hex(t.sum, hex);
        snprintf(name, sizeof name, "index/%.255s/digest", x->name);
        r = search_invariant(invariants, name, json_string(hex), err);
    }
    if (r == 0) r = json_put_int(m, "documents", (int64_t)documents, err);
    if (r == 0) r = json_put(m, "digest", json_boolean(digest), err);
    if (r == 0) r = json_put(m, "invariants", json_incref(invariants), err);
    if (r == 0) r = json_put(c->measured, x->name, json_incref(m), err);
    json_decref(m);
    json_decref(invariants);
    return r;
}

static int measure_all(struct capture *c, struct error *err) {
    int r = 0;
    for (size_t i = 0; i < c->indices.n && r == 0; i++) {
        struct search_index *x = &c->indices.of[i];
        if (!x->open) {
            search_note(c->c->s, NOTE_UNREADABLE, x->name, "the index is closed: it is not part of the snapshot");
            c->unreadable++;
            continue;
        }
        r = measure(c, x, err);
        if (r == 0) r = json_push(c->names, json_string(x->name), err);
    }
    if (r == 0 && json_array_size(c->names) == 0)
        r = error_set(err, ERR_SOURCE_MISSING, "the cluster has no index that the surface's rule takes");
    return r;
}

/* A snapshot has what is written until each shard is reached: what was counted before is what it has, if nothing was
 * written from then until its end. */
static int judge_index(struct capture *c, struct search_index *x, struct error *err) {
    json_t *m = json_object_get(c->measured, x->name), *sizes, *fact;
    uint64_t after = 0;
    int r = writes_of(c, x, m, "after", err);
    bool still = r == 0 && json_is_integer(json_object_get(m, "before")) &&
                 json_equal(json_object_get(m, "before"), json_object_get(m, "after"));
    if (r == 0 && !still) r = search_count(c->c, x->name, &after, err);
    if (r == 0 && still && json_object_update(c->invariants, json_object_get(m, "invariants")) < 0)
        r = error_set(err, ERR_NO_MEMORY, "no memory");
    if (r < 0) return r;
    c->exact &= still;
    sizes = json_object_get(json_object_get(json_object_get(c->status, "indices"), x->name), "stats");
    fact = json_pack("{s:s, s:O, s:O?, s:i, s:s*, s:b, s:O, s:O*}", "name", x->name, "documents",
                     json_object_get(m, "documents"), "bytes",
                     json_object_get(json_object_get(sizes, "total"), "size_in_bytes"), "primaries", (int)x->primaries,
                     "data_stream", x->stream, "written_meanwhile", !still, "digest", json_object_get(m, "digest"),
                     "id", json_object_get(c->carried.ids, x->name));
    r = fact ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0 && !still) r = json_put_int(fact, "documents_after", (int64_t)after, err);
    return r == 0 ? json_push(json_object_get(c->facts, "indices"), fact, err) : (json_decref(fact), r);
}

/* ---- the whole ---- */
static int put_name(const struct surface_context *ctx, json_t *facts, char out[256], struct error *err) {
    char stamp[24], label[160];
    uint8_t random[4];
    char hex[9];
    time_format_compact(time_now_ns(), stamp);
    for (char *p = stamp; *p; p++) *p = (char)tolower((unsigned char)*p);
    int r = random_bytes(random, sizeof random, err);
    if (r < 0) return r;
    hex_encode(random, sizeof random, hex);
    snprintf(label, sizeof label, "%.70s-%.70s", ctx->environment ? ctx->environment : "", ctx->name ? ctx->name : "");
    for (char *p = label; *p; p++) *p = isalnum((unsigned char)*p) ? (char)tolower((unsigned char)*p) : '-';
    snprintf(out, 256, "proofkeep-%s-%s-%s", label, stamp, hex);
    return json_put_str(facts, "stamp", stamp, err);
}

static int put_facts(struct capture *c, const char *name, struct error *err) {
    const json_t *stats = json_object_get(c->status, "stats"), *total = json_object_get(stats, "total");
    const json_t *incremental = json_object_get(stats, "incremental");
    json_t *s = json_pack("{s:s, s:s, s:s, s:O?, s:O?, s:O?, s:O?, s:O?, s:O?, s:O?, s:O?, s:b}", "repository",
                          c->repository.name, "type", c->repository.type, "name", name, "uuid",
                          json_object_get(c->info, "uuid"), "version", json_object_get(c->info, "version"), "shards",
                          json_object_get(c->info, "shards"), "started_at", json_object_get(c->info, "start_time"),
                          "ended_at", json_object_get(c->info, "end_time"), "files",
                          json_object_get(total, "file_count"), "bytes", json_object_get(total, "size_in_bytes"),
                          "new_bytes", json_object_get(incremental, "size_in_bytes"), "carried", c->carry);
    int r = s ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0 && c->repository.folder) r = json_put_str(s, "folder", c->repository.folder, err);
    if (r == 0 && c->carry) {
        r = json_put_int(s, "generation", (int64_t)c->carried.generation, err);
        if (r == 0) r = json_put_int(s, "carried_files", (int64_t)c->carried.items, err);
        if (r == 0) r = json_put_int(s, "kept_files", (int64_t)c->carried.kept, err);
    }
    if (r == 0) r = json_put(c->facts, "snapshot", json_incref(s), err);
    json_decref(s);
    char text[480];
    snprintf(text, sizeof text,
             "the documents are not in this repository but in the cluster's own, %.100s: snapshot %s",
             c->repository.name, name);
    if (r == 0 && !c->carry) r = json_put_str(c->facts, "outside", text, err);
    if (r == 0 && !c->carry) search_note(c->c->s, NOTE_WARNING, c->repository.name, text);
    return r == 0 ? json_put_str(c->facts, "method", "snapshot", err) : r;
}

static int carry(struct capture *c, struct error *err) {
    const char *uuid = json_text(c->info, "uuid", "");
    const json_t *total = json_object_get(json_object_get(c->status, "stats"), "total");
    c->carried.seq = c->out.seq;
    int r = engine_carry(c->c->s, c->out.sink, &c->files, uuid, &c->indices, &c->carried, err);
    if (r < 0) return r;
    c->out.items += c->carried.items;
    c->out.bytes += c->carried.bytes;
    if ((uint64_t)json_integer_value(json_object_get(total, "file_count")) != c->carried.files ||
        (uint64_t)json_integer_value(json_object_get(total, "size_in_bytes")) != c->carried.file_bytes)
        return error_set(
            err, ERR_ENGINE_FILES,
            "the cluster says that the snapshot has %lld files of %lld bytes, and its repository has %llu of %llu",
            (long long)json_integer_value(json_object_get(total, "file_count")),
            (long long)json_integer_value(json_object_get(total, "size_in_bytes")),
            (unsigned long long)c->carried.files, (unsigned long long)c->carried.file_bytes);
    return 0;
}

/* Each backup has its own copy by now, so the cluster needs only the newest, for the next to be little. */
static void tidy(struct capture *c, const char *name) {
    struct error e = ERROR_INIT;
    uint64_t removed = 0;
    char line[500];
    if (engine_snapshot_tidy(c->c, c->repository.name, name, &removed, &e) == 0) return;
    snprintf(line, sizeof line, "former snapshots of ours, which were carried, could not be removed from it: %.400s",
             e.text);
    search_note(c->c->s, NOTE_WARNING, c->repository.name, line);
}

static int check(struct capture *c, struct error *err) {
    if (c->repository.readonly)
        return error_set(err, ERR_ENGINE_REPOSITORY,
                         "the snapshot repository %s is registered read-only: no snapshot can be made in it",
                         c->repository.name);
    int r = c->carry ? engine_files_open(c->c, &c->repository, &c->files, err) : 0;
    return r == 0 ? search_facets_check(c->c->s, &c->indices, err) : r;
}

static int capture(struct capture *c, struct error *err) {
    char name[256];
    int r = put_name(c->c->s->ctx, c->facts, name, err);
    if (r == 0) r = engine_repository_open(c->c, &c->repository, err);
    if (r == 0 && !c->repository.readonly) engine_leftovers_remove(c->c, c->repository.name);
    if (r == 0) r = search_facts(c->c, c->facts, err);
    if (r == 0) search_say_missing(c->c->s, c->facts);
    if (r == 0) r = search_indices_list(c->c, &c->indices, err);
    if (r == 0) r = check(c, err);
    if (r == 0) r = search_items_sections(&c->out, c->c, c->invariants, err);
    for (size_t i = 0; i < c->indices.n && r == 0; i++)
        if (c->indices.of[i].open) r = search_items_index(&c->out, &c->indices.of[i], err);
    if (r == 0) r = measure_all(c, err);
    if (r < 0) return r;
    r = engine_snapshot_make(c->c, c->repository.name, name, c->names, c->carry, &c->info, err);
    if (r < 0) return r;
    r = engine_snapshot_status(c->c, c->repository.name, name, &c->status, err);
    if (r == 0 && c->carry) r = carry(c, err);
    c->exact = true;
    for (size_t i = 0; i < c->indices.n && r == 0; i++)
        if (c->indices.of[i].open) r = judge_index(c, &c->indices.of[i], err);
    if (r == 0) r = put_facts(c, name, err);
    if (r == 0) r = json_put(c->facts, "left_out", json_incref(c->indices.left_out), err);
    if (r == 0 && c->carry) tidy(c, name);
    if (r < 0) { /* no backup is made, so nothing will ever name it */
        struct error e = ERROR_INIT;
        bool gone = engine_snapshot_remove(c->c, c->repository.name, name, &e) == 0;
        if (gone) engine_unclaim(c->c, c->repository.name, name);
        return error_state(err, "the snapshot %s %s", name,
                           gone ? "was removed from the cluster's repository"
                                : "may still be in the cluster's repository");
    }
    return 0;
}

int engine_capture(const struct surface_context *ctx, struct sink *sink, struct capture_result *ret,
                   struct error *err) {
    CLEANUP(search_settings_freep) struct search_settings *s = NULL;
    struct search_client client = {0};
    struct capture c = {.c = &client,
                        .out = {.sink = sink},
                        .files = {.dir = -1},
                        .facts = json_pack("{s:[]}", "indices"),
                        .invariants = json_object(),
                        .names = json_array(),
                        .measured = json_object()};
    int r = c.facts && c.invariants && c.names && c.measured ? search_settings_load(ctx, NULL, NULL, &s, err)
                                                             : error_set(err, ERR_NO_MEMORY, "no memory");
    c.carry =
        json_is_true(json_object_get(json_object_get(json_object_get(ctx->settings, "cluster"), "snapshot"), "carry"));
    if (r == 0) r = search_open(s, &client, err);
    if (r == 0) r = capture(&c, err);
    engine_files_close(&c.files);
    engine_repository_free(&c.repository);
    search_indices_free(&c.indices);
    json_decref(c.names);
    json_decref(c.measured);
    json_decref(c.info);
    json_decref(c.status);
    json_decref(c.carried.ids);
    search_close(&client);
    if (r == 0) {
        *ret = (struct capture_result){.facts = c.facts,
                                       .invariants = c.invariants,
                                       .items = c.out.items,
                                       .bytes = c.out.bytes,
                                       .unreadable = c.unreadable,
                                       .method = "snapshot",
                                       .consistency = c.exact ? "exact" : "fuzzy"};
        return 0;
    }
    json_decref(c.facts);
    json_decref(c.invariants);
    return error_wrap(err, "search %s", ctx->name ? ctx->name : "");
}
