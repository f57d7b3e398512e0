#include "surface/search/snapshot.h"

#include "base/seam.h"

struct wants {
    const struct restore_request *q;
    int (*cb)(void *, const struct source_head *, struct error *);
    void *ctx;
    json_t *taken; /* names of indices */
};

static const char *after(struct bytes name, const char *prefix) {
    const size_t n = strlen(prefix);
    return name.len > n && !memcmp(name.ptr, prefix, n) ? (const char *)name.ptr + n : NULL;
}

/* An index's documents stand before what says which data stream it is of. */
static int see_index(void *ctx, const struct source_head *h, struct error *err) {
    struct wants *w = ctx;
    json_auto_t *attr = NULL;
    int r = json_parse(h->attr, JSON_MAX_BYTES, "an item's attributes", &attr, err);
    const char *index = json_text(attr, "index", ""), *stream = json_text(attr, "data_stream", NULL);
    if (r < 0 || strcmp(json_text(attr, "type", ""), "index") != 0) return r;
    if (search_takes_backing(w->q->include, index, stream)) return json_put(w->taken, index, json_true(), err);
    /* in place, the other indices of its stream are looked at too */
    return stream && w->q->in_place ? w->cb(w->ctx, h, err) : 0;
}

static int see(void *ctx, const struct source_head *h, struct error *err) {
    const struct wants *w = ctx;
    char name[300];
    const char *rest = after(h->name, "index/"), *section = after(h->name, "cluster/");
    const char *part = rest ? rest : section;
    if (!part) return after(h->name, "snapshot/") && engine_place_wants(w->q, h->name) ? w->cb(w->ctx, h, err) : 0;
    size_t n = (size_t)((const char *)h->name.ptr + h->name.len - part);
    if (rest) {
        const char *slash = memchr(part, '/', n);
        if (slash) n = (size_t)(slash - part);
    }
    if (n >= sizeof name) return 0;
    memcpy(name, part, n);
    name[n] = 0;
    const bool taken =
        rest ? json_object_get(w->taken, name) != NULL
             : search_takes_section(w->q->include, name, false) || (w->q->in_place && !strcmp(name, "data_streams"));
    return taken ? w->cb(w->ctx, h, err) : 0;
}

int search_wants(const struct surface_context *ctx, struct source *src, const struct restore_request *q,
                 int (*cb)(void *, const struct source_head *, struct error *), void *cb_ctx, struct error *err) {
    struct wants w = {.q = q, .cb = cb, .ctx = cb_ctx, .taken = json_object()};
    (void)ctx;
    int r = w.taken ? search_include_check(q->include, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = src->ops->walk(src, BYTES_STR("index/"), see_index, &w, err);
    if (r == 0) r = src->ops->walk(src, BYTES_OF(NULL, 0), see, &w, err);
    json_decref(w.taken);
    return r;
}
