/* The reader of RDB streams: whatever the bytes, a whole stream or an error; and what it copied of a value is just what
 * the value was, so that it digests the same when it is read alone. */
#include "surface/redis/rdb.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(int holds) {
    if (!holds) abort();
}

struct feed {
    struct bytes left;
    size_t at_once;
};

static int feed_read(void *ctx, uint8_t *p, size_t n, size_t *ret_n, struct error *err) {
    struct feed *f = ctx;
    (void)err;
    if (n > f->left.len) n = f->left.len;
    if (n > f->at_once) n = f->at_once;
    *ret_n = n;
    if (n == 0) return 0;
    memcpy(p, f->left.ptr, n);
    f->left.ptr += n;
    f->left.len -= n;
    return 0;
}

struct seen {
    struct buf value;
    uint8_t type;
    uint64_t keys;
};

static int on_key(void *ctx, const struct rdb_key *k, struct error *err) {
    struct seen *s = ctx;
    (void)err;
    s->type = k->type;
    buf_clear(&s->value);
    return 0;
}

static int on_value(void *ctx, struct bytes raw, struct error *err) {
    struct seen *s = ctx;
    return buf_append(&s->value, raw.ptr, raw.len, err);
}

static int on_key_end(void *ctx, enum rdb_class c, struct hash128 content, struct error *err) {
    struct seen *s = ctx;
    struct feed f = {buf_bytes(&s->value), 3};
    struct rdb_in in;
    enum rdb_class again;
    struct hash128 same;
    int r = rdb_in_open(&in, feed_read, &f, err);
    if (r < 0) return r;
    need(c < RDB_CLASSES);
    need(rdb_value(&in, s->type, &again, &same, err) == 0);
    need(rdb_offset(&in) == s->value.len);
    need(again == c && same.lo == content.lo && same.hi == content.hi);
    rdb_in_close(&in);
    s->keys++;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct error err = ERROR_INIT;
    struct seen s = {.value = BUF_INIT(64u << 20)};
    struct feed f = {BYTES_OF(data, size), 1 + size % 7 * 100};
    struct rdb_events ev = {.ctx = &s, .key = on_key, .value = on_value, .key_end = on_key_end};
    struct rdb_facts facts;
    struct rdb_in in;
    if (rdb_in_open(&in, feed_read, &f, &err) < 0) return 0;
    int r = rdb_walk(&in, &ev, &facts, &err);
    need(r <= 0 && (r == 0) == (err.code == ERR_NONE));
    if (r == 0) need(facts.keys == s.keys && facts.bytes <= size);
    rdb_in_close(&in);
    buf_free(&s.value);
    return 0;
}
