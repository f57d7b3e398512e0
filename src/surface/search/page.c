#include "surface/search/search_internal.h"

#include "base/seam.h"
#include <stdio.h>

int search_keep_id(struct buf *id, const char *index, const json_t *answer, const char *key, struct error *err) {
    const char *v = json_string_value(json_object_get(answer, key));
    if (!v || strpbrk(v, "\"\\"))
        return error_set(err, ERR_SEARCH_PROTOCOL, "the answer to a search of %s has no %s", index, key);
    buf_clear(id);
    return buf_append_str(id, v, err);
}

/* By sequence numbers, since every version can do that, and neighbours in them are mostly neighbours on disk. */
static int query(const struct search_walk *w, struct buf *b, struct error *err) {
    if (!w->from && !w->to) return buf_append_str(b, "{\"match_all\":{}}", err);
    int r = buf_append_str(b, "{\"bool\":{\"filter\":{\"range\":{\"_seq_no\":{", err);
    if (r == 0 && w->from) r = buf_printf(b, err, "\"gte\":%llu%s", (unsigned long long)w->from, w->to ? "," : "");
    if (r == 0 && w->to) r = buf_printf(b, err, "\"lt\":%llu", (unsigned long long)w->to);
    return r == 0 ? buf_append_str(b, "}}}}}", err) : r;
}

/* How many there are is asked once: the server would count all of them again for each page, and a point in time does
 * not change. */
static bool counts(const struct search_walk *w) {
    return !w->begun || w->r->way == SEARCH_SCROLL;
}

static int body_of(struct search_walk *w, struct buf *b, struct error *err) {
    struct bytes id = buf_bytes(w->frozen), after = buf_bytes(&w->after);
    enum search_way way = w->r->way;
    buf_clear(b);
    if (way == SEARCH_SCROLL && w->begun)
        return buf_printf(b, err, "{\"scroll\":\"" SEARCH_KEEP "\",\"scroll_id\":\"%.*s\"}", (int)id.len,
                          (const char *)id.ptr);
    int r = buf_printf(
        b, err, "{\"size\":%llu,\"track_total_hits\":%s,\"sort\":[\"%s\"],\"query\":", (unsigned long long)w->page,
        counts(w) ? "true" : "false", way == SEARCH_PIT_SHARD_DOC ? "_shard_doc" : "_doc");
    if (r == 0) r = query(w, b, err);
    if (r == 0 && way != SEARCH_SCROLL)
        r = buf_printf(b, err, ",\"pit\":{\"id\":\"%.*s\",\"keep_alive\":\"" SEARCH_KEEP "\"}", (int)id.len,
                       (const char *)id.ptr);
    if (r == 0 && way != SEARCH_SCROLL && after.len)
        r = buf_printf(b, err, ",\"search_after\":%.*s", (int)after.len, (const char *)after.ptr);
    return r == 0 ? buf_append_str(b, "}", err) : r;
}

int search_page_request(struct search_walk *w, struct buf *path, struct buf *body, struct error *err) {
    int r = body_of(w, body, err);
    if (r < 0) return r;
    if (w->r->way != SEARCH_SCROLL)
        return search_path(path, "/_search?allow_partial_search_results=false", "", "", err);
    if (w->begun) return search_path(path, "/_search/scroll", "", "", err);
    return search_path(path, "/", w->r->index, "/_search?scroll=" SEARCH_KEEP "&allow_partial_search_results=false",
                       err);
}

static int not_whole(const struct search_walk *w, struct error *err, const char *why) {
    return error_set(err, ERR_SEARCH_PARTIAL, "a page of the index %s is not whole: %s", w->r->index, why);
}

/* What an answer says of itself beside its hits. */
static int check(struct search_walk *w, const json_t *rest, struct error *err) {
    const json_t *total = json_object_get(json_object_get(rest, "hits"), "total"),
                 *shards = json_object_get(rest, "_shards");
    const json_t *value = json_object_get(total, "value");
    const char *relation = json_string_value(json_object_get(total, "relation"));
    if (!json_is_false(json_object_get(rest, "timed_out"))) return not_whole(w, err, "it timed out");
    if (!json_is_integer(json_object_get(shards, "failed")) ||
        json_integer_value(json_object_get(shards, "failed")) != 0)
        return not_whole(w, err, "some shards failed");
    if (json_integer_value(json_object_get(shards, "total")) !=
        json_integer_value(json_object_get(shards, "successful")))
        return not_whole(w, err, "some shards did not answer");
    /* Between its first and its last page a scroll in the order of documents says so of itself; it is its totals that
     * have to come out in the end. */
    if (json_is_true(json_object_get(rest, "terminated_early")) && (w->r->way != SEARCH_SCROLL || !w->begun))
        return not_whole(w, err, "it was cut short");
    if (counts(w) && (!json_is_integer(value) || !relation || strcmp(relation, "eq") != 0))
        return not_whole(w, err, "it does not say how many documents there are");
    if (counts(w) && w->begun && (uint64_t)json_integer_value(value) != w->total)
        return not_whole(w, err, "the number of documents is another than on the page before");
    if (counts(w)) w->total = (uint64_t)json_integer_value(value);
    return search_keep_id(w->frozen, w->r->index, rest, w->r->way == SEARCH_SCROLL ? "_scroll_id" : "pit_id", err);
}

void search_page_shrink(struct search_walk *w) {
    if (w->r->page_bytes > SEARCH_PAGE_BYTES_MIN) w->r->page_bytes /= 2;
    if (w->page > 1) w->page /= 2;
}

/* The next page as large as its bytes should be; a scroll's is what it was begun with. */
static void adapt(struct search_walk *w, uint64_t n) {
    uint64_t mean = w->page_bytes / n + 1, want = w->r->page_bytes / mean;
    if (want > 2 * w->page) want = 2 * w->page;
    w->page = want < 1 ? 1 : want > SEARCH_PAGE_DOCUMENTS ? SEARCH_PAGE_DOCUMENTS : want;
}

int search_page_take(struct search_walk *w, struct hits *h, uint64_t bytes, struct error *err) {
    json_t *rest = NULL;
    int r = hits_close(h, &rest, err);
    if (r == 0) r = check(w, rest, err);
    json_decref(rest);
    if (r < 0) return r;
    w->begun = true;
    w->seen += h->count;
    w->page_bytes = bytes;
    /* without a place to go on from, the same page would come for ever */
    if (w->seen > w->total || (h->count && !h->sort.len && w->r->way != SEARCH_SCROLL))
        return not_whole(w, err, "it has more documents than there are, or does not say where it ends");
    if (h->count) adapt(w, h->count);
    w->over = h->count == 0 || (w->seen == w->total && w->r->way != SEARCH_SCROLL);
    buf_clear(&w->after);
    return buf_append(&w->after, h->sort.ptr, h->sort.len, err);
}
