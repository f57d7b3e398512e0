#include "surface/redis/rdb_in.h"

#include "base/seam.h"
#include <stdio.h>

/* LZF looks back 8 KiB at most, so the last 8 KiB and room for what comes are all that is ever held. */
#define LOOK_BACK 8192u
#define WINDOW (LOOK_BACK + 65536u)
#define RUN_MAX 264u

enum { ENC_INT8, ENC_INT16, ENC_INT32, ENC_LZF };

static int open_number(struct rdb_str *s, uint64_t encoding, struct error *err) {
    uint8_t p[4];
    int64_t v;
    int r = rdb_take(s->in, p, (size_t)1 << encoding, err);
    if (r < 0) return r;
    v = encoding == ENC_INT8 ? (int8_t)p[0] : encoding == ENC_INT16 ? (int16_t)get_u16(p) : (int32_t)get_u32(p);
    s->number = true;
    s->left = s->len = (uint64_t)snprintf(s->text, sizeof s->text, "%lld", (long long)v);
    return 0;
}

static int open_lzf(struct rdb_str *s, struct error *err) {
    void *window;
    int r = rdb_plain_length(s->in, &s->packed, err);
    if (r == 0) r = rdb_plain_length(s->in, &s->len, err);
    if (r < 0) return r;
    s->lzf = true;
    s->left = s->len;
    if (s->in->window) return 0;
    if ((r = mem_alloc(WINDOW, &window, err)) == 0) s->in->window = window;
    return r;
}

int rdb_str_open(struct rdb_in *in, struct rdb_str *s, struct error *err) {
    uint64_t n;
    bool encoded;
    int r = rdb_length(in, &n, &encoded, err);
    s->in = in;
    s->lzf = s->number = false;
    s->have = s->given = 0;
    if (r < 0) return r;
    if (!encoded) {
        s->left = s->len = n;
        return 0;
    }
    if (n == ENC_LZF) return open_lzf(s, err);
    if (n > ENC_LZF) return rdb_bad(in, err, "a string has the unknown encoding %llu", (unsigned long long)n);
    return open_number(s, n, err);
}

static int bad_lzf(struct rdb_str *s, struct error *err) {
    return rdb_bad(s->in, err, "a compressed string is damaged");
}

/* One run: literals, or a copy of what came before. */
static int lzf_run(struct rdb_str *s, struct error *err) {
    uint8_t *w = s->in->window, b[3];
    if (s->packed == 0) return bad_lzf(s, err);
    int r = rdb_take(s->in, b, 1, err);
    if (r < 0) return r;
    s->packed--;
    size_t n = b[0] >> 5;
    if (n == 0) {
        n = (size_t)b[0] + 1;
        if (n > s->packed) return bad_lzf(s, err);
        if ((r = rdb_take(s->in, w + s->have, n, err)) < 0) return r;
        s->packed -= n;
        s->have += n;
        return 0;
    }
    size_t more = n == 7 ? 2 : 1;
    if (more > s->packed) return bad_lzf(s, err);
    if ((r = rdb_take(s->in, b + 1, more, err)) < 0) return r;
    s->packed -= more;
    size_t distance = ((size_t)(b[0] & 31) << 8 | b[more]) + 1;
    n += 2 + (more == 2 ? b[1] : 0);
    if (distance > s->have) return bad_lzf(s, err);
    for (const uint8_t *from = w + s->have - distance; n; n--) w[s->have++] = *from++;
    return 0;
}

static int next_lzf(struct rdb_str *s, struct bytes *ret, struct error *err) {
    uint8_t *w = s->in->window;
    if (s->have > LOOK_BACK) {
        memmove(w, w + s->have - LOOK_BACK, LOOK_BACK);
        s->have = LOOK_BACK;
    }
    s->given = s->have;
    while (s->have + RUN_MAX <= WINDOW && s->have - s->given < s->left) {
        int r = lzf_run(s, err);
        if (r < 0) return r;
    }
    size_t n = s->have - s->given;
    if (n > s->left || (n == s->left && s->packed)) return bad_lzf(s, err);
    s->left -= n;
    *ret = BYTES_OF(w + s->given, n);
    return 0;
}

int rdb_str_next(struct rdb_str *s, struct bytes *ret, struct error *err) {
    *ret = BYTES_OF(NULL, 0);
    if (s->left == 0) return s->lzf && s->packed ? bad_lzf(s, err) : 0;
    if (s->lzf) return next_lzf(s, ret, err);
    if (s->number) {
        *ret = BYTES_OF(s->text, (size_t)s->left);
        s->left = 0;
        return 0;
    }
    int r = rdb_piece(s->in, s->left, ret, err);
    if (r == 0) s->left -= ret->len;
    return r;
}

int rdb_str_mix(struct rdb_str *s, struct mix *m, struct error *err) {
    for (;;) {
        struct bytes piece;
        int r = rdb_str_next(s, &piece, err);
        if (r < 0 || piece.len == 0) return r;
        mix_part(m, piece);
    }
}

/* A short plain string that has come whole, taken; most are. False: nothing was taken. */
static bool short_string(struct rdb_in *in, struct bytes *ret) {
    if (in->at == in->end || in->buf[in->at] >= 64 || in->end - in->at <= in->buf[in->at]) return false;
    *ret = BYTES_OF(in->buf + in->at + 1, in->buf[in->at]);
    in->at += 1 + ret->len;
    return true;
}

int rdb_string_mix(struct rdb_in *in, struct mix *m, struct error *err) {
    struct rdb_str s;
    struct bytes text;
    if (short_string(in, &text)) {
        mix_part(m, text);
        return 0;
    }
    int r = rdb_str_open(in, &s, err);
    return r == 0 ? rdb_str_mix(&s, m, err) : r;
}

int rdb_string_hash(struct rdb_in *in, struct hash128 *ret, struct error *err) {
    struct mix m;
    struct bytes text;
    if (short_string(in, &text)) {
        *ret = mix_bytes(text);
        return 0;
    }
    mix_begin(&m);
    int r = rdb_string_mix(in, &m, err);
    if (r == 0) *ret = mix_end(&m);
    return r;
}

int rdb_string_get(struct rdb_in *in, struct buf *out, struct error *err) {
    struct rdb_str s;
    struct bytes text;
    if (out->max_bytes - out->len >= 64 && short_string(in, &text)) return buf_append(out, text.ptr, text.len, err);
    int r = rdb_str_open(in, &s, err);
    if (r == 0 && s.len > out->max_bytes - out->len)
        return rdb_bad(in, err, "a text of %llu bytes is longer than the %zu that are known to occur there",
                       (unsigned long long)s.len, out->max_bytes);
    for (;;) {
        struct bytes piece;
        if (r == 0) r = rdb_str_next(&s, &piece, err);
        if (r < 0 || piece.len == 0) return r;
        r = buf_append(out, piece.ptr, piece.len, err);
    }
}
