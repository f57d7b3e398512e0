#include "base/thread.h"
#include "surface/files/attr.h"
#include "surface/files/files_internal.h"
#include "surface/files/filter.h"

#define FIRSTS_BYTES_MAX (64u << 20)

struct wants {
    struct filter filter;
    struct buf firsts; /* names, each behind its length: of links whose first names are not wanted themselves */
    bool named;        /* a first name is looked for, and no others */
    struct bytes first;
    int (*cb)(void *, const struct source_head *, struct error *);
    void *ctx;
};

static int see(void *ctx, const struct source_head *h, struct error *err) {
    struct wants *w = ctx;
    struct attr a;
    int rc = stop_check(err);
    if (rc == 0) rc = attr_decode(h->attr, &a, err);
    if (rc < 0) return rc;
    if (w->named) return bytes_equal(h->name, w->first) ? w->cb(w->ctx, h, err) : 0;
    if (!filter_selects(&w->filter, h->name)) return 0;
    if (a.type == FILE_REGULAR) return w->cb(w->ctx, h, err);
    if (a.type != FILE_HARDLINK || filter_selects(&w->filter, a.target)) return 0;
    rc = buf_append_varint(&w->firsts, a.target.len, err);
    return rc == 0 ? buf_append(&w->firsts, a.target.ptr, a.target.len, err) : rc;
}

int files_wants(const struct surface_context *ctx, struct source *src, const struct restore_request *q,
                int (*cb)(void *, const struct source_head *, struct error *), void *cb_ctx, struct error *err) {
    struct wants w = {.firsts = BUF_INIT(FIRSTS_BYTES_MAX), .cb = cb, .ctx = cb_ctx};
    (void)ctx;
    int rc = filter_init(&w.filter, q->include, q->facts, err);
    if (rc == 0) rc = src->ops->walk(src, BYTES_OF(NULL, 0), see, &w, err);
    struct cursor c = cursor_of(buf_bytes(&w.firsts));
    w.named = true;
    while (rc == 0 && c.len) {
        w.first = cursor_take(&c, cursor_varint(&c));
        rc = src->ops->walk(src, w.first, see, &w, err);
    }
    filter_free(&w.filter);
    buf_free(&w.firsts);
    return rc;
}
