#include "surface/postgres/rows.h"

#include <endian.h>
#include <stdio.h>

/* The first digits of pi. */
#define K0 UINT64_C(0x243f6a8885a308d3)
#define K1 UINT64_C(0x13198a2e03707344)
#define K2 UINT64_C(0xa4093822299f31d0)
#define K3 UINT64_C(0x082efa98ec4e6c89)
#define K4 UINT64_C(0x452821e638d01377)
#define K5 UINT64_C(0xbe5466cf34e90c6c)
#define K6 UINT64_C(0xc0ac29b7c97c50dd)
#define K7 UINT64_C(0x3f84d5b5b5470917)

__extension__ typedef unsigned __int128 u128;

static inline uint64_t fold(uint64_t x, uint64_t y) {
    u128 m = (u128)x * y;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static inline uint64_t le64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, 8);
    return le64toh(v);
}

static inline uint32_t le32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, 4);
    return le32toh(v);
}

/* n < 8 bytes as a little-endian number; overlapping reads, because a loop a byte costs more than the hash. */
static inline uint64_t short_le(const uint8_t *p, size_t n) {
    if (n >= 4) return le32(p) | (uint64_t)le32(p + n - 4) << (8 * (n - 4));
    if (n == 0) return 0;
    return (uint64_t)p[0] | (uint64_t)p[n / 2] << (8 * (n / 2)) | (uint64_t)p[n - 1] << (8 * (n - 1));
}

static inline void block(uint64_t *a, uint64_t *b, uint64_t x, uint64_t y) {
    *a = fold(*a ^ x, y ^ K2);
    *b = fold(*b ^ y, x ^ K3);
}

static inline void tail(uint64_t *a, uint64_t *b, const uint8_t *p, size_t n) { /* 1 to 15 bytes */
    if (n >= 8)
        block(a, b, le64(p), short_le(p + 8, n - 8));
    else
        block(a, b, short_le(p, n), 0);
}

static inline void add(struct pg_rows *s, uint64_t a, uint64_t b, uint64_t len) {
    uint64_t lo = fold(a ^ len ^ K4, b ^ K5), hi = fold(a ^ K6, b ^ len ^ K7);
    s->sum_lo += lo;
    s->sum_hi += hi + (s->sum_lo < lo);
    s->rows++;
}

void pg_rows_init(struct pg_rows *s) {
    memset(s, 0, sizeof *s);
}

void pg_rows_row(struct pg_rows *s, struct bytes row) {
    uint64_t a = K0, b = K1;
    const uint8_t *p = row.ptr;
    size_t n = row.len;
    for (; n >= 16; p += 16, n -= 16) block(&a, &b, le64(p), le64(p + 8));
    if (n) tail(&a, &b, p, n);
    add(s, a, b, row.len);
}

void pg_rows_begin(struct pg_rows *s) {
    s->a = K0;
    s->b = K1;
    s->len = 0;
    s->open = true;
}

void pg_rows_part(struct pg_rows *s, struct bytes part) {
    const uint8_t *p = part.ptr;
    size_t n = part.len, have = s->len % 16;
    if (n == 0) return;
    s->len += n;
    if (have) {
        size_t take = 16 - have < n ? 16 - have : n;
        memcpy(s->tail + have, p, take);
        p += take;
        n -= take;
        if (have + take < 16) return;
        block(&s->a, &s->b, le64(s->tail), le64(s->tail + 8));
    }
    for (; n >= 16; p += 16, n -= 16) block(&s->a, &s->b, le64(p), le64(p + 8));
    if (n) memcpy(s->tail, p, n);
}

void pg_rows_end(struct pg_rows *s) {
    if (s->len % 16) tail(&s->a, &s->b, s->tail, s->len % 16);
    add(s, s->a, s->b, s->len);
    s->open = false;
}

static int after_end(struct bytes text, struct error *err) {
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] != '\n') return error_set(err, ERR_PG_ARCHIVE, "a table's data goes on after its end mark");
    return 0;
}

int pg_rows_text(struct pg_rows *s, struct bytes text, struct error *err) {
    if (text.len == 0) return 0;
    const uint8_t *p = text.ptr, *end = text.ptr + text.len;
    if (s->ended) return after_end(text, err);
    if (s->open) { /* a row that began in the piece before */
        const uint8_t *nl = memchr(p, '\n', text.len);
        pg_rows_part(s, BYTES_OF(p, (size_t)((nl ? nl : end) - p)));
        if (!nl) return 0;
        p = nl + 1;
        if (s->len == 2 && memcmp(s->tail, "\\.", 2) == 0) {
            s->ended = true;
            s->open = false;
            return after_end(BYTES_OF(p, (size_t)(end - p)), err);
        }
        pg_rows_end(s);
    }
    while (p < end) {
        const uint8_t *nl = memchr(p, '\n', (size_t)(end - p));
        if (!nl) {
            pg_rows_begin(s);
            pg_rows_part(s, BYTES_OF(p, (size_t)(end - p)));
            break;
        }
        if (nl - p == 2 && p[0] == '\\' && p[1] == '.') {
            s->ended = true;
            return after_end(BYTES_OF(nl + 1, (size_t)(end - nl - 1)), err);
        }
        pg_rows_row(s, BYTES_OF(p, (size_t)(nl - p)));
        p = nl + 1;
    }
    return 0;
}

int pg_rows_finish(struct pg_rows *s, struct error *err) {
    if (s->ended) return 0;
    return error_set(err, ERR_SOURCE_TRUNCATED, "a table's data ends without its end mark, after %llu rows",
                     (unsigned long long)s->rows);
}

void pg_rows_digest(const struct pg_rows *s, char out[33]) {
    snprintf(out, 33, "%016llx%016llx", (unsigned long long)s->sum_hi, (unsigned long long)s->sum_lo);
}
