#include "surface/neo4j/graph_internal.h"

#include "base/seam.h"

#define RECORD_MAX (BOLT_MESSAGE_MAX + 4096)

struct find {
    struct source_head *ret;
    const char *name;
    bool found;
};

static int on_item(void *ctx, const struct source_head *h, struct error *err) {
    struct find *f = ctx;
    (void)err;
    if (!bytes_equal(h->name, BYTES_STR(f->name))) return 0;
    *f->ret = *h;
    f->ret->name = f->ret->attr = BYTES_OF(NULL, 0);
    f->found = true;
    return 0;
}

int records_find(struct source *src, const char *name, struct source_head *ret, struct error *err) {
    struct find f = {.ret = ret, .name = name};
    int r = src->ops->walk(src, BYTES_STR(name), on_item, &f, err);
    if (r == 0 && !f.found)
        return error_set(err, ERR_RESTORE_DIFFERS, "the snapshot has no item %s: it is none of an online export", name);
    return r;
}

int records_open(struct source *src, const struct source_head *head, struct records *ret, struct error *err) {
    *ret = (struct records){.src = src, .whole = BUF_INIT(RECORD_MAX)};
    return src->ops->open(src, head, &ret->item, err);
}

void records_close(struct records *r) {
    if (r->item) r->src->ops->close(r->item);
    buf_free(&r->whole);
    *r = (struct records){0};
}

static int more(struct records *r, struct error *err) {
    return r->piece.len ? 0 : r->src->ops->next(r->item, &r->piece, err);
}

static int none(const struct records *r, struct error *err) {
    return error_set(err, ERR_RESTORE_DIFFERS, "record %llu of an item is none", (unsigned long long)r->n);
}

static int length(struct records *r, uint64_t *ret, bool *ret_end, struct error *err) {
    uint64_t v = 0;
    for (unsigned shift = 0;; shift += 7) {
        int rc = more(r, err);
        if (rc < 0) return rc;
        if (r->piece.len == 0) {
            *ret_end = shift == 0;
            return shift ? none(r, err) : 0;
        }
        if (!r->piece.ptr || shift > 28) return none(r, err);
        uint8_t b = *r->piece.ptr++;
        r->piece.len--;
        v |= (uint64_t)(b & 0x7F) << shift;
        if (b < 0x80) break;
    }
    *ret = v;
    return v <= RECORD_MAX ? 0 : none(r, err);
}

int records_next(struct records *r, struct bytes *ret, bool *ret_end, struct error *err) {
    uint64_t n = 0;
    *ret_end = false;
    int rc = length(r, &n, ret_end, err);
    if (rc < 0 || *ret_end) return rc;
    r->n++;
    if (r->piece.ptr && r->piece.len >= n) {
        *ret = BYTES_OF(r->piece.ptr, (size_t)n);
        r->piece = BYTES_OF(r->piece.ptr + n, r->piece.len - (size_t)n);
        return 0;
    }
    buf_clear(&r->whole);
    while (r->whole.len < n) {
        if ((rc = more(r, err)) < 0) return rc;
        if (r->piece.len == 0 || !r->piece.ptr) return none(r, err);
        size_t part = r->piece.len < n - r->whole.len ? r->piece.len : (size_t)n - r->whole.len;
        if ((rc = buf_append(&r->whole, r->piece.ptr, part, err)) < 0) return rc;
        r->piece = BYTES_OF(r->piece.ptr + part, r->piece.len - part);
    }
    *ret = buf_bytes(&r->whole);
    return 0;
}

int records_schema(struct source *src, json_t **ret, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(GRAPH_TEXT_MAX);
    struct source_head head;
    struct source_item *item = NULL;
    struct bytes piece = {0};
    int r = records_find(src, GRAPH_SCHEMA, &head, err);
    if (r == 0) r = src->ops->open(src, &head, &item, err);
    while (r == 0) {
        r = src->ops->next(item, &piece, err);
        if (r < 0 || piece.len == 0) break;
        r = piece.ptr ? buf_append(&text, piece.ptr, piece.len, err)
                      : error_set(err, ERR_RESTORE_DIFFERS, "%s has a hole", GRAPH_SCHEMA);
    }
    if (item) src->ops->close(item);
    return r == 0 ? json_parse(buf_bytes(&text), GRAPH_TEXT_MAX, GRAPH_SCHEMA, ret, err) : r;
}
