/* What drivers write to and read from, over the repository. Names are the same on both sides; nothing is decided here.
 */
#include "work/context.h"

_Static_assert((int)ITEM_FILE == (int)CONTENT_FILE && (int)ITEM_OPAQUE == (int)CONTENT_OPAQUE &&
                   (int)ITEM_PAGES == (int)CONTENT_PAGES && (int)ITEM_RECORDS == (int)CONTENT_RECORDS &&
                   (int)ITEM_NONE == (int)CONTENT_NONE && (int)ITEM_PARTS == (int)CONTENT_PARTS,
               "item kinds and content kinds are the same numbers");
_Static_assert(SINK_ANY_ORDER == WRITER_ANY_ORDER, "one number says that items come in any order");

static struct writer *writer_of(struct sink *s) {
    return ((struct work_sink *)s)->writer;
}

static bool known(struct sink *s, struct bytes name, struct item_known *ret) {
    struct known_item k;
    if (!writer_known(writer_of(s), name, &k)) return false;
    *ret = (struct item_known){k.attr, (enum item_kind)k.kind, k.bytes, k.sha256};
    return true;
}

static int keep(struct sink *s, uint64_t seq, struct bytes name, struct bytes attr, struct error *err) {
    return writer_keep(writer_of(s), seq, name, attr, err);
}

static int item_open(struct sink *s, uint64_t seq, struct bytes name, enum item_kind kind, struct sink_item **ret,
                     struct error *err) {
    return writer_item_open(writer_of(s), seq, name, (enum content_kind)kind, (struct witem **)ret, err);
}

static int hold(struct sink *s, uint64_t seq, struct bytes name, struct sink_item **ret, struct error *err) {
    return writer_item_hold(writer_of(s), seq, name, (struct witem **)ret, err);
}

static int confirm(struct sink_item *it, struct bytes attr, struct error *err) {
    return witem_confirm((struct witem *)it, attr, err);
}

static int space(struct sink_item *it, uint8_t **ret, size_t *ret_len, struct error *err) {
    return witem_space((struct witem *)it, ret, ret_len, err);
}
static int advance(struct sink_item *it, size_t n, struct error *err) {
    return witem_advance((struct witem *)it, n, err);
}
static int hole(struct sink_item *it, uint64_t len, struct error *err) {
    return witem_hole((struct witem *)it, len, err);
}
static int restart(struct sink_item *it, struct error *err) {
    return witem_restart((struct witem *)it, err);
}
static int item_close(struct sink_item *it, struct bytes attr, struct digest *sha, struct error *err) {
    return witem_close((struct witem *)it, attr, sha, err);
}
static void drop(struct sink_item *it) {
    witem_drop((struct witem *)it);
}

static int again(struct sink *s, struct bytes name, struct item_known *ret_known, struct sink_item **ret,
                 struct error *err) {
    struct known_item k = {0};
    int rc = writer_item_again(writer_of(s), name, &k, (struct witem **)ret, err);
    if (rc == 0) *ret_known = (struct item_known){.kind = (enum item_kind)k.kind, .bytes = k.bytes, .sha256 = k.sha256};
    return rc;
}

static int was(struct sink_item *it, uint64_t at, uint8_t *out, size_t n, struct error *err) {
    return witem_was((struct witem *)it, at, out, n, err);
}

static const struct sink_ops sink_table = {known,      keep, item_open, space,   advance, hole, restart,
                                           item_close, drop, hold,      confirm, again,   was};

void work_sink_init(struct work_sink *s, struct writer *w) {
    *s = (struct work_sink){{&sink_table}, w};
}

struct walk {
    int (*cb)(void *, const struct source_head *, struct error *);
    void *ctx;
};

static int walk_item(void *ctx, const struct item_head *h, struct error *err) {
    struct walk *w = ctx;
    struct source_head s = {h->name, h->attr, (enum item_kind)h->kind, h->bytes, h->sha256, h->ordinal};
    return w->cb(w->ctx, &s, err);
}

static int source_walk(struct source *s, struct bytes prefix,
                       int (*cb)(void *, const struct source_head *, struct error *), void *ctx, struct error *err) {
    struct walk w = {cb, ctx};
    return snapshot_walk(((struct work_source *)s)->snapshot, prefix, walk_item, &w, err);
}

static int source_open(struct source *s, const struct source_head *h, struct source_item **ret, struct error *err) {
    struct item_head i = {h->name, h->attr, (enum content_kind)h->kind, h->bytes, h->sha256, h->ordinal};
    struct work_source *w = (struct work_source *)s;
    if (!atomic_load(&w->told) || snapshot_retell(w->snapshot)) snapshot_expect(w->snapshot, &i);
    return ritem_open(w->snapshot, &i, (struct ritem **)ret, err);
}

static void source_expect(struct source *s, const struct source_head *h) {
    struct item_head i = {h->name, h->attr, (enum content_kind)h->kind, h->bytes, h->sha256, h->ordinal};
    struct work_source *w = (struct work_source *)s;
    atomic_store(&w->told, true);
    snapshot_expect(w->snapshot, &i);
}

static int source_next(struct source_item *it, struct bytes *ret, struct error *err) {
    return ritem_next((struct ritem *)it, ret, err);
}
static void source_close(struct source_item *it) {
    ritem_close((struct ritem *)it);
}

static int source_peek(struct source_item *it, struct extent *ret, struct error *err) {
    struct ritem_extent e;
    int rc = ritem_peek((struct ritem *)it, &e, err);
    if (rc == 0) *ret = (struct extent){e.at, e.len, e.hole};
    return rc;
}
static int source_match(struct source_item *it, struct bytes have, bool *ret, struct error *err) {
    return ritem_match((struct ritem *)it, have, ret, err);
}

static void source_late(struct source_item *it) {
    ritem_late((struct ritem *)it);
}

static void source_apart(struct source_item *it) {
    ritem_apart((struct ritem *)it);
}

static int source_seek(struct source_item *it, uint64_t at, struct error *err) {
    return ritem_seek((struct ritem *)it, at, err);
}

static const struct source_ops source_table = {source_walk, source_open,  source_next, source_close, source_expect,
                                               source_peek, source_match, source_late, source_apart, source_seek};

void work_source_init(struct work_source *s, struct snapshot *snapshot) {
    *s = (struct work_source){.source = {&source_table}, .snapshot = snapshot};
}
