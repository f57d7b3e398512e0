#include "base/mix.h"

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

/* n < 8 bytes as a little-endian number; overlapping reads, because a loop a byte costs more than the hash. */
static inline uint64_t short_le(const uint8_t *p, size_t n) {
    if (n >= 4) return get_u32(p) | (uint64_t)get_u32(p + n - 4) << (8 * (n - 4));
    if (n == 0) return 0;
    return (uint64_t)p[0] | (uint64_t)p[n / 2] << (8 * (n / 2)) | (uint64_t)p[n - 1] << (8 * (n - 1));
}

static inline void block(uint64_t *a, uint64_t *b, uint64_t x, uint64_t y) {
    *a = fold(*a ^ x, y ^ K2);
    *b = fold(*b ^ y, x ^ K3);
}

static inline struct hash128 finish(uint64_t a, uint64_t b, const uint8_t *tail, uint64_t len) {
    const size_t n = len % 16;
    if (n >= 8)
        block(&a, &b, get_u64(tail), short_le(tail + 8, n - 8));
    else if (n)
        block(&a, &b, short_le(tail, n), 0);
    return (struct hash128){fold(a ^ len ^ K4, b ^ K5), fold(a ^ K6, b ^ len ^ K7)};
}

void mix_begin(struct mix *m) {
    m->a = K0;
    m->b = K1;
    m->len = 0;
}

void mix_part(struct mix *m, struct bytes part) {
    const uint8_t *p = part.ptr;
    size_t n = part.len, have = m->len % 16;
    if (n == 0) return;
    m->len += n;
    if (have) {
        size_t take = 16 - have < n ? 16 - have : n;
        memcpy(m->tail + have, p, take);
        p += take;
        n -= take;
        if (have + take < 16) return;
        block(&m->a, &m->b, get_u64(m->tail), get_u64(m->tail + 8));
    }
    for (; n >= 16; p += 16, n -= 16) block(&m->a, &m->b, get_u64(p), get_u64(p + 8));
    if (n) memcpy(m->tail, p, n);
}

struct hash128 mix_end(const struct mix *m) {
    return finish(m->a, m->b, m->tail, m->len);
}

struct hash128 mix_bytes(struct bytes whole) {
    uint64_t a = K0, b = K1;
    const uint8_t *p = whole.ptr;
    size_t n = whole.len;
    for (; n >= 16; p += 16, n -= 16) block(&a, &b, get_u64(p), get_u64(p + 8));
    return finish(a, b, p, whole.len);
}

void hash128_hex(struct hash128 h, char out[33]) {
    snprintf(out, 33, "%016llx%016llx", (unsigned long long)h.hi, (unsigned long long)h.lo);
}
