/* A store that counts what is asked of another, by the first part of the key. */
#ifndef PK_TEST_LEDGER_COUNTING_H
#define PK_TEST_LEDGER_COUNTING_H

#include "store/store.h"
#include <string.h>

struct counting {
    struct store base; /* first */
    struct store *under;
    unsigned log_reads, bundle_reads, tile_reads, summary_reads, checkpoint_reads, other_reads, stats, lists, writes;
};

static inline struct store *counting_under(struct store *s) {
    return ((struct counting *)(void *)s)->under;
}

static int counting_stage(struct store *s, const char *key, const struct bytes *parts, size_t n, struct error *err) {
    return store_stage(counting_under(s), key, parts, n, err);
}
static int counting_commit(struct store *s, struct error *err) {
    return store_commit(counting_under(s), err);
}
static int counting_create(struct store *s, const char *key, struct bytes content, struct error *err) {
    ((struct counting *)(void *)s)->writes++;
    return store_create(counting_under(s), key, content, err);
}
static int counting_replace(struct store *s, const char *key, struct bytes content, struct error *err) {
    ((struct counting *)(void *)s)->writes++;
    return store_replace(counting_under(s), key, content, err);
}
static int counting_read(struct store *s, const char *key, uint64_t at, void *p, size_t len, size_t *ret_n,
                         struct error *err) {
    struct counting *c = (struct counting *)(void *)s;
    unsigned *n = strncmp(key, "log/", 4) == 0             ? &c->log_reads
                  : strncmp(key, "tile/entries/", 13) == 0 ? &c->bundle_reads
                  : strncmp(key, "tile/", 5) == 0          ? &c->tile_reads
                  : strncmp(key, "summary/", 8) == 0       ? &c->summary_reads
                  : strcmp(key, "checkpoint") == 0         ? &c->checkpoint_reads
                                                           : &c->other_reads;
    if (at == 0) ++*n; /* one object, however many pieces */
    return store_read(counting_under(s), key, at, p, len, ret_n, err);
}
static int counting_stat(struct store *s, const char *key, uint64_t *ret_bytes, int64_t *ret_ns, struct error *err) {
    ((struct counting *)(void *)s)->stats++;
    return store_stat(counting_under(s), key, ret_bytes, ret_ns, err);
}
static int counting_list(struct store *s, const char *prefix, store_list_cb cb, void *ctx, struct error *err) {
    ((struct counting *)(void *)s)->lists++;
    return store_list(counting_under(s), prefix, cb, ctx, err);
}
static int counting_remove(struct store *s, const char *key, struct error *err) {
    return store_remove(counting_under(s), key, err);
}
static int counting_free_space(struct store *s, uint64_t *ret, struct error *err) {
    return store_free_space(counting_under(s), ret, err);
}
static void counting_close(struct store *s) {
    (void)s;
}

static const struct store_ops counting_ops = {
    .name = "counting",
    .promises = STORE_ATOMIC_CREATE | STORE_READ_AFTER_WRITE | STORE_LIST_AFTER_WRITE,
    .stage = counting_stage,
    .commit = counting_commit,
    .create = counting_create,
    .replace = counting_replace,
    .read = counting_read,
    .stat = counting_stat,
    .list = counting_list,
    .remove = counting_remove,
    .free_space = counting_free_space,
    .close = counting_close,
};

static inline void counting_init(struct counting *c, struct store *under) {
    *c = (struct counting){.base = {&counting_ops}, .under = under};
}

#endif
