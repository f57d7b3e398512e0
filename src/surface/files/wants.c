#include "base/thread.h"
#include "surface/files/attr.h"
#include "surface/files/files_internal.h"
#include "surface/files/filter.h"

#define FIRSTS_BYTES (1u << 20) /* looked for when there are so many */

struct wants {
    struct source *src;
    struct filter filter;
    struct buf firsts; /* names, each behind its length: of links whose first names are not wanted themselves */
    int (*cb)(void *, const struct source_head *, struct error *);
    void *ctx;
};

struct first {
    const struct wants *w;
    struct bytes name;
};

static int see_first(void *ctx, const struct source_head *h, struct error *err) {
    const struct first *f = ctx;
    return bytes_equal(h->name, f->name) ? f->w->cb(f->w->ctx, h, err) : 0;
}

/* Also in the middle of the walk, so that their number has no bound. */
static int firsts_look(struct wants *w, struct error *err) {
    struct cursor c = cursor_of(buf_bytes(&w->firsts));
    int rc = 0;
    while (rc == 0 && c.len) {
        struct first f = {w, cursor_take(&c, cursor_varint(&c))};
        rc = w->src->ops->walk(w->src, f.name, see_first, &f, err);
    }
    buf_clear(&w->firsts);
    return rc;
}

static int see(void *ctx, const struct source_head *h, struct error *err) {
    struct wants *w = ctx;
    struct attr a;
    int rc = stop_check(err);
    if (rc == 0) rc = attr_decode(h->attr, &a, err);
    if (rc < 0) return rc;
    if (!filter_selects(&w->filter, h->name)) return 0;
    if (a.type == FILE_REGULAR) return w->cb(w->ctx, h, err);
    if (a.type != FILE_HARDLINK || filter_selects(&w->filter, a.target)) return 0;
    rc = buf_append_varint(&w->firsts, a.target.len, err);
    if (rc == 0) rc = buf_append(&w->firsts, a.target.ptr, a.target.len, err);
    return rc == 0 && w->firsts.len >= FIRSTS_BYTES ? firsts_look(w, err) : rc;
}

int files_wants(const struct surface_context *ctx, struct source *src, const struct restore_request *q,
                int (*cb)(void *, const struct source_head *, struct error *), void *cb_ctx, struct error *err) {
    struct wants w = {.src = src, .firsts = BUF_INIT(FIRSTS_BYTES + ATTR_BYTES_MAX), .cb = cb, .ctx = cb_ctx};
    (void)ctx;
    int rc = filter_init(&w.filter, q->include, q->facts, err);
    if (rc == 0) rc = src->ops->walk(src, BYTES_OF(NULL, 0), see, &w, err);
    if (rc == 0) rc = firsts_look(&w, err);
    filter_free(&w.filter);
    buf_free(&w.firsts);
    return rc;
}
