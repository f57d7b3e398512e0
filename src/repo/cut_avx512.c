/* Sixteen lanes, each rolling the scalar hash over its own stretch of the range; the table is looked up in registers,
 * as four planes of 256 bytes (AVX-512 VBMI), 64 bytes at a time. */
#include "repo/cut_internal.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vbmi")))
#define LANES 16

struct lanes {
    __m512i hash, least;
};
struct planes {
    __m512i t[4][4]; /* byte a of the word of input byte 64 b + x is byte x of t[a][b] */
};

TARGET static inline __m512i look_up(const __m512i t[4], __m512i x, __mmask64 high) {
    const __m512i lower = _mm512_permutex2var_epi8(t[0], x, t[1]);
    return _mm512_mask_mov_epi8(lower, high, _mm512_permutex2var_epi8(t[2], x, t[3]));
}

TARGET static inline void roll(struct lanes *s, __m512i g) {
    s->hash = _mm512_add_epi32(_mm512_add_epi32(s->hash, s->hash), g);
    s->least = _mm512_min_epu32(s->least, s->hash);
}

/* Four bytes of each lane: in 128-bit group L, byte 4 r + q is step r of lane 4 L + q. Unpacking the four planes then
 * puts the sixteen words of one step into one register, in the order of the lanes. */
TARGET static inline void roll_four(struct lanes *s, const struct planes *t, __m512i x) {
    const __mmask64 high = _mm512_movepi8_mask(x);
    const __m512i p0 = look_up(t->t[0], x, high), p1 = look_up(t->t[1], x, high);
    const __m512i p2 = look_up(t->t[2], x, high), p3 = look_up(t->t[3], x, high);
    const __m512i a = _mm512_unpacklo_epi8(p0, p1), b = _mm512_unpackhi_epi8(p0, p1);
    const __m512i c = _mm512_unpacklo_epi8(p2, p3), d = _mm512_unpackhi_epi8(p2, p3);
    roll(s, _mm512_unpacklo_epi16(a, c));
    roll(s, _mm512_unpackhi_epi16(a, c));
    roll(s, _mm512_unpacklo_epi16(b, d));
    roll(s, _mm512_unpackhi_epi16(b, d));
}

TARGET static inline __m512i load_four(const uint8_t *q, size_t stride) {
    __m512i r = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(const void *)q));
    r = _mm512_inserti32x4(r, _mm_loadu_si128((const __m128i *)(const void *)(q + 4 * stride)), 1);
    r = _mm512_inserti32x4(r, _mm_loadu_si128((const __m128i *)(const void *)(q + 8 * stride)), 2);
    return _mm512_inserti32x4(r, _mm_loadu_si128((const __m128i *)(const void *)(q + 12 * stride)), 3);
}

/* Sixteen bytes of each lane; leaves the least hash of each in s->least. */
TARGET static inline void roll_sixteen(struct lanes *s, const struct planes *t, const uint8_t *q, size_t stride) {
    const __m512i r0 = load_four(q, stride), r1 = load_four(q + stride, stride);
    const __m512i r2 = load_four(q + 2 * stride, stride), r3 = load_four(q + 3 * stride, stride);
    const __m512i a = _mm512_unpacklo_epi8(r0, r1), b = _mm512_unpackhi_epi8(r0, r1);
    const __m512i c = _mm512_unpacklo_epi8(r2, r3), d = _mm512_unpackhi_epi8(r2, r3);
    s->least = _mm512_set1_epi32(-1);
    roll_four(s, t, _mm512_unpacklo_epi16(a, c));
    roll_four(s, t, _mm512_unpackhi_epi16(a, c));
    roll_four(s, t, _mm512_unpacklo_epi16(b, d));
    roll_four(s, t, _mm512_unpackhi_epi16(b, d));
}

TARGET size_t cut_find_avx512(const struct cutter *c, const uint8_t *p, size_t from, size_t to, uint32_t mask) {
    const __m512i limit = _mm512_set1_epi32((int)~mask); /* (h & mask) == 0 is h <= ~mask, for a run of top bits */
    struct planes t;
    for (int a = 0; a < 4; a++)
        for (int b = 0; b < 4; b++) t.t[a][b] = _mm512_loadu_si512(c->derived + 256 * a + 64 * b);
    for (;;) {
        const size_t stride = from < to ? cut_lane_stride(LANES, to - from, mask) : 0;
        if (stride == 0) return from < to ? cut_find_scalar(c, p, from, to, mask) : to;
        const uint8_t *q = p + from - CUT_WARM_BYTES;
        struct lanes s = {_mm512_setzero_si512(), _mm512_setzero_si512()};
        roll_sixteen(&s, &t, q, stride);
        roll_sixteen(&s, &t, q + 16, stride);
        unsigned open = (1u << LANES) - 1; /* lanes whose hit would come before any hit seen */
        size_t hit = to;
        for (size_t i = 0; i < stride && open != 0; i += 16) {
            cut_prefetch(p, from + LANES * (stride + i), to, LANES * 16);
            roll_sixteen(&s, &t, q + CUT_WARM_BYTES + i, stride);
            const unsigned k = (unsigned)_mm512_cmple_epu32_mask(s.least, limit) & open;
            if (k != 0) {
                const unsigned lane = (unsigned)__builtin_ctz(k);
                hit = from + lane * stride + i;
                open = (1u << lane) - 1;
            }
        }
        if (hit != to) return cut_find_scalar(c, p, hit, hit + 16, mask);
        from += LANES * stride;
    }
}
#endif
