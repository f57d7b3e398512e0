#include "surface/search/search_internal.h"

#include "base/seam.h"
#include "base/thread.h"
#include "base/time.h"
#include "surface/redis/sorter.h"
#include <ctype.h>
#include <stdio.h>

#define PROGRESS_EVERY 4096

struct capture {
    const struct search_client *c;
    struct search_items out;
    struct search_indices indices;
    struct search_reader *readers; /* one an index */
    json_t *facts, *invariants;
    uint64_t unreadable;
    /* of the index that is read */
    struct sorter *sorter;
    struct buf name;
    struct search_tally tally;
    bool exact;
};

/* ---- documents: into the sorter as they come, out of it by id ---- */
static int on_begin(void *ctx, const struct hit *h, struct error *err) {
    struct capture *c = ctx;
    buf_clear(&c->name);
    int r = buf_append(&c->name, h->id.ptr, h->id.len, err);
    /* The same id may be in two shards, with another routing each. */
    if (r == 0 && h->routing.len) r = buf_append(&c->name, "\n", 1, err);
    if (r == 0 && h->routing.len) r = buf_append(&c->name, h->routing.ptr, h->routing.len, err);
    struct rdb_key k = {.name = buf_bytes(&c->name), .expires_ms = -1};
    if (r == 0) r = sorter_begin(c->sorter, &k, err);
    search_digest_begin(&c->tally.one, h->id, h->routing);
    return r;
}

static int on_document(void *ctx, struct bytes piece, struct error *err) {
    struct capture *c = ctx;
    c->tally.bytes += piece.len;
    mix_part(&c->tally.one.mix, piece);
    return sorter_value(c->sorter, piece, err);
}

/* What waits for its turn. */
static int keep_frozen(struct capture *c, struct error *err) {
    int r = 0;
    for (size_t i = 0; i < c->indices.n && r == 0; i++)
        if (c->readers[i].c) r = search_reader_keep(&c->readers[i], err);
    return r;
}

static int on_end(void *ctx, struct error *err) {
    struct capture *c = ctx;
    struct hash128 h = mix_end(&c->tally.one.mix);
    c->tally.documents++;
    hash128_add(&c->tally.sum, h);
    if (c->tally.documents % PROGRESS_EVERY == 0) {
        search_progress(c->c->s, "receive", c->tally.bytes, c->tally.documents);
        int r = keep_frozen(c, err);
        if (r < 0) return r;
    }
    return sorter_end(c->sorter, 0, (struct hash128){0}, err);
}

/* Its two lines, as _bulk takes them. */
static int put_document(struct capture *c, struct sorted *e, struct item_out *o, struct error *err) {
    const uint8_t *nl = memchr(e->key.name.ptr, '\n', e->key.name.len);
    size_t n = nl ? (size_t)(nl - e->key.name.ptr) : e->key.name.len;
    int r = item_out_put(o, BYTES_STR("{\"index\":{\"_id\":\""), err);
    if (r == 0) r = item_out_put(o, BYTES_OF(e->key.name.ptr, n), err);
    if (r == 0 && nl) r = item_out_put(o, BYTES_STR("\",\"routing\":\""), err);
    if (r == 0 && nl) r = item_out_put(o, BYTES_OF(nl + 1, e->key.name.len - n - 1), err);
    if (r == 0) r = item_out_put(o, BYTES_STR("\"}}\n"), err);
    if (r == 0 && e->held) r = item_out_put(o, e->value, err);
    while (r == 0 && !e->held) {
        struct bytes piece;
        r = sorter_piece(c->sorter, &piece, err);
        if (r < 0 || piece.len == 0) break;
        r = item_out_put(o, piece, err);
    }
    return r == 0 ? item_out_put(o, BYTES_STR("\n"), err) : r;
}

static int put_documents(struct capture *c, const struct search_index *x, uint64_t *ret_n, struct error *err) {
    char name[320];
    struct item_out o = {0};
    struct sorted e;
    uint64_t n = 0;
    bool end = false;
    snprintf(name, sizeof name, "index/%.255s/documents", x->name);
    int r = sorter_sort(c->sorter, err);
    if (r == 0) r = search_items_open(&c->out, name, &o, err);
    if (r == 0) r = sorter_next(c->sorter, &e, &end, err);
    while (r == 0 && !end) {
        r = put_document(c, &e, &o, err);
        if (r == 0 && ++n % PROGRESS_EVERY == 0) search_progress(c->c->s, "store", c->out.bytes + o.total, n);
        if (r == 0 && n % PROGRESS_EVERY == 0) r = stop_check(err);
        if (r == 0 && n % PROGRESS_EVERY == 0) r = keep_frozen(c, err);
        if (r == 0) r = sorter_next(c->sorter, &e, &end, err);
    }
    if (r == 0 && n != c->tally.documents)
        r = error_set(err, ERR_SEARCH_PARTIAL,
                      "the index %s answered with %llu documents, of which only %llu are different ones", x->name,
                      (unsigned long long)c->tally.documents, (unsigned long long)n);
    if (r == 0)
        r = search_items_close(
            &c->out, &o,
            json_pack("{s:s, s:s, s:I}", "type", "documents", "index", x->name, "documents", (json_int_t)n), err);
    item_out_drop(&o);
    *ret_n = n;
    return r;
}

/* ---- one index ---- */
static int put_index(struct capture *c, struct search_index *x, struct search_reader *reader, struct error *err) {
    struct hits_events ev = {.ctx = c, .begin = on_begin, .document = on_document, .end = on_end};
    uint64_t n = 0;
    bool early = reader->c && reader->n_frozen > 1; /* by facets_of_shards */
    int r = 0;
    if (!x->open) {
        search_note(c->c->s, NOTE_UNREADABLE, x->name, "the index is closed: its documents cannot be read");
        c->unreadable++;
        return 0;
    }
    c->tally = (struct search_tally){0};
    r = sorter_new(c->c->s->ctx->scratch_dir, SORTER_MEMORY, &c->sorter, err);
    if (r == 0 && !reader->c) r = search_reader_open(c->c, x->name, x->primaries, SEARCH_FROZEN_MAX, reader, err);
    if (r == 0 && !early) r = search_facets(c->c, x->name, x->name, reader, c->invariants, err);
    if (r == 0) r = search_reader_run(reader, &ev, err);
    if (reader->c) search_reader_close(reader);
    if (r == 0) r = put_documents(c, x, &n, err);
    sorter_free(c->sorter);
    c->sorter = NULL;
    if (r < 0) return r;
    r = search_items_index(&c->out, x, err);
    if (r == 0) r = search_invariants_index(x->name, c->tally.documents, c->tally.sum, c->invariants, err);
    json_t *fact = json_pack("{s:s, s:I, s:I, s:i, s:s, s:s*}", "name", x->name, "documents", (json_int_t)n, "bytes",
                             (json_int_t)c->tally.bytes, "primaries", (int)x->primaries, "way",
                             search_way_name(reader->way), "data_stream", x->stream);
    return r == 0 ? json_push(json_object_get(c->facts, "indices"), fact, err) : (json_decref(fact), r);
}

/* ---- the whole ---- */
/* What an acknowledged write put there is only found by a search after a refresh. */
static int refresh_all(struct capture *c, struct error *err) {
    int r = 0;
    for (size_t i = 0; i < c->indices.n && r == 0; i++) {
        struct error e = ERROR_INIT;
        if (!c->indices.of[i].open) continue;
        r = search_refresh(c->c, c->indices.of[i].name, &e);
        if (r < 0 && e.code == ERR_SEARCH_DENIED) {
            search_note(c->c->s, NOTE_WARNING, c->indices.of[i].name,
                        "the user may not refresh it: what was written in its last moments may be missing");
            r = 0;
        } else if (r < 0) {
            *err = e;
        }
    }
    return r;
}

/* All that can be frozen is frozen before anything is read. */
static int open_readers(struct capture *c, bool *ret_scroll, struct error *err) {
    void *mem;
    unsigned left = SEARCH_FROZEN_MAX;
    int r = mem_alloc((c->indices.n + 1) * sizeof *c->readers, &mem, err);
    if (r < 0) return r;
    c->readers = mem;
    for (size_t i = 0; i < c->indices.n && r == 0; i++) {
        const struct search_index *x = &c->indices.of[i];
        if (!x->open) continue;
        *ret_scroll |= x->primaries > left;
        if (x->primaries > left) continue;
        r = search_reader_open(c->c, x->name, x->primaries, left, &c->readers[i], err);
        *ret_scroll |= r == 0 && c->readers[i].way == SEARCH_SCROLL;
        left -= x->primaries;
    }
    return r;
}

/* What is frozen shard by shard cannot be asked as one: it is asked at once, before writes are counted again. */
static int facets_of_shards(struct capture *c, struct error *err) {
    int r = 0;
    for (size_t i = 0; i < c->indices.n && r == 0; i++) {
        const char *name = c->indices.of[i].name;
        if (c->readers[i].n_frozen > 1) r = search_facets(c->c, name, name, NULL, c->invariants, err);
    }
    return r;
}

static int check_all(struct capture *c, struct error *err) {
    int r = 0;
    for (size_t i = 0; i < c->indices.n && r == 0; i++) r = search_index_check(&c->indices.of[i], err);
    return r == 0 ? search_facets_check(c->c->s, &c->indices, err) : r;
}

static int capture(struct capture *c, struct error *err) {
    uint64_t before = 0, frozen = 0, after = 0;
    bool known = false, known_2 = false, known_3 = false, late = false;
    int r = search_facts(c->c, c->facts, err);
    if (r == 0) search_say_missing(c->c->s, c->facts);
    if (r == 0) r = search_indices_list(c->c, &c->indices, err);
    if (r == 0) r = check_all(c, err);
    if (r == 0) r = search_items_sections(&c->out, c->c, c->invariants, err);
    /* before the refresh, after which what is written need not be found any more */
    if (r == 0) r = search_writes(c->c, &c->indices, &before, &known, err);
    if (r == 0) r = refresh_all(c, err);
    if (r == 0) r = open_readers(c, &late, err);
    if (r == 0) r = facets_of_shards(c, err);
    if (r == 0) r = search_writes(c->c, &c->indices, &frozen, &known_2, err);
    for (size_t i = 0; i < c->indices.n && r == 0; i++) r = put_index(c, &c->indices.of[i], &c->readers[i], err);
    if (r == 0) r = search_writes(c->c, &c->indices, &after, &known_3, err);
    if (r < 0) return r;
    /* One moment: nothing was written until all was frozen; what could not be frozen, until it was read. */
    c->exact = known && known_2 && frozen == before && (!late || (known_3 && after == before));
    if (!late && c->indices.n == 1 && c->indices.of[0].primaries == 1) c->exact = true;
    return json_put(c->facts, "left_out", json_incref(c->indices.left_out), err);
}

/* "20261121-130000z": names of indices have no capitals. */
static int put_stamp(json_t *facts, struct error *err) {
    char stamp[24];
    time_format_compact(time_now_ns(), stamp);
    for (char *p = stamp; *p; p++) *p = (char)tolower((unsigned char)*p);
    return json_put_str(facts, "stamp", stamp, err);
}

int search_capture(const struct surface_context *ctx, struct sink *sink, struct capture_result *ret,
                   struct error *err) {
    CLEANUP(search_settings_freep) struct search_settings *s = NULL;
    struct search_client client = {0};
    struct capture c = {.c = &client,
                        .out = {.sink = sink},
                        .facts = json_pack("{s:[]}", "indices"),
                        .invariants = json_object(),
                        .name = BUF_INIT(1u << 20)};
    int r = c.facts && c.invariants ? search_settings_load(ctx, NULL, NULL, &s, err)
                                    : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = put_stamp(c.facts, err);
    if (r == 0) r = search_open(s, &client, err);
    if (r == 0) r = capture(&c, err);
    for (size_t i = 0; c.readers && i < c.indices.n; i++)
        if (c.readers[i].c) search_reader_close(&c.readers[i]);
    seam_free(c.readers);
    sorter_free(c.sorter);
    buf_free(&c.name);
    search_indices_free(&c.indices);
    search_close(&client);
    if (r == 0) {
        *ret = (struct capture_result){.facts = c.facts,
                                       .invariants = c.invariants,
                                       .items = c.out.items,
                                       .bytes = c.out.bytes,
                                       .unreadable = c.unreadable,
                                       .method = "logical_dump",
                                       .consistency = c.exact ? "exact" : "fuzzy"};
        return 0;
    }
    json_decref(c.facts);
    json_decref(c.invariants);
    return error_wrap(err, "search %s", ctx->name ? ctx->name : "");
}
