#include "surface/search/search_internal.h"

#include "base/seam.h"
#include "base/thread.h"
#include <stdio.h>

#define KEEP "10m" /* that the cluster keeps a point in time after each page */
#define ID_MAX (1u << 20)
/* A page's documents are in the cluster's memory at once, not in ours: so many, or so many bytes, whichever is less. */
#define PAGE_DOCUMENTS 4000u
#define PAGE_BYTES (6u << 20)

const char *search_way_name(enum search_way w) {
    return w == SEARCH_SCROLL ? "scroll" : "point_in_time";
}

/* What breaks a tie between two documents: only some have `_shard_doc`, and a point in time without it can be walked by
 * `_doc` in one shard only. */
static enum search_way way_of(const struct search_client *c, unsigned primaries) {
    if (!c->opensearch) return c->major > 7 || c->minor >= 12 ? SEARCH_PIT_SHARD_DOC : SEARCH_SCROLL;
    if (c->major > 3 || (c->major == 3 && c->minor >= 3)) return SEARCH_PIT_SHARD_DOC;
    return primaries == 1 && (c->major > 2 || (c->major == 2 && c->minor >= 4)) ? SEARCH_PIT_DOC : SEARCH_SCROLL;
}

static int keep_id(struct search_reader *r, const json_t *answer, const char *key, struct error *err) {
    const char *id = json_string_value(json_object_get(answer, key));
    if (!id || strpbrk(id, "\"\\"))
        return error_set(err, ERR_SEARCH_PROTOCOL, "the answer to a search of %s has no %s", r->index, key);
    buf_clear(&r->id);
    return buf_append_str(&r->id, id, err);
}

/* By the mean size of its documents, so that the first page is not too large either. */
static int first_page(struct search_reader *r, struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    struct error ignored = ERROR_INIT;
    json_t *j = NULL;
    r->page = 500;
    int rc = search_path(&path, "/", r->index, "/_stats/docs,store?filter_path=_all.primaries", err);
    if (rc < 0) return rc;
    if (search_ask(r->c, "GET", (const char *)path.ptr, NULL, &j, NULL, "ask for sizes", &ignored) == 0) {
        const json_t *p = json_object_get(json_object_get(j, "_all"), "primaries");
        uint64_t n = (uint64_t)json_integer_value(json_object_get(json_object_get(p, "docs"), "count"));
        uint64_t bytes = (uint64_t)json_integer_value(json_object_get(json_object_get(p, "store"), "size_in_bytes"));
        /* What is stored is compressed, and has the index beside the documents: about as much. */
        uint64_t mean = n ? bytes / n + 1 : 1024;
        r->page = PAGE_BYTES / mean;
    }
    if (r->page > PAGE_DOCUMENTS) r->page = PAGE_DOCUMENTS;
    if (r->page < 1) r->page = 1;
    json_decref(j);
    return 0;
}

int search_reader_open(const struct search_client *c, const char *index, unsigned primaries, struct search_reader *ret,
                       struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    json_t *j = NULL;
    bool missing = false;
    *ret = (struct search_reader){.c = c, .index = index, .way = way_of(c, primaries), .id = BUF_INIT(ID_MAX)};
    int r = first_page(ret, err);
    if (r < 0 || ret->way == SEARCH_SCROLL) return r;
    r = search_path(&path, "/", index,
                    c->opensearch ? "/_search/point_in_time?allow_partial_pit_creation=false&keep_alive=" KEEP
                                  : "/_pit?keep_alive=" KEEP,
                    err);
    if (r == 0) r = search_ask(c, "POST", (const char *)path.ptr, NULL, &j, &missing, "open a point in time", err);
    if (r == 0 && missing) {
        ret->way = SEARCH_SCROLL;
        return 0;
    }
    if (r == 0 && json_integer_value(json_object_get(json_object_get(j, "_shards"), "failed")) > 0)
        r = error_set(err, ERR_SEARCH_PARTIAL, "a point in time of %s could not be opened on all its shards", index);
    if (r == 0) r = keep_id(ret, j, c->opensearch ? "pit_id" : "id", err);
    ret->open = ret->id.len > 0;
    json_decref(j);
    if (r < 0) search_reader_close(ret);
    return r;
}

static int page_body(struct search_reader *r, const struct buf *after, struct buf *b, struct error *err) {
    struct bytes id = buf_bytes(&r->id);
    buf_clear(b);
    if (r->way == SEARCH_SCROLL && r->begun)
        return buf_printf(b, err, "{\"scroll\":\"" KEEP "\",\"scroll_id\":\"%.*s\"}", (int)id.len,
                          (const char *)id.ptr);
    int rc =
        buf_printf(b, err, "{\"size\":%llu,\"track_total_hits\":true,\"query\":{\"match_all\":{}},\"sort\":[\"%s\"]",
                   (unsigned long long)r->page, r->way == SEARCH_PIT_SHARD_DOC ? "_shard_doc" : "_doc");
    if (rc == 0 && r->way != SEARCH_SCROLL)
        rc = buf_printf(b, err, ",\"pit\":{\"id\":\"%.*s\",\"keep_alive\":\"" KEEP "\"}", (int)id.len,
                        (const char *)id.ptr);
    if (rc == 0 && r->way != SEARCH_SCROLL && after->len)
        rc = buf_printf(b, err, ",\"search_after\":%.*s", (int)after->len, (const char *)after->ptr);
    return rc == 0 ? buf_append_str(b, "}", err) : rc;
}

static int page_path(const struct search_reader *r, struct buf *path, struct error *err) {
    if (r->way != SEARCH_SCROLL) return search_path(path, "/_search?allow_partial_search_results=false", "", "", err);
    if (r->begun) return search_path(path, "/_search/scroll", "", "", err);
    return search_path(path, "/", r->index, "/_search?scroll=" KEEP "&allow_partial_search_results=false", err);
}

static int not_whole(const struct search_reader *r, struct error *err, const char *why) {
    return error_set(err, ERR_SEARCH_PARTIAL, "a page of the index %s is not whole: %s", r->index, why);
}

/* What an answer says of itself beside its hits. */
static int page_check(struct search_reader *r, const json_t *rest, struct error *err) {
    const json_t *total = json_object_get(json_object_get(rest, "hits"), "total"),
                 *shards = json_object_get(rest, "_shards");
    const json_t *value = json_object_get(total, "value");
    const char *relation = json_string_value(json_object_get(total, "relation"));
    if (!json_is_false(json_object_get(rest, "timed_out"))) return not_whole(r, err, "it timed out");
    if (!json_is_integer(json_object_get(shards, "failed")) ||
        json_integer_value(json_object_get(shards, "failed")) != 0)
        return not_whole(r, err, "some shards failed");
    if (json_integer_value(json_object_get(shards, "total")) !=
        json_integer_value(json_object_get(shards, "successful")))
        return not_whole(r, err, "some shards did not answer");
    if (json_is_true(json_object_get(rest, "terminated_early"))) return not_whole(r, err, "it was cut short");
    if (!json_is_integer(value) || !relation || strcmp(relation, "eq") != 0)
        return not_whole(r, err, "it does not say how many documents there are");
    if (r->begun && (uint64_t)json_integer_value(value) != r->total)
        return not_whole(r, err, "the number of documents is another than on the page before");
    r->total = (uint64_t)json_integer_value(value);
    return keep_id(r, rest, r->way == SEARCH_SCROLL ? "_scroll_id" : "pit_id", err);
}

struct page {
    struct hits hits;
    uint64_t bytes;
};
static int take(void *ctx, struct bytes piece, struct error *err) {
    struct page *p = ctx;
    p->bytes += piece.len;
    return hits_feed(&p->hits, piece, err);
}

static int page(struct search_reader *r, const struct hits_events *ev, struct buf *after, uint64_t *ret_n,
                struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(ID_MAX);
    CLEANUP(buf_free) struct buf body = BUF_INIT(2 * ID_MAX);
    CLEANUP(buf_free) struct buf text = BUF_INIT(SEARCH_ANSWER_MAX);
    struct page p = {0};
    json_t *rest = NULL;
    int status = 0, rc = page_path(r, &path, err);
    hits_open(&p.hits, ev);
    if (rc == 0) rc = page_body(r, after, &body, err);
    struct bytes slice = buf_bytes(&body);
    struct search_request q = {.method = "POST",
                               .path = (const char *)path.ptr,
                               .body = &slice,
                               .body_count = 1,
                               .take = take,
                               .take_ctx = &p,
                               .text = &text};
    if (rc == 0) rc = search_send(r->c, &q, &status, err);
    if (rc == 0 && status / 100 != 2) {
        rc = search_refused(r->c, status, buf_bytes(&text), true, "read a page of documents", err);
        if (err->code == ERR_SEARCH_REPLY) {
            struct error e = *err;
            error_clear(err);
            rc = error_set(err, ERR_SEARCH_PARTIAL, "%s", e.text);
        }
    }
    if (rc == 0) rc = hits_close(&p.hits, &rest, err);
    if (rc == 0) rc = page_check(r, rest, err);
    if (rc == 0) {
        r->begun = r->open = true;
        r->seen += p.hits.count;
        r->page_bytes = p.bytes;
        *ret_n = p.hits.count;
        /* without a place to go on from, the same page would come for ever */
        if (r->seen > r->total || (p.hits.count && !p.hits.sort.len && r->way != SEARCH_SCROLL))
            rc = not_whole(r, err, "it has more documents than there are, or does not say where it ends");
        buf_clear(after);
        if (rc == 0) rc = buf_append(after, p.hits.sort.ptr, p.hits.sort.len, err);
    }
    json_decref(rest);
    hits_free(&p.hits);
    return rc;
}

/* The next page as large as its bytes should be; a scroll's is what it was begun with. */
static void adapt(struct search_reader *r, uint64_t n) {
    uint64_t mean = r->page_bytes / n + 1, want = PAGE_BYTES / mean;
    if (want > 2 * r->page) want = 2 * r->page;
    r->page = want < 1 ? 1 : want > PAGE_DOCUMENTS ? PAGE_DOCUMENTS : want;
}

int search_reader_run(struct search_reader *r, const struct hits_events *ev, struct error *err) {
    CLEANUP(buf_free) struct buf after = BUF_INIT(65536);
    uint64_t n = 1;
    int rc = 0;
    while (rc == 0 && n) {
        rc = stop_check(err);
        if (rc == 0) rc = page(r, ev, &after, &n, err);
        if (rc == 0 && n) adapt(r, n);
    }
    if (rc == 0 && r->seen != r->total)
        rc = error_set(err, ERR_SEARCH_PARTIAL, "the index %s has %llu documents, and %llu of them came", r->index,
                       (unsigned long long)r->total, (unsigned long long)r->seen);
    return rc < 0 ? error_wrap(err, "read the index %s", r->index) : 0;
}

void search_reader_close(struct search_reader *r) {
    struct error ignored = ERROR_INIT;
    struct bytes id = buf_bytes(&r->id);
    json_t *body = NULL;
    if (r->open && r->way == SEARCH_SCROLL)
        body = json_pack("{s:s%}", "scroll_id", (const char *)id.ptr, id.len);
    else if (r->open && r->c->opensearch)
        body = json_pack("{s:[s%]}", "pit_id", (const char *)id.ptr, id.len);
    else if (r->open)
        body = json_pack("{s:s%}", "id", (const char *)id.ptr, id.len);
    /* Help only: it ends by itself. */
    if (body)
        (void)!search_ask(r->c, "DELETE",
                          r->way == SEARCH_SCROLL ? "/_search/scroll"
                          : r->c->opensearch      ? "/_search/point_in_time"
                                                  : "/_pit",
                          body, NULL, NULL, "end a point in time", &ignored);
    json_decref(body);
    buf_free(&r->id);
    r->open = false;
}
