#include "surface/search/search_internal.h"

#include "base/seam.h"
#include "base/thread.h"
#include "base/time.h"
#include <stdio.h>

#define ID_MAX (1u << 20)
#define SORT_MAX 65536u
#define RANGE_DOCUMENTS 250000u /* of one walk, about: each of its pages looks at all of it, and each walk at its beginning */
#define RANGE_MIN 2000u         /* less is not worth a walk of its own */
#define RANGES_MAX 1024u
#define KEEP_EVERY_S 180 /* well below SEARCH_KEEP */

const char *search_way_name(enum search_way w) {
    return w == SEARCH_SCROLL ? "scroll" : "point_in_time";
}

/* What breaks a tie between two documents: only some have `_shard_doc`, and a point in time without it can be walked by
 * `_doc` in one shard only; so there is one of each shard, while there are not too many. */
static enum search_way way_of(const struct search_client *c, unsigned primaries, unsigned shards) {
    if (!c->opensearch) return c->major > 7 || c->minor >= 12 ? SEARCH_PIT_SHARD_DOC : SEARCH_SCROLL;
    if (c->major > 3 || (c->major == 3 && c->minor >= 3)) return SEARCH_PIT_SHARD_DOC;
    return primaries <= shards && (c->major > 2 || (c->major == 2 && c->minor >= 4)) ? SEARCH_PIT_DOC : SEARCH_SCROLL;
}

/* By the mean size of its documents, so that the first page is not too large either. */
static int first_page(struct search_reader *r, struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    struct error ignored = ERROR_INIT;
    json_t *j = NULL, *of, *copies, *copy;
    const char *index, *shard;
    size_t k;
    r->page = 500;
    int rc = search_path(
        &path, "/", r->index,
        "/_stats/docs,store?level=shards&filter_path=_all.primaries,indices.*.shards.*.seq_no.max_seq_no", err);
    if (rc < 0) return rc;
    if (search_ask(r->c, "GET", (const char *)path.ptr, NULL, &j, NULL, "ask for sizes", &ignored) == 0) {
        const json_t *p = json_object_get(json_object_get(j, "_all"), "primaries");
        uint64_t n = (uint64_t)json_integer_value(json_object_get(json_object_get(p, "docs"), "count"));
        uint64_t bytes = (uint64_t)json_integer_value(json_object_get(json_object_get(p, "store"), "size_in_bytes"));
        /* What is stored is compressed, and has the index beside the documents: about as much. */
        uint64_t mean = n ? bytes / n + 1 : 1024;
        r->page = SEARCH_PAGE_BYTES / mean;
        r->about = n;
    }
    json_object_foreach(json_object_get(j, "indices"), index, of)
        json_object_foreach(json_object_get(of, "shards"), shard, copies) json_array_foreach(copies, k, copy) {
        int64_t n = json_integer_value(json_object_get(json_object_get(copy, "seq_no"), "max_seq_no"));
        if (n >= 0 && (uint64_t)n + 1 > r->numbers) r->numbers = (uint64_t)n + 1;
    }
    if (r->page > SEARCH_PAGE_DOCUMENTS) r->page = SEARCH_PAGE_DOCUMENTS;
    if (r->page < 1) r->page = 1;
    json_decref(j);
    return 0;
}

/* shard < 0: of all of them. */
static int freeze(struct search_reader *r, int shard, bool *ret_missing, struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    char after[160], only[48] = "";
    json_t *j = NULL;
    if (shard >= 0) snprintf(only, sizeof only, "&preference=_shards:%d", shard);
    snprintf(after, sizeof after, "%s%s",
             r->c->opensearch ? "/_search/point_in_time?allow_partial_pit_creation=false&keep_alive=" SEARCH_KEEP
                              : "/_pit?keep_alive=" SEARCH_KEEP,
             only);
    int rc = search_path(&path, "/", r->index, after, err);
    if (rc == 0)
        rc = search_ask(r->c, "POST", (const char *)path.ptr, NULL, &j, ret_missing, "open a point in time", err);
    if (rc == 0 && !*ret_missing) {
        struct buf *id = &r->frozen[r->n_frozen];
        rc = search_keep_id(id, r->index, j, r->c->opensearch ? "pit_id" : "id", err);
        if (id->len) r->n_frozen++;
        if (rc == 0 && json_integer_value(json_object_get(json_object_get(j, "_shards"), "failed")) > 0)
            rc = error_set(err, ERR_SEARCH_PARTIAL, "a point in time of %s could not be opened on all its shards",
                           r->index);
    }
    json_decref(j);
    return rc;
}

int search_reader_open(const struct search_client *c, const char *index, unsigned primaries, unsigned shards,
                       struct search_reader *ret, struct error *err) {
    struct search_reader r = {.c = c,
                              .index = index,
                              .way = way_of(c, primaries, shards),
                              .page_bytes = SEARCH_PAGE_BYTES,
                              .kept_ns = time_monotonic_ns()};
    size_t n = r.way == SEARCH_PIT_DOC ? primaries : 1;
    bool missing = false;
    void *mem;
    int rc = mem_alloc(n * sizeof *r.frozen, &mem, err);
    if (rc < 0) return rc;
    r.frozen = mem;
    for (size_t i = 0; i < n; i++) r.frozen[i] = BUF_INIT(ID_MAX);
    rc = first_page(&r, err);
    for (size_t i = 0; rc == 0 && i < n && r.way != SEARCH_SCROLL; i++) {
        rc = freeze(&r, n > 1 ? (int)i : -1, &missing, err);
        if (rc == 0 && missing && i == 0)
            r.way = SEARCH_SCROLL;
        else if (rc == 0 && missing)
            rc = error_set(err, ERR_SEARCH_PARTIAL, "the index %s is gone, or has other shards than before", index);
    }
    if (rc < 0)
        search_reader_close(&r);
    else
        *ret = r;
    return rc;
}

/* Help only: what is lost is told of when it is read. */
int search_reader_keep(struct search_reader *r, struct error *err) {
    int64_t now = time_monotonic_ns();
    int rc = 0;
    if (now - r->kept_ns < KEEP_EVERY_S * NS_PER_S) return 0;
    r->kept_ns = now;
    for (size_t i = 0; rc == 0 && i < r->n_frozen && r->way != SEARCH_SCROLL; i++) {
        struct error ignored = ERROR_INIT;
        struct bytes id = buf_bytes(&r->frozen[i]);
        json_t *j = NULL, *body = json_pack("{s:i, s:b, s:{s:s%, s:s}}", "size", 0, "track_total_hits", 0, "pit", "id",
                                            (const char *)id.ptr, id.len, "keep_alive", SEARCH_KEEP);
        if (body && search_ask(r->c, "POST", "/_search", body, &j, NULL, "keep what is frozen", &ignored) == 0)
            rc = search_keep_id(&r->frozen[i], r->index, j, "pit_id", err);
        json_decref(j);
        json_decref(body);
        /* It was patient: for each of many, that would be for hours. */
        if (ignored.code == ERR_SEARCH_BUSY) break;
    }
    return rc == 0 ? stop_check(err) : rc;
}

/* How many there are in what is frozen, before it is taken apart: the parts must have as many. */
static int count(struct search_reader *r, struct error *err) {
    int rc = 0;
    r->total = 0;
    for (size_t i = 0; rc == 0 && i < r->n_frozen; i++) {
        json_t *j = NULL,
               *body = json_pack("{s:i, s:b, s:{s:s%, s:s}}", "size", 0, "track_total_hits", 1, "pit", "id",
                                 (const char *)r->frozen[i].ptr, r->frozen[i].len, "keep_alive", SEARCH_KEEP);
        rc = body ? search_ask(r->c, "POST", "/_search?allow_partial_search_results=false", body, &j, NULL,
                               "count what is frozen", err)
                  : error_set(err, ERR_NO_MEMORY, "no memory");
        const json_t *total = json_object_get(json_object_get(j, "hits"), "total"),
                     *shards = json_object_get(j, "_shards");
        if (rc == 0 &&
            (!json_is_false(json_object_get(j, "timed_out")) ||
             json_integer_value(json_object_get(shards, "failed")) != 0 ||
             !json_is_integer(json_object_get(total, "value")) || strcmp(json_text(total, "relation", ""), "eq") != 0))
            rc = error_set(err, ERR_SEARCH_PARTIAL, "not all shards of the index %s could be counted", r->index);
        if (rc == 0) r->total += (uint64_t)json_integer_value(json_object_get(total, "value"));
        json_decref(j);
        json_decref(body);
    }
    return rc;
}

/* So many ranges of each that is frozen. */
static uint64_t ranges_of(const struct search_reader *r) {
    uint64_t each = r->n_frozen ? r->about / r->n_frozen : 0, n = each / RANGE_DOCUMENTS + 1;
    if (r->way == SEARCH_SCROLL || r->numbers < 2) return 1;
    if (n * r->n_frozen < SEARCH_LANES_MAX) n = SEARCH_LANES_MAX / r->n_frozen;
    if (n > each / RANGE_MIN) n = each / RANGE_MIN;
    return n < 1 ? 1 : n > RANGES_MAX ? RANGES_MAX : n;
}

static int run(struct search_reader *r, const struct hits_events *ev, struct error *err) {
    uint64_t ranges = ranges_of(r), seen = 0, total = 0;
    size_t n = (r->n_frozen ? r->n_frozen : 1) * ranges;
    struct search_walk *walks;
    void *mem;
    int rc = ranges > 1 ? count(r, err) : 0;
    if (rc == 0) rc = mem_alloc(n * sizeof *walks, &mem, err);
    if (rc < 0) return rc;
    walks = mem;
    for (size_t i = 0; i < n; i++) {
        uint64_t k = i % ranges;
        walks[i] = (struct search_walk){.r = r,
                                        .frozen = &r->frozen[i / ranges],
                                        .from = k * (r->numbers / ranges),
                                        .to = k + 1 < ranges ? (k + 1) * (r->numbers / ranges) : 0,
                                        .after = BUF_INIT(SORT_MAX),
                                        .page = r->page};
    }
    rc = search_lanes_run(walks, n, ev, err);
    for (size_t i = 0; i < n; i++) {
        seen += walks[i].seen;
        total += walks[i].total;
        buf_free(&walks[i].after);
    }
    seam_free(walks);
    if (ranges == 1) r->total = total;
    if (rc == 0 && (seen != r->total || total != r->total))
        rc = error_set(err, ERR_SEARCH_PARTIAL, "the index %s has %llu documents, and %llu of them came", r->index,
                       (unsigned long long)r->total, (unsigned long long)seen);
    return rc;
}

int search_reader_run(struct search_reader *r, const struct hits_events *ev, struct error *err) {
    int rc = run(r, ev, err);
    return rc < 0 ? error_wrap(err, "read the index %s", r->index) : 0;
}

/* Once, without patience: it is help only. */
static bool let_go(const struct search_reader *r, const json_t *body) {
    CLEANUP(buf_free) struct buf out = BUF_INIT(2 * ID_MAX);
    struct error ignored = ERROR_INIT;
    int status = 0;
    if (!body || json_write(body, &out, &ignored) < 0) return false;
    struct bytes slice = buf_bytes(&out);
    struct search_request q = {.method = "DELETE",
                               .path = r->way == SEARCH_SCROLL ? "/_search/scroll"
                                       : r->c->opensearch      ? "/_search/point_in_time"
                                                               : "/_pit",
                               .body = &slice,
                               .body_count = 1};
    return search_send(r->c, &q, &status, &ignored) == 0 && status != 429;
}

void search_reader_close(struct search_reader *r) {
    bool asking = true; /* all of it ends by itself, too */
    for (size_t i = 0; r->frozen && i < (r->n_frozen ? r->n_frozen : 1); i++) {
        struct bytes id = buf_bytes(&r->frozen[i]);
        json_t *body = NULL;
        if (id.len && r->way == SEARCH_SCROLL)
            body = json_pack("{s:s%}", "scroll_id", (const char *)id.ptr, id.len);
        else if (id.len && r->c->opensearch)
            body = json_pack("{s:[s%]}", "pit_id", (const char *)id.ptr, id.len);
        else if (id.len)
            body = json_pack("{s:s%}", "id", (const char *)id.ptr, id.len);
        if (body && asking) asking = let_go(r, body);
        json_decref(body);
        buf_free(&r->frozen[i]);
    }
    seam_free(r->frozen);
    *r = (struct search_reader){.way = r->way};
}
