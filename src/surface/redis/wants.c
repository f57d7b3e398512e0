#include "surface/redis/redis_internal.h"

#include "base/seam.h"

struct wants {
    const struct restore_request *q;
    int (*cb)(void *, const struct source_head *, struct error *);
    void *ctx;
};

/* A database's keys are one item, however few of them are named. */
static int see(void *ctx, const struct source_head *h, struct error *err) {
    const struct wants *w = ctx;
    uint64_t database;
    bool keys;
    const bool taken =
        redis_item_of(h->name, &database, &keys)
            ? redis_takes_database(w->q->include, database)
            : (bytes_equal(h->name, BYTES_STR("functions")) && redis_takes(w->q->include, "functions")) ||
                  (bytes_equal(h->name, BYTES_STR("acl")) && redis_takes(w->q->include, "acl"));
    return taken ? w->cb(w->ctx, h, err) : 0;
}

int redis_wants(const struct surface_context *ctx, struct source *src, const struct restore_request *q,
                int (*cb)(void *, const struct source_head *, struct error *), void *cb_ctx, struct error *err) {
    struct wants w = {q, cb, cb_ctx};
    (void)ctx;
    int r = redis_include_check(q->include, err);
    return r == 0 ? src->ops->walk(src, BYTES_OF(NULL, 0), see, &w, err) : r;
}
