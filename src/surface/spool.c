#include "surface/spool.h"

#include "base/seam.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define PIECE_BYTES (256u << 10)

struct kept {
    uint64_t seq, bytes;
    char *name;
    uint8_t *attr;
    size_t attr_len;
    enum item_kind kind;
    struct digest sha256;
};
struct spool {
    struct sink sink;
    struct source source;
    int dirfd;
    pthread_mutex_t lock; /* what follows */
    struct kept *items;
    size_t n, cap;
    bool sorted;
};
struct sink_item {
    struct spool *s;
    struct kept k;
    int fd;
    struct sha256_state *sha;
    uint8_t *piece;
};
struct source_item {
    struct spool *s;
    const struct kept *k;
    int fd;
    uint64_t at;
    struct sha256_state *sha;
    uint8_t *piece;
};

static void file_of(uint64_t seq, char out[24]) {
    snprintf(out, 24, "%llu", (unsigned long long)seq);
}

/* ---- in ---- */

static bool sink_known(struct sink *k, struct bytes name, struct item_known *ret) {
    (void)k, (void)name, (void)ret;
    return false;
}

static int sink_keep(struct sink *k, uint64_t seq, struct bytes name, struct bytes attr, struct error *err) {
    (void)k, (void)seq, (void)name, (void)attr;
    return error_set(err, ERR_INTERNAL, "a spool knows nothing to keep");
}

static void item_free(struct sink_item *it) {
    io_close(&it->fd);
    seam_free(it->k.name);
    seam_free(it->k.attr);
    sha256_free(it->sha);
    seam_free(it->piece);
    seam_free(it);
}

static int sink_open(struct sink *k, uint64_t seq, struct bytes name, enum item_kind kind, struct sink_item **ret,
                     struct error *err) {
    struct spool *s = (struct spool *)((char *)k - offsetof(struct spool, sink));
    struct sink_item *it;
    char file[24];
    if (seq == SINK_ANY_ORDER) return error_set(err, ERR_INTERNAL, "a spool wants its items in order");
    int rc = mem_alloc(sizeof *it, (void **)&it, err);
    if (rc < 0) return rc;
    *it = (struct sink_item){.s = s, .k = {.seq = seq, .kind = kind}, .fd = -1};
    rc = mem_alloc(name.len + 1, (void **)&it->k.name, err);
    if (rc == 0 && name.len) memcpy(it->k.name, name.ptr, name.len);
    if (rc == 0) rc = mem_alloc(PIECE_BYTES, (void **)&it->piece, err);
    if (rc == 0) rc = sha256_new(&it->sha, err);
    file_of(seq, file);
    if (rc == 0) it->fd = seam_openat(s->dirfd, file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (rc == 0 && it->fd < 0) rc = error_set_errno(err, ERR_IO_WRITE, "make a file for %s", it->k.name);
    if (rc < 0)
        item_free(it);
    else
        *ret = it;
    return rc;
}

static int sink_space(struct sink_item *it, uint8_t **ret, size_t *ret_len, struct error *err) {
    (void)err;
    *ret = it->piece;
    *ret_len = PIECE_BYTES;
    return 0;
}

static int sink_advance(struct sink_item *it, size_t n, struct error *err) {
    sha256_update(it->sha, BYTES_OF(it->piece, n));
    it->k.bytes += n;
    return io_write_full(it->fd, it->piece, n, it->k.name, err);
}

static int sink_hole(struct sink_item *it, uint64_t len, struct error *err) {
    (void)it, (void)len;
    return error_set(err, ERR_INTERNAL, "a spool keeps no holes");
}

static int sink_restart(struct sink_item *it, struct error *err) {
    (void)it;
    return error_set(err, ERR_INTERNAL, "what is spooled is read once");
}

static int sink_close(struct sink_item *it, struct bytes attr, struct digest *ret_sha256, struct error *err) {
    struct spool *s = it->s;
    int rc = mem_dup(attr.ptr, attr.len, (void **)&it->k.attr, err);
    it->k.attr_len = attr.len;
    sha256_finish(it->sha, &it->k.sha256);
    if (ret_sha256) *ret_sha256 = it->k.sha256;
    pthread_mutex_lock(&s->lock);
    if (rc == 0) rc = mem_grow((void **)&s->items, &s->cap, s->n + 1, sizeof *s->items, err);
    if (rc == 0) {
        s->items[s->n++] = it->k;
        it->k.name = NULL;
        it->k.attr = NULL;
    }
    pthread_mutex_unlock(&s->lock);
    item_free(it);
    return rc;
}

static void sink_drop(struct sink_item *it) {
    char file[24];
    if (!it) return;
    file_of(it->k.seq, file);
    (void)!seam_unlinkat(it->s->dirfd, file, 0);
    item_free(it);
}

/* ---- out ---- */

static int by_seq(const void *a, const void *b) {
    uint64_t x = ((const struct kept *)a)->seq, y = ((const struct kept *)b)->seq;
    return (x > y) - (x < y);
}

static struct spool *of_source(struct source *k) {
    return (struct spool *)((char *)k - offsetof(struct spool, source));
}

static int source_walk(struct source *k, struct bytes prefix,
                       int (*cb)(void *ctx, const struct source_head *, struct error *), void *ctx, struct error *err) {
    struct spool *s = of_source(k);
    pthread_mutex_lock(&s->lock);
    if (!s->sorted && s->n) qsort(s->items, s->n, sizeof *s->items, by_seq);
    s->sorted = true;
    pthread_mutex_unlock(&s->lock);
    for (size_t i = 0; i < s->n; i++) {
        const struct kept *it = &s->items[i];
        if (prefix.len && strncmp(it->name, (const char *)prefix.ptr, prefix.len) != 0) continue;
        struct source_head h = {
            BYTES_STR(it->name), BYTES_OF(it->attr, it->attr_len), it->kind, it->bytes, it->sha256, i};
        int rc = cb(ctx, &h, err);
        if (rc != 0) return rc;
    }
    return 0;
}

static void source_close(struct source_item *it) {
    if (!it) return;
    io_close(&it->fd);
    sha256_free(it->sha);
    seam_free(it->piece);
    seam_free(it);
}

static int source_open(struct source *k, const struct source_head *h, struct source_item **ret, struct error *err) {
    struct spool *s = of_source(k);
    struct source_item *it;
    char file[24];
    int rc = mem_alloc(sizeof *it, (void **)&it, err);
    if (rc < 0) return rc;
    *it = (struct source_item){.s = s, .k = &s->items[h->ordinal], .fd = -1};
    rc = mem_alloc(PIECE_BYTES, (void **)&it->piece, err);
    if (rc == 0) rc = sha256_new(&it->sha, err);
    file_of(it->k->seq, file);
    if (rc == 0) it->fd = seam_openat(s->dirfd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
    if (rc == 0 && it->fd < 0) rc = error_set_errno(err, ERR_IO_READ, "open what was spooled of %s", it->k->name);
    if (rc < 0)
        source_close(it);
    else
        *ret = it;
    return rc;
}

static int source_next(struct source_item *it, struct bytes *ret, struct error *err) {
    struct digest now;
    size_t n = 0;
    int rc = io_read_full(it->fd, it->piece, PIECE_BYTES, &n, it->k->name, err);
    if (rc < 0) return rc;
    it->at += n;
    *ret = BYTES_OF(it->piece, n);
    if (n) {
        sha256_update(it->sha, *ret);
        return 0;
    }
    sha256_finish(it->sha, &now);
    if (it->at == it->k->bytes && digest_equal(&now, &it->k->sha256)) return 0;
    return error_set(err, ERR_RESTORE_DIFFERS, "what was spooled of %s is not what was captured", it->k->name);
}

/* ---- all ---- */

int spool_new(const char *folder, struct spool **ret, struct error *err) {
    static const struct sink_ops in = {sink_known, sink_keep,    sink_open,  sink_space, sink_advance,
                                       sink_hole,  sink_restart, sink_close, sink_drop};
    static const struct source_ops out = {source_walk, source_open, source_next, source_close, NULL, NULL, NULL, NULL};
    struct spool *s;
    int rc = mem_alloc(sizeof *s, (void **)&s, err);
    if (rc < 0) return rc;
    s->sink.ops = &in;
    s->source.ops = &out;
    s->dirfd = seam_openat(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW, 0);
    if (s->dirfd < 0) {
        rc = error_set_errno(err, ERR_IO_READ, "open %s", folder);
        seam_free(s);
        return rc;
    }
    pthread_mutex_init(&s->lock, NULL);
    *ret = s;
    return 0;
}

struct sink *spool_sink(struct spool *s) {
    return &s->sink;
}

struct source *spool_source(struct spool *s) {
    return &s->source;
}

uint64_t spool_bytes(const struct spool *s) {
    uint64_t all = 0;
    for (size_t i = 0; i < s->n; i++) all += s->items[i].bytes;
    return all;
}

void spool_free(struct spool *s) {
    char file[24];
    if (!s) return;
    for (size_t i = 0; i < s->n; i++) {
        file_of(s->items[i].seq, file);
        (void)!seam_unlinkat(s->dirfd, file, 0);
        seam_free(s->items[i].name);
        seam_free(s->items[i].attr);
    }
    seam_free(s->items);
    pthread_mutex_destroy(&s->lock);
    io_close(&s->dirfd);
    seam_free(s);
}
