#include "pg_snapshot.h"

#include "base/seam.h"
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#define SPACE_BYTES (256u << 10)
#define WINDOW 64

struct sink_item {
    struct snapshot *s;
    uint64_t seq;
    uint8_t *space;
};
struct source_item {
    struct snapshot *s;
    const struct snapshot_item *item;
    size_t at;
};

static void need(bool holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "# the driver broke the sink's contract: %s\n", what);
    abort();
}

static bool sink_known(struct sink *k, struct bytes name, struct item_known *ret) {
    (void)k, (void)name, (void)ret;
    return false;
}

static int sink_keep(struct sink *k, uint64_t seq, struct bytes name, struct bytes attr, struct error *err) {
    (void)k, (void)seq, (void)name, (void)attr;
    return error_set(err, ERR_INTERNAL, "nothing was known");
}

static int sink_open(struct sink *k, uint64_t seq, struct bytes name, enum item_kind kind, struct sink_item **ret,
                     struct error *err) {
    struct snapshot *s = (struct snapshot *)k;
    (void)err;
    pthread_mutex_lock(&s->lock);
    need(seq < SNAPSHOT_ITEMS_MAX && !s->items[seq].opened, "a number is used once");
    while (seq >= s->oldest + WINDOW) pthread_cond_wait(&s->moved, &s->lock);
    struct snapshot_item *it = &s->items[seq];
    *it = (struct snapshot_item){.name = strndup((const char *)name.ptr, name.len),
                                 .kind = kind,
                                 .opened = true,
                                 .attr = BUF_INIT(1 << 20),
                                 .content = BUF_INIT(SIZE_MAX / 2)};
    need(it->name != NULL, "memory");
    need(seq == 0 || !it[-1].opened || name_compare(BYTES_STR(it[-1].name), name) < 0, "names ascend");
    need(!it[1].opened || name_compare(name, BYTES_STR(it[1].name)) < 0, "names ascend");
    if (s->count <= seq) s->count = seq + 1;
    if (++s->open_now > s->open_most) s->open_most = s->open_now;
    pthread_mutex_unlock(&s->lock);
    *ret = calloc(1, sizeof **ret);
    need(*ret != NULL, "memory");
    (*ret)->s = s;
    (*ret)->seq = seq;
    (*ret)->space = malloc(SPACE_BYTES);
    return 0;
}

static int sink_space(struct sink_item *it, uint8_t **ret, size_t *ret_len, struct error *err) {
    pthread_mutex_lock(&it->s->lock);
    bool full = it->s->fail_at && it->s->bytes >= it->s->fail_at;
    pthread_mutex_unlock(&it->s->lock);
    if (full) return error_set(err, ERR_IO_FULL, "the store is full");
    *ret = it->space;
    *ret_len = SPACE_BYTES;
    return 0;
}

static int sink_advance(struct sink_item *it, size_t n, struct error *err) {
    struct snapshot *s = it->s;
    need(n <= SPACE_BYTES, "no more than the space");
    pthread_mutex_lock(&s->lock);
    s->bytes += n;
    void (*call)(void *) = s->bytes >= s->at ? s->at_bytes : NULL;
    if (call) s->at_bytes = NULL;
    pthread_mutex_unlock(&s->lock);
    if (call) call(s->at_ctx);
    return s->discard ? 0 : buf_append(&s->items[it->seq].content, it->space, n, err);
}

static int sink_hole(struct sink_item *it, uint64_t len, struct error *err) {
    (void)it, (void)len;
    return error_set(err, ERR_INTERNAL, "dumps have no holes");
}

static int sink_restart(struct sink_item *it, struct error *err) {
    (void)it;
    return error_set(err, ERR_INTERNAL, "a dump is read once");
}

static void item_free(struct sink_item *it) {
    struct snapshot *s = it->s;
    pthread_mutex_lock(&s->lock);
    s->items[it->seq].done = true;
    while (s->oldest < s->count && s->items[s->oldest].done) s->oldest++;
    s->open_now--;
    pthread_cond_broadcast(&s->moved);
    pthread_mutex_unlock(&s->lock);
    free(it->space);
    free(it);
}

static int sink_close(struct sink_item *it, struct bytes attr, struct digest *ret_sha256, struct error *err) {
    struct snapshot_item *item = &it->s->items[it->seq];
    int r = buf_append(&item->attr, attr.ptr, attr.len, err);
    sha256(buf_bytes(&item->content), &item->sha256);
    if (ret_sha256) *ret_sha256 = item->sha256;
    item_free(it);
    return r;
}

static void sink_drop(struct sink_item *it) {
    if (!it) return;
    it->s->items[it->seq].dropped = true;
    item_free(it);
}

static int source_walk(struct source *k, struct bytes prefix,
                       int (*cb)(void *, const struct source_head *, struct error *), void *ctx, struct error *err) {
    struct snapshot *s = (struct snapshot *)((char *)k - offsetof(struct snapshot, source));
    for (size_t i = 0; i < s->count; i++) {
        const struct snapshot_item *it = &s->items[i];
        if (it->dropped || strncmp(it->name, (const char *)prefix.ptr, prefix.len) != 0) continue;
        struct source_head h = {BYTES_STR(it->name), buf_bytes(&it->attr), it->kind, it->content.len, it->sha256, i};
        int r = cb(ctx, &h, err);
        if (r < 0) return r;
    }
    return 0;
}

static int source_open(struct source *k, const struct source_head *h, struct source_item **ret, struct error *err) {
    struct snapshot *s = (struct snapshot *)((char *)k - offsetof(struct snapshot, source));
    (void)err;
    *ret = calloc(1, sizeof **ret);
    need(*ret != NULL, "memory");
    **ret = (struct source_item){s, &s->items[h->ordinal], 0};
    return 0;
}

static int source_next(struct source_item *it, struct bytes *ret, struct error *err) {
    const struct buf *b = &it->item->content;
    size_t n = b->len - it->at;
    if (n > it->s->piece) n = it->s->piece;
    if (n == 0) {
        struct digest now;
        sha256(buf_bytes(b), &now);
        *ret = (struct bytes){0};
        return digest_equal(&now, &it->item->sha256) ? 0
                                                     : error_set(err, ERR_RESTORE_DIFFERS, "the content was altered");
    }
    *ret = BYTES_OF(b->ptr + it->at, n);
    it->at += n;
    return 0;
}

static void source_close(struct source_item *it) {
    free(it);
}

void snapshot_init(struct snapshot *s) {
    static const struct sink_ops sink_ops = {sink_known, sink_keep,    sink_open,  sink_space, sink_advance,
                                             sink_hole,  sink_restart, sink_close, sink_drop};
    static const struct source_ops source_ops = {source_walk, source_open, source_next, source_close, NULL};
    *s = (struct snapshot){.sink = {&sink_ops},
                           .source = {&source_ops},
                           .items = calloc(SNAPSHOT_ITEMS_MAX + 1, sizeof *s->items),
                           .piece = 5003};
    need(s->items != NULL, "memory");
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->moved, NULL);
}

bool snapshot_whole(const struct snapshot *s) {
    return s->oldest == s->count && s->open_now == 0;
}

void snapshot_free(struct snapshot *s) {
    for (size_t i = 0; i < s->count; i++) {
        free(s->items[i].name);
        buf_free(&s->items[i].attr);
        buf_free(&s->items[i].content);
    }
    free(s->items);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->moved);
    *s = (struct snapshot){0};
}

const struct snapshot_item *snapshot_find(const struct snapshot *s, const char *name) {
    for (size_t i = 0; i < s->count; i++)
        if (!strcmp(s->items[i].name, name)) return &s->items[i];
    return NULL;
}
