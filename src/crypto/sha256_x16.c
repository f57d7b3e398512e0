/* Sixteen messages side by side, a lane of 32 bits each: on CPUs whose SHA instructions take turns at one port, as
 * Intel's do, one and a half times what two interleaved messages reach; on Zen 4, five sixths of it. */
#include "crypto/sha256_x16.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw")))
#define INLINE static inline __attribute__((always_inline))

bool sha256_x16_has(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
}

bool sha256_x16_pays(void) {
    return !__builtin_cpu_is("amdfam19h");
}

/* Sixteen rows of sixteen words: row i becomes column i. */
TARGET INLINE void transpose(__m512i w[16]) {
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(w[i], w[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(w[i], w[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        w[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        w[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        w[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        w[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(w[i], w[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(w[i], w[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(w[i + 8], w[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(w[i + 8], w[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        w[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        w[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
        w[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
        w[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

TARGET INLINE __m512i xor3(__m512i a, __m512i b, __m512i c) {
    return _mm512_ternarylogic_epi32(a, b, c, 0x96);
}
TARGET INLINE __m512i sum_a(__m512i a) {
    return xor3(_mm512_ror_epi32(a, 2), _mm512_ror_epi32(a, 13), _mm512_ror_epi32(a, 22));
}
TARGET INLINE __m512i sum_e(__m512i e) {
    return xor3(_mm512_ror_epi32(e, 6), _mm512_ror_epi32(e, 11), _mm512_ror_epi32(e, 25));
}
TARGET INLINE __m512i sigma_0(__m512i x) {
    return xor3(_mm512_ror_epi32(x, 7), _mm512_ror_epi32(x, 18), _mm512_srli_epi32(x, 3));
}
TARGET INLINE __m512i sigma_1(__m512i x) {
    return xor3(_mm512_ror_epi32(x, 17), _mm512_ror_epi32(x, 19), _mm512_srli_epi32(x, 10));
}

/* Round i; s[0] to s[7] are a to h, turned by i places instead of moved. The word it used is replaced by the one that
 * is due sixteen rounds on. `i` is a constant at every call. */
TARGET INLINE void one_round(__m512i s[8], __m512i w[16], int i) {
    const unsigned at = 64u - (unsigned)i;
    __m512i *const d = &s[(at + 3) & 7], *const h = &s[(at + 7) & 7];
    const __m512i a = s[at & 7], b = s[(at + 1) & 7], c = s[(at + 2) & 7], e = s[(at + 4) & 7], f = s[(at + 5) & 7],
                  g = s[(at + 6) & 7];
    const __m512i wk = _mm512_add_epi32(w[i & 15], _mm512_set1_epi32((int)sha256_round_constants[i]));
    const __m512i t = _mm512_add_epi32(_mm512_add_epi32(*h, wk),
                                       _mm512_add_epi32(sum_e(e), _mm512_ternarylogic_epi32(e, f, g, 0xca)));
    *d = _mm512_add_epi32(*d, t);
    *h = _mm512_add_epi32(t, _mm512_add_epi32(sum_a(a), _mm512_ternarylogic_epi32(a, b, c, 0xe8)));
    if (i < 48)
        w[i & 15] = _mm512_add_epi32(_mm512_add_epi32(w[i & 15], w[(i + 9) & 15]),
                                     _mm512_add_epi32(sigma_0(w[(i + 1) & 15]), sigma_1(w[(i + 14) & 15])));
}

#define EIGHT(i)                                                                                                       \
    do {                                                                                                               \
        one_round(s, w, (i));                                                                                          \
        one_round(s, w, (i) + 1);                                                                                      \
        one_round(s, w, (i) + 2);                                                                                      \
        one_round(s, w, (i) + 3);                                                                                      \
        one_round(s, w, (i) + 4);                                                                                      \
        one_round(s, w, (i) + 5);                                                                                      \
        one_round(s, w, (i) + 6);                                                                                      \
        one_round(s, w, (i) + 7);                                                                                      \
    } while (0)

TARGET void sha256_x16_blocks(uint32_t state[8][16], const uint8_t *const in[16], size_t blocks) {
    const __m512i big_endian = _mm512_broadcast_i32x4(_mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203));
    __m512i s[8];
    for (int i = 0; i < 8; i++) s[i] = _mm512_loadu_si512(state[i]);
    for (size_t k = 0; k < blocks; k++) {
        __m512i w[16];
        for (int i = 0; i < 16; i++) w[i] = _mm512_shuffle_epi8(_mm512_loadu_si512(in[i] + 64 * k), big_endian);
        transpose(w);
        EIGHT(0);
        EIGHT(8);
        EIGHT(16);
        EIGHT(24);
        EIGHT(32);
        EIGHT(40);
        EIGHT(48);
        EIGHT(56);
        for (int i = 0; i < 8; i++) {
            s[i] = _mm512_add_epi32(s[i], _mm512_loadu_si512(state[i]));
            _mm512_storeu_si512(state[i], s[i]);
        }
    }
}
#else
#include <assert.h>

bool sha256_x16_has(void) {
    return false;
}

bool sha256_x16_pays(void) {
    return false;
}

void sha256_x16_blocks(uint32_t state[8][16], const uint8_t *const in[16], size_t blocks) {
    (void)state, (void)in, (void)blocks;
    assert(!"sha256_x16_blocks without sha256_x16_has");
}
#endif
