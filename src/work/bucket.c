#include "work/bucket.h"

#include "base/seam.h"
#include "platform/open_store.h"

struct bucket {
    struct surface_bucket head;
    struct store *store;
};

static struct store *store_of(struct surface_bucket *b) {
    return ((struct bucket *)b)->store;
}

static int size(struct surface_bucket *b, const char *key, uint64_t *ret, struct error *err) {
    return store_stat(store_of(b), key, ret, NULL, err);
}

static int read_part(struct surface_bucket *b, const char *key, uint64_t at, void *p, size_t len, size_t *ret_n,
                     struct error *err) {
    return store_read(store_of(b), key, at, p, len, ret_n, err);
}

struct listing {
    int (*cb)(void *ctx, const char *key);
    void *ctx;
};
static int on_object(void *ctx, const struct store_object *o, struct error *err) {
    const struct listing *l = ctx;
    (void)err;
    return l->cb(l->ctx, o->key);
}

static int list(struct surface_bucket *b, const char *folder, int (*cb)(void *, const char *), void *ctx,
                struct error *err) {
    struct listing l = {cb, ctx};
    return store_list(store_of(b), folder, on_object, &l, err);
}

static void close_bucket(struct surface_bucket *b) {
    if (!b) return;
    store_close(store_of(b));
    seam_free(b);
}

int work_bucket_open(void *ctx, const char *url, struct surface_bucket **ret, struct error *err) {
    static const struct surface_bucket_ops ops = {size, read_part, list, close_bucket};
    const struct work_bridge *bridge = ctx;
    struct bucket *b;
    if (strncmp(url, "s3://", 5) != 0) return error_set(err, ERR_CONFIG_VALUE, "'%.100s' is no address s3://…", url);
    int r = mem_alloc(sizeof *b, (void **)&b, err);
    if (r < 0) return r;
    b->head.ops = &ops;
    r = config_open_store(bridge->work->config, bridge->surface->config_environment, url, false, &b->store, err);
    if (r < 0)
        seam_free(b);
    else
        *ret = &b->head;
    return r;
}
