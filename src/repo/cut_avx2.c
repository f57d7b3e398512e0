/* Eight lanes, each rolling the scalar hash over its own stretch of the range; the table is read by gathers. */
#include "repo/cut_internal.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx2")))
#define LANES 8

struct lanes {
    __m256i hash, least;
};

TARGET static inline void roll(struct lanes *s, const int *gear, __m256i index) {
    const __m256i g = _mm256_i32gather_epi32(gear, index, 4);
    s->hash = _mm256_add_epi32(_mm256_add_epi32(s->hash, s->hash), g);
    s->least = _mm256_min_epu32(s->least, s->hash);
}

/* Four bytes of each lane, oldest lowest. */
TARGET static inline void roll_four(struct lanes *s, const int *gear, __m256i bytes) {
    const __m256i low = _mm256_set1_epi32(255);
    roll(s, gear, _mm256_and_si256(bytes, low));
    roll(s, gear, _mm256_and_si256(_mm256_srli_epi32(bytes, 8), low));
    roll(s, gear, _mm256_and_si256(_mm256_srli_epi32(bytes, 16), low));
    roll(s, gear, _mm256_srli_epi32(bytes, 24));
}

TARGET static inline __m256i load_pair(const uint8_t *q, size_t stride) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)q)),
                                   _mm_loadu_si128((const __m128i *)(const void *)(q + 4 * stride)), 1);
}

/* Sixteen bytes of each lane; leaves the least hash of each in s->least. */
TARGET static inline void roll_sixteen(struct lanes *s, const int *gear, const uint8_t *q, size_t stride) {
    const __m256i r0 = load_pair(q, stride), r1 = load_pair(q + stride, stride);
    const __m256i r2 = load_pair(q + 2 * stride, stride), r3 = load_pair(q + 3 * stride, stride);
    const __m256i a = _mm256_unpacklo_epi32(r0, r1), b = _mm256_unpackhi_epi32(r0, r1);
    const __m256i c = _mm256_unpacklo_epi32(r2, r3), d = _mm256_unpackhi_epi32(r2, r3);
    s->least = _mm256_set1_epi32(-1);
    roll_four(s, gear, _mm256_unpacklo_epi64(a, c));
    roll_four(s, gear, _mm256_unpackhi_epi64(a, c));
    roll_four(s, gear, _mm256_unpacklo_epi64(b, d));
    roll_four(s, gear, _mm256_unpackhi_epi64(b, d));
}

TARGET size_t cut_find_avx2(const struct cutter *c, const uint8_t *p, size_t from, size_t to, uint32_t mask) {
    const int *gear = (const int *)(const void *)c->gear;
    const __m256i limit = _mm256_set1_epi32((int)~mask); /* (h & mask) == 0 is h <= ~mask, for a run of top bits */
    for (;;) {
        const size_t stride = from < to ? cut_lane_stride(LANES, to - from, mask) : 0;
        if (stride == 0) return from < to ? cut_find_scalar(c, p, from, to, mask) : to;
        const uint8_t *q = p + from - CUT_WARM_BYTES;
        struct lanes s = {_mm256_setzero_si256(), _mm256_setzero_si256()};
        roll_sixteen(&s, gear, q, stride);
        roll_sixteen(&s, gear, q + 16, stride);
        unsigned open = (1u << LANES) - 1; /* lanes whose hit would come before any hit seen */
        size_t hit = to;
        for (size_t i = 0; i < stride && open != 0; i += 16) {
            cut_prefetch(p, from + LANES * (stride + i), to, LANES * 16);
            roll_sixteen(&s, gear, q + CUT_WARM_BYTES + i, stride);
            const __m256i under = _mm256_cmpeq_epi32(_mm256_min_epu32(s.least, limit), s.least);
            const unsigned k = (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(under)) & open;
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
