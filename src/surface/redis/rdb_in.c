#include "surface/redis/rdb_in.h"

#include "base/seam.h"
#include "surface/redis/crc64.h"
#include <stdio.h>

int rdb_in_open(struct rdb_in *in, rdb_read read, void *ctx, struct error *err) {
    void *buf;
    *in = (struct rdb_in){.read = read, .ctx = ctx};
    int r = mem_alloc(RDB_IN_BYTES, &buf, err);
    if (r == 0) in->buf = buf;
    return r;
}

void rdb_in_close(struct rdb_in *in) {
    seam_free(in->buf);
    seam_free(in->window);
    *in = (struct rdb_in){0};
}

int rdb_bad(const struct rdb_in *in, struct error *err, const char *fmt, ...) {
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return error_set(err, ERR_REDIS_RDB, "%s, at byte %llu of the stream", text, (unsigned long long)rdb_offset(in));
}

uint64_t rdb_in_crc(struct rdb_in *in) {
    in->crc = redis_crc64(in->crc, BYTES_OF(in->buf + in->crc_at, in->at - in->crc_at));
    in->crc_at = in->at;
    return in->crc;
}

static int hand_over(struct rdb_in *in, struct error *err) {
    struct bytes more = BYTES_OF(in->buf + in->copy_at, in->at - in->copy_at);
    in->copy_at = in->at;
    return in->copying && more.len ? in->copy(in->copy_ctx, more, err) : 0;
}

int rdb_in_fill(struct rdb_in *in, size_t n, struct error *err) {
    int r = hand_over(in, err);
    if (r < 0) return r;
    rdb_in_crc(in);
    memmove(in->buf, in->buf + in->at, in->end - in->at);
    in->past += in->at;
    in->end -= in->at;
    in->at = in->crc_at = in->copy_at = 0;
    while (in->end < n) {
        size_t got = 0;
        if (!in->ended && (r = in->read(in->ctx, in->buf + in->end, RDB_IN_BYTES - in->end, &got, err)) < 0) return r;
        if (got == 0) {
            in->ended = true;
            return error_set(err, ERR_SOURCE_TRUNCATED, "the stream ends at byte %llu, before its end mark",
                             (unsigned long long)(in->past + in->end));
        }
        in->end += got;
    }
    return 0;
}

int rdb_take(struct rdb_in *in, void *out, size_t n, struct error *err) {
    int r = rdb_need(in, n, err);
    if (r < 0) return r;
    memcpy(out, in->buf + in->at, n);
    in->at += n;
    return 0;
}

int rdb_piece(struct rdb_in *in, uint64_t max, struct bytes *ret, struct error *err) {
    int r = rdb_need(in, 1, err);
    if (r < 0) return r;
    size_t n = in->end - in->at < max ? in->end - in->at : (size_t)max;
    *ret = BYTES_OF(in->buf + in->at, n);
    in->at += n;
    return 0;
}

int rdb_copy_begin(struct rdb_in *in, rdb_copy copy, void *ctx) {
    in->copy = copy;
    in->copy_ctx = ctx;
    in->copy_at = in->at;
    in->copying = true;
    return 0;
}

int rdb_copy_end(struct rdb_in *in, struct error *err) {
    int r = hand_over(in, err);
    in->copying = false;
    return r;
}

int rdb_length(struct rdb_in *in, uint64_t *ret, bool *ret_encoded, struct error *err) {
    int r = rdb_need(in, 1, err);
    if (r < 0) return r;
    uint8_t first = in->buf[in->at];
    size_t more = first >> 6 == 1 ? 1 : first == 0x80 ? 4 : first == 0x81 ? 8 : 0;
    if ((r = rdb_need(in, 1 + more, err)) < 0) return r;
    const uint8_t *p = in->buf + in->at + 1;
    in->at += 1 + more;
    *ret_encoded = first >> 6 == 3;
    *ret = first & 63;
    if (first >> 6 == 2 && more == 0) return rdb_bad(in, err, "a length begins with the byte 0x%02x", first);
    if (first >> 6 == 1) *ret = (uint64_t)(first & 63) << 8 | p[0];
    if (first >> 6 != 2) return 0;
    *ret = 0;
    for (size_t i = 0; i < more; i++) *ret = *ret << 8 | p[i];
    return 0;
}

int rdb_plain_length(struct rdb_in *in, uint64_t *ret, struct error *err) {
    bool encoded;
    int r = rdb_length(in, ret, &encoded, err);
    return r == 0 && encoded ? rdb_bad(in, err, "a length is encoded as a string") : r;
}
