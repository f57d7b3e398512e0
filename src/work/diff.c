/* The two walks are callbacks, so each runs in a thread and hands batches of copied heads through a bounded queue. */
#include "work/inspect.h"

#include "base/seam.h"
#include "base/thread.h"

#define BATCH_BYTES (256u << 10)
#define BATCH_ITEMS 512
#define BATCHES 4

const char *change_kind_name(enum change_kind k) {
    static const char *const names[] = {"added", "removed", "content", "attributes", "content and attributes"};
    return names[k];
}

struct batch {
    struct item_head heads[BATCH_ITEMS]; /* name and attr point into text once it is complete */
    size_t at[BATCH_ITEMS];
    size_t n, next;
    struct buf text;
};
struct side {
    struct snapshot *snapshot;
    struct queue *queue;
    pthread_t thread;
    bool started;
    struct batch *filling, *reading;
    struct error err; /* the walker's; read after the queue has ended */
};

static void batch_free(struct batch *b) {
    if (!b) return;
    buf_free(&b->text);
    seam_free(b);
}

/* false: nobody reads any more. */
static bool batch_send(struct side *s) {
    struct batch *b = s->filling;
    s->filling = NULL;
    for (size_t i = 0; i < b->n; i++) {
        b->heads[i].name.ptr = b->text.ptr + b->at[i];
        b->heads[i].attr.ptr = b->heads[i].name.ptr + b->heads[i].name.len;
    }
    if (queue_push(s->queue, b)) return true;
    batch_free(b);
    return false;
}

static int batch_put(void *ctx, const struct item_head *h, struct error *err) {
    struct side *s = ctx;
    void *mem;
    int rc = stop_check(err);
    if (rc == 0 && !s->filling) {
        if ((rc = mem_alloc(sizeof *s->filling, &mem, err)) < 0) return rc;
        s->filling = mem;
        s->filling->text = BUF_INIT(64u << 20);
    }
    if (rc < 0) return rc;
    struct batch *b = s->filling;
    b->heads[b->n] = *h;
    b->at[b->n] = b->text.len;
    rc = buf_append(&b->text, h->name.ptr, h->name.len, err);
    if (rc == 0 && h->attr.len) rc = buf_append(&b->text, h->attr.ptr, h->attr.len, err);
    if (rc < 0) return rc;
    b->n++;
    if (b->n < BATCH_ITEMS && b->text.len < BATCH_BYTES) return 0;
    return batch_send(s) ? 0 : 1;
}

static void *walk(void *arg) {
    struct side *s = arg;
    int rc = snapshot_walk(s->snapshot, BYTES_OF(NULL, 0), batch_put, s, &s->err);
    if (rc == 0 && s->filling) (void)batch_send(s);
    batch_free(s->filling);
    s->filling = NULL;
    queue_close(s->queue);
    return NULL;
}

static int side_open(struct side *s, struct work *w, const struct snapshot_info *info, struct error *err) {
    int rc = snapshot_open(w->repo, info, &s->snapshot, err);
    if (rc == 0) rc = queue_new(BATCHES, &s->queue, err);
    if (rc == 0) rc = thread_start(&s->thread, walk, s, err);
    s->started = rc == 0;
    return rc;
}

static void side_close(struct side *s) {
    void *p;
    if (s->started) {
        queue_close(s->queue);
        while (queue_pop(s->queue, &p)) batch_free(p);
        pthread_join(s->thread, NULL);
    }
    batch_free(s->reading);
    queue_free(s->queue);
    snapshot_close(s->snapshot);
}

/* The item at hand, or NULL at the end of the walk. */
static int side_peek(struct side *s, const struct item_head **ret, struct error *err) {
    void *p;
    while (!s->reading || s->reading->next == s->reading->n) {
        batch_free(s->reading);
        s->reading = NULL;
        *ret = NULL;
        if (!queue_pop(s->queue, &p)) {
            if (s->err.code == ERR_NONE) return 0;
            *err = s->err;
            return -(int)err->code;
        }
        s->reading = p;
    }
    *ret = &s->reading->heads[s->reading->next];
    return 0;
}

static int attributes_differ(const struct surface_driver *d, const struct item_head *a, const struct item_head *b,
                             bool *ret, struct error *err) {
    json_auto_t *x = NULL;
    json_auto_t *y = NULL;
    *ret = false;
    if (bytes_equal(a->attr, b->attr)) return 0;
    int rc = d->describe(a->name, a->attr, &x, err);
    if (rc == 0) rc = d->describe(b->name, b->attr, &y, err);
    if (rc == 0) *ret = !json_equal(x, y);
    return rc;
}

struct ids {
    struct buf b;
    size_t at;
};

static int id_keep(void *ctx, const struct digest *id, uint32_t len, struct error *err) {
    struct ids *ids = ctx;
    (void)len;
    return buf_append(&ids->b, id->b, sizeof id->b, err);
}

/* 1: another one. */
static int id_compare(void *ctx, const struct digest *id, uint32_t len, struct error *err) {
    struct ids *ids = ctx;
    (void)len, (void)err;
    const size_t at = ids->at;
    ids->at += sizeof id->b;
    return ids->at > ids->b.len || memcmp(ids->b.ptr + at, id->b, sizeof id->b) != 0;
}

/* Of two contents whose digests are of different kinds: by their chunks, which are cut alike. Those of other epochs
 * have other ids, so this may say that what is the same differs; nobody would read it all to know. */
static int chunks_differ(struct side *x, const struct item_head *a, struct side *y, const struct item_head *b,
                         bool *ret, struct error *err) {
    struct ids ids = {.b = BUF_INIT(1u << 30)};
    int rc = ritem_chunks(x->snapshot, a, id_keep, &ids, err);
    if (rc == 0) rc = ritem_chunks(y->snapshot, b, id_compare, &ids, err);
    *ret = rc == 1 || ids.at != ids.b.len;
    buf_free(&ids.b);
    return rc < 0 ? rc : 0;
}

static int content_differs(struct side *x, const struct item_head *a, struct side *y, const struct item_head *b,
                           bool *ret, struct error *err) {
    if (a->kind == CONTENT_NONE && b->kind == CONTENT_NONE) return 0;
    *ret = a->bytes != b->bytes || !digest_equal(&a->sha256, &b->sha256) || a->kind != b->kind;
    if (a->kind == b->kind || a->bytes != b->bytes || !content_is_pages(a->kind) || !content_is_pages(b->kind))
        return 0;
    return chunks_differ(x, a, y, b, ret, err);
}

static int compare(const struct surface_driver *d, struct side *x, const struct item_head *a, struct side *y,
                   const struct item_head *b, change_cb cb, void *ctx, struct diff_totals *t, struct error *err) {
    bool attributes, content = false;
    int rc = content_differs(x, a, y, b, &content, err);
    if (rc == 0) rc = attributes_differ(d, a, b, &attributes, err);
    if (rc < 0) return rc;
    if (!content && !attributes) {
        t->same++;
        return 0;
    }
    t->changed++;
    struct change c = {content && attributes ? CHANGE_BOTH : content ? CHANGE_CONTENT : CHANGE_ATTRIBUTES, a, b};
    return cb(ctx, d, &c, err);
}

static int merge(const struct surface_driver *d, struct side *a, struct side *b, change_cb cb, void *ctx,
                 struct diff_totals *t, struct error *err) {
    const struct item_head *x = NULL, *y = NULL;
    for (;;) {
        int rc = side_peek(a, &x, err);
        if (rc == 0) rc = side_peek(b, &y, err);
        if (rc < 0 || (!x && !y)) return rc;
        int order = !x ? 1 : !y ? -1 : name_compare(x->name, y->name);
        if (order == 0) {
            rc = compare(d, a, x, b, y, cb, ctx, t, err);
        } else {
            struct change c = {order < 0 ? CHANGE_REMOVED : CHANGE_ADDED, order < 0 ? x : NULL, order < 0 ? NULL : y};
            *(order < 0 ? &t->removed : &t->added) += 1;
            *(order < 0 ? &t->bytes_removed : &t->bytes_added) += (order < 0 ? x : y)->bytes;
            rc = cb(ctx, d, &c, err);
        }
        if (rc != 0) return rc;
        if (order <= 0) a->reading->next++;
        if (order >= 0) b->reading->next++;
    }
}

int inspect_diff(struct work *w, const struct snapshot_info *a, const struct snapshot_info *b, change_cb cb, void *ctx,
                 struct diff_totals *ret, struct error *err) {
    const struct surface_driver *d = surface_find(a->kind);
    struct side x = {0}, y = {0};
    *ret = (struct diff_totals){0};
    if (strcmp(a->kind, b->kind) != 0)
        return error_set(err, ERR_USAGE, "%s is of kind %s and %s is of kind %s: they cannot be compared", a->id,
                         a->kind, b->id, b->kind);
    if (!d)
        return error_set(err, ERR_FORMAT_VERSION, "snapshot %s is of kind '%s', which this version does not know",
                         a->id, a->kind);
    int rc = side_open(&x, w, a, err);
    if (rc == 0) rc = side_open(&y, w, b, err);
    if (rc == 0) rc = merge(d, &x, &y, cb, ctx, ret, err);
    side_close(&x);
    side_close(&y);
    return rc;
}
