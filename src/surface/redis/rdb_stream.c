#include "surface/redis/rdb.h"

/* Streams of the three encodings that there have been. The nodes come back byte for byte, so they are digested as they
 * are; what later encodings added (first id, counters, when a consumer was active) is made up by a server that loads an
 * earlier one, and is left out. */
enum { STREAM_1 = 15, STREAM_2 = 19, STREAM_3 = 21 };

static int lengths(struct rdb_in *in, unsigned n, struct mix *m, struct error *err) {
    int r = 0;
    while (r == 0 && n--) {
        uint64_t v;
        r = rdb_plain_length(in, &v, err);
        if (r == 0 && m) mix_u64(m, v);
    }
    return r;
}

static int raw(struct rdb_in *in, size_t n, struct mix *m, struct error *err) {
    uint8_t b[16];
    int r = rdb_take(in, b, n, err);
    if (r == 0 && m) mix_part(m, BYTES_OF(b, n));
    return r;
}

static int text(struct rdb_in *in, struct mix *m, struct error *err) {
    struct hash128 h;
    int r = rdb_string_hash(in, &h, err);
    if (r == 0) mix_hash(m, h);
    return r;
}

static int consumer(struct rdb_in *in, uint8_t type, struct mix *m, struct error *err) {
    uint64_t n = 0;
    int r = text(in, m, err);
    if (r == 0) r = raw(in, 8, NULL, err); /* when it was last seen: every reader moves it */
    if (r == 0 && type == STREAM_3) r = raw(in, 8, NULL, err);
    if (r == 0) r = rdb_plain_length(in, &n, err);
    for (; r == 0 && n; n--) r = raw(in, 16, m, err);
    return r;
}

static int group(struct rdb_in *in, uint8_t type, struct mix *m, struct error *err) {
    uint64_t n = 0;
    int r = text(in, m, err);
    if (r == 0) r = lengths(in, 2, m, err); /* the last id that was delivered */
    if (r == 0 && type != STREAM_1) r = lengths(in, 1, NULL, err);
    if (r == 0) r = rdb_plain_length(in, &n, err);
    for (; r == 0 && n; n--) { /* what is pending: id, when it was delivered, how often */
        r = raw(in, 16, m, err);
        if (r == 0) r = raw(in, 8, m, err);
        if (r == 0) r = lengths(in, 1, m, err);
    }
    if (r == 0) r = rdb_plain_length(in, &n, err);
    for (; r == 0 && n; n--) r = consumer(in, type, m, err);
    return r;
}

int rdb_stream(struct rdb_in *in, uint8_t type, struct hash128 *ret, struct error *err) {
    struct mix m;
    uint64_t n = 0;
    mix_begin(&m);
    int r = rdb_plain_length(in, &n, err);
    for (; r == 0 && n; n--) { /* a node: its first id, and its entries */
        r = text(in, &m, err);
        if (r == 0) r = text(in, &m, err);
    }
    if (r == 0) r = lengths(in, 3, &m, err); /* entries, last id */
    if (r == 0 && type != STREAM_1) r = lengths(in, 5, NULL, err);
    if (r == 0) r = rdb_plain_length(in, &n, err);
    for (; r == 0 && n; n--) r = group(in, type, &m, err);
    if (r == 0) *ret = mix_end(&m);
    return r;
}
