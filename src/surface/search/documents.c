#include "surface/search/search_internal.h"

#include "base/seam.h"
#include <stdio.h>

/* ---- digests ---- */
void search_digest_begin(struct search_digest *d, struct bytes id, struct bytes routing) {
    mix_begin(&d->mix);
    mix_u64(&d->mix, id.len);
    mix_part(&d->mix, id);
    mix_u64(&d->mix, routing.len);
    mix_part(&d->mix, routing);
}

static int tally_begin(void *ctx, const struct hit *h, struct error *err) {
    struct search_tally *t = ctx;
    (void)err;
    search_digest_begin(&t->one, h->id, h->routing);
    return 0;
}
static int tally_document(void *ctx, struct bytes piece, struct error *err) {
    struct search_tally *t = ctx;
    (void)err;
    t->bytes += piece.len;
    mix_part(&t->one.mix, piece);
    return 0;
}
static int tally_end(void *ctx, struct error *err) {
    struct search_tally *t = ctx;
    (void)err;
    t->documents++;
    hash128_add(&t->sum, mix_end(&t->one.mix));
    return 0;
}

int search_tally_run(const struct search_client *c, const char *index, unsigned primaries, struct search_tally *ret,
                     struct error *err) {
    struct hits_events ev = {.ctx = ret, .begin = tally_begin, .document = tally_document, .end = tally_end};
    struct search_reader r;
    *ret = (struct search_tally){0};
    int rc = search_reader_open(c, index, primaries, SEARCH_FROZEN_MAX, &r, err);
    if (rc < 0) return rc;
    rc = search_reader_run(&r, &ev, err);
    search_reader_close(&r);
    return rc;
}

/* ---- items ---- */
struct find {
    struct source *src;
    struct bytes name;
    struct source_item *item;
};
static int on_item(void *ctx, const struct source_head *h, struct error *err) {
    struct find *f = ctx;
    if (!bytes_equal(h->name, f->name) || f->item) return 0;
    return f->src->ops->open(f->src, h, &f->item, err);
}

int search_lines_open(struct source *src, const char *item, struct search_lines *ret, bool *ret_there,
                      struct error *err) {
    struct find f = {.src = src, .name = BYTES_STR(item)};
    int r = src->ops->walk(src, f.name, on_item, &f, err);
    *ret = (struct search_lines){.src = src, .item = f.item};
    *ret_there = f.item != NULL;
    return r;
}

static int line(struct search_lines *l, struct buf *out, bool *ret_end, struct error *err) {
    for (bool some = false;; some = true) {
        if (l->piece.len == 0) {
            struct bytes p;
            int r = l->src->ops->next(l->item, &p, err);
            if (r < 0) return r;
            if (p.len == 0) {
                *ret_end = true;
                return some ? error_set(err, ERR_RESTORE_DIFFERS, "the documents of an index end in the middle of one")
                            : 0;
            }
            if (!p.ptr) return error_set(err, ERR_RESTORE_DIFFERS, "the documents of an index have a hole");
            l->piece = p;
        }
        const uint8_t *nl = memchr(l->piece.ptr, '\n', l->piece.len);
        size_t n = nl ? (size_t)(nl + 1 - l->piece.ptr) : l->piece.len;
        int r = buf_append(out, l->piece.ptr, n, err);
        l->piece = BYTES_OF(l->piece.ptr + n, l->piece.len - n);
        if (r < 0 || nl) return r;
    }
}

int search_lines_next(struct search_lines *l, struct buf *out, bool *ret_end, struct error *err) {
    *ret_end = false;
    int r = line(l, out, ret_end, err);
    if (r < 0 || *ret_end) return r;
    r = line(l, out, ret_end, err);
    if (r == 0 && *ret_end) r = error_set(err, ERR_RESTORE_DIFFERS, "the documents of an index end before a document");
    return r;
}

void search_lines_close(struct search_lines *l) {
    if (l->item) l->src->ops->close(l->item);
    l->item = NULL;
}

int search_item_read(struct source *src, const char *name, struct buf *out, bool *ret_there, struct error *err) {
    struct search_lines l;
    struct bytes p;
    int r = search_lines_open(src, name, &l, ret_there, err);
    while (r == 0 && *ret_there) {
        r = src->ops->next(l.item, &p, err);
        if (r < 0 || p.len == 0) break;
        r = buf_append(out, p.ptr, p.len, err);
    }
    search_lines_close(&l);
    return r;
}
