#define OPENSSL_SUPPRESS_DEPRECATED /* for the reason in hash.c */
#include "crypto/sha256_x2.h"
#include "base/seam.h"
#include "crypto/crypto_internal.h"
#include "crypto/sha256_x16.h"
#include <openssl/sha.h>

#define BLOCK_BYTES 64
#define WIDE_LANES 16u
#define WIDE_LEAST 10u /* lanes of sixteen that must have something before it pays */

static unsigned lanes_most; /* 0: as many as pay on this CPU */

void sha256_lanes_allow(unsigned most) {
    lanes_most = most;
}

const uint32_t sha256_round_constants[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <stdatomic.h>

#define TARGET __attribute__((target("sha,sse4.1")))

static bool ask_cpu(void) {
    unsigned a, b, c, d;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_SSE4_1) == 0) return false;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & bit_SHA) != 0;
}

/* Asked once: in a virtual machine the question goes to the hypervisor, and costs more than a small hash. */
bool sha256_x2_has(void) {
    static atomic_int known; /* 0 not asked, 1 no, 2 yes; threads that race write the same */
    int k = atomic_load_explicit(&known, memory_order_relaxed);
    if (k == 0) {
        k = ask_cpu() ? 2 : 1;
        atomic_store_explicit(&known, k, memory_order_relaxed);
    }
    return k == 2;
}

/* One message: its state in the order the instructions want, and sixteen words of its schedule, oldest group first. */
struct lane {
    __m128i abef, cdgh, w0, w1, w2, w3;
};

TARGET static inline __m128i load_words(const uint8_t *p) {
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)p), big_endian);
}

TARGET static inline void lane_load_state(struct lane *l, const uint32_t state[8]) {
    const __m128i abcd = _mm_loadu_si128((const __m128i *)(const void *)state); /* a is the lowest word */
    const __m128i efgh = _mm_loadu_si128((const __m128i *)(const void *)(state + 4));
    const __m128i badc = _mm_shuffle_epi32(abcd, 0xb1), hgfe = _mm_shuffle_epi32(efgh, 0x1b);
    l->abef = _mm_alignr_epi8(badc, hgfe, 8);
    l->cdgh = _mm_blend_epi16(hgfe, badc, 0xf0);
}

TARGET static inline void lane_store_state(const struct lane *l, uint32_t state[8]) {
    const __m128i feba = _mm_shuffle_epi32(l->abef, 0x1b), dchg = _mm_shuffle_epi32(l->cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)(void *)state, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128((__m128i *)(void *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

TARGET static inline void lane_load_block(struct lane *l, const uint8_t *p) {
    l->w0 = load_words(p);
    l->w1 = load_words(p + 16);
    l->w2 = load_words(p + 32);
    l->w3 = load_words(p + 48);
}

/* Four rounds with the oldest group of the schedule. */
TARGET static inline void lane_rounds(struct lane *l, __m128i k) {
    const __m128i wk = _mm_add_epi32(l->w0, k);
    l->cdgh = _mm_sha256rnds2_epu32(l->cdgh, l->abef, wk);
    l->abef = _mm_sha256rnds2_epu32(l->abef, l->cdgh, _mm_shuffle_epi32(wk, 0x0e));
}

/* Drop the oldest group of the schedule and append the next. */
TARGET static inline void lane_schedule(struct lane *l) {
    const __m128i minus_seven = _mm_alignr_epi8(l->w3, l->w2, 4);
    const __m128i next = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(l->w0, l->w1), minus_seven), l->w3);
    l->w0 = l->w1;
    l->w1 = l->w2;
    l->w2 = l->w3;
    l->w3 = next;
}

TARGET static inline void lane_turn(struct lane *l) {
    l->w0 = l->w1;
    l->w1 = l->w2;
    l->w2 = l->w3;
}

/* `group` is a constant at every call, so that the compiler sees straight code and renames the schedule away. */
TARGET static inline __attribute__((always_inline)) void both(struct lane *x, struct lane *y, int group) {
    const __m128i k = _mm_load_si128((const __m128i *)(const void *)(sha256_round_constants + 4 * group));
    lane_rounds(x, k);
    lane_rounds(y, k);
    if (group < 12) {
        lane_schedule(x);
        lane_schedule(y);
    } else {
        lane_turn(x);
        lane_turn(y);
    }
}

TARGET void sha256_x2_blocks(uint32_t state_a[8], const uint8_t *a, uint32_t state_b[8], const uint8_t *b,
                             size_t blocks) {
    struct lane x, y;
    lane_load_state(&x, state_a);
    lane_load_state(&y, state_b);
    for (; blocks > 0; blocks--, a += BLOCK_BYTES, b += BLOCK_BYTES) {
        const __m128i x_abef = x.abef, x_cdgh = x.cdgh, y_abef = y.abef, y_cdgh = y.cdgh;
        lane_load_block(&x, a);
        lane_load_block(&y, b);
        both(&x, &y, 0);
        both(&x, &y, 1);
        both(&x, &y, 2);
        both(&x, &y, 3);
        both(&x, &y, 4);
        both(&x, &y, 5);
        both(&x, &y, 6);
        both(&x, &y, 7);
        both(&x, &y, 8);
        both(&x, &y, 9);
        both(&x, &y, 10);
        both(&x, &y, 11);
        both(&x, &y, 12);
        both(&x, &y, 13);
        both(&x, &y, 14);
        both(&x, &y, 15);
        x.abef = _mm_add_epi32(x.abef, x_abef);
        x.cdgh = _mm_add_epi32(x.cdgh, x_cdgh);
        y.abef = _mm_add_epi32(y.abef, y_abef);
        y.cdgh = _mm_add_epi32(y.cdgh, y_cdgh);
    }
    lane_store_state(&x, state_a);
    lane_store_state(&y, state_b);
}
#else
#include <assert.h>

bool sha256_x2_has(void) {
    return false;
}

void sha256_x2_blocks(uint32_t state_a[8], const uint8_t *a, uint32_t state_b[8], const uint8_t *b, size_t blocks) {
    (void)state_a, (void)a, (void)state_b, (void)b, (void)blocks;
    assert(!"sha256_x2_blocks without sha256_x2_has");
}
#endif

static bool paired(void) {
    return lanes_most != 1 && sha256_x2_has();
}

unsigned sha256_many_lanes(void) {
    if (sha256_x16_has() && (lanes_most == WIDE_LANES || (lanes_most == 0 && sha256_x16_pays()))) return WIDE_LANES;
    return paired() ? 2 : 1;
}

static void add(SHA256_CTX *c, struct bytes in) {
    if (in.len > 0) SHA256_Update(c, in.ptr, in.len);
}

/* Feed bytes until c stands at a block's boundary, or they are used up; the rest. */
static struct bytes add_to_boundary(SHA256_CTX *c, struct bytes in) {
    const size_t want = c->num == 0 ? 0 : BLOCK_BYTES - c->num, n = want < in.len ? want : in.len;
    add(c, BYTES_OF(in.ptr, n));
    return n == 0 ? in : BYTES_OF(in.ptr + n, in.len - n);
}

/* The length in bits, as SHA256_Update counts it. */
static void count_bytes(SHA256_CTX *c, size_t bytes) {
    const uint64_t bits = ((uint64_t)c->Nh << 32 | c->Nl) + (uint64_t)bytes * 8;
    c->Nl = (SHA_LONG)bits;
    c->Nh = (SHA_LONG)(bits >> 32);
}

static void add_two(SHA256_CTX *a, struct bytes in_a, SHA256_CTX *b, struct bytes in_b, bool fast) {
    if (fast) {
        in_a = add_to_boundary(a, in_a);
        in_b = add_to_boundary(b, in_b);
        const size_t least = in_a.len < in_b.len ? in_a.len : in_b.len, blocks = least / BLOCK_BYTES;
        if (blocks > 0) {
            const size_t n = blocks * BLOCK_BYTES;
            sha256_x2_blocks(a->h, in_a.ptr, b->h, in_b.ptr, blocks);
            count_bytes(a, n);
            count_bytes(b, n);
            in_a = BYTES_OF(in_a.ptr + n, in_a.len - n);
            in_b = BYTES_OF(in_b.ptr + n, in_b.len - n);
        }
    }
    add(a, in_a);
    add(b, in_b);
}

struct sha256_pair {
    SHA256_CTX stream, chunk;
    bool fast;
};

int sha256_pair_new(struct sha256_pair **ret, struct error *err) {
    void *p = NULL;
    const int rc = mem_alloc(sizeof(struct sha256_pair), &p, err);
    if (rc < 0) return rc;
    struct sha256_pair *pair = p;
    SHA256_Init(&pair->stream);
    SHA256_Init(&pair->chunk);
    pair->fast = paired();
    *ret = pair;
    return 0;
}

void sha256_pair_update(struct sha256_pair *p, struct bytes in) {
    add_two(&p->stream, in, &p->chunk, in, p->fast);
}

static void finish(SHA256_CTX *c, struct digest *ret) {
    SHA256_Final(ret->b, c);
    SHA256_Init(c);
}

void sha256_pair_chunk_finish(struct sha256_pair *p, struct digest *ret) {
    finish(&p->chunk, ret);
}

void sha256_pair_stream_finish(struct sha256_pair *p, struct digest *ret) {
    finish(&p->stream, ret);
}

void sha256_pair_free(struct sha256_pair *p) {
    if (p != NULL) wipe(p, sizeof *p);
    seam_free(p);
}

void sha256_update_two(struct sha256_state *a, struct bytes in_a, struct sha256_state *b, struct bytes in_b) {
    add_two(&a->ctx, in_a, &b->ctx, in_b, paired());
}

void sha256_beside(struct sha256_state *stream, struct bytes in, struct digest *ret) {
    SHA256_CTX alone;
    SHA256_Init(&alone);
    add_two(&stream->ctx, in, &alone, in, paired());
    SHA256_Final(ret->b, &alone);
}

/* A message on its way. */
struct running {
    SHA256_CTX c;
    struct bytes rest;
    size_t of;
};

static size_t blocks_least(const struct running *r, unsigned n) {
    size_t least = r[0].rest.len;
    for (unsigned i = 1; i < n; i++) least = r[i].rest.len < least ? r[i].rest.len : least;
    return least / BLOCK_BYTES;
}

static void advance(struct running *r, unsigned n, size_t blocks) {
    for (unsigned i = 0; i < n; i++) {
        count_bytes(&r[i].c, blocks * BLOCK_BYTES);
        r[i].rest = BYTES_OF(r[i].rest.ptr + blocks * BLOCK_BYTES, r[i].rest.len - blocks * BLOCK_BYTES);
    }
}

/* Lanes without a message do the first one's work again. */
static void wide(struct running *r, unsigned n, size_t blocks) {
    uint32_t state[8][WIDE_LANES];
    const uint8_t *in[WIDE_LANES];
    for (unsigned i = 0; i < WIDE_LANES; i++) {
        const struct running *x = &r[i < n ? i : 0];
        in[i] = x->rest.ptr;
        for (unsigned k = 0; k < 8; k++) state[k][i] = x->c.h[k];
    }
    sha256_x16_blocks(state, in, blocks);
    for (unsigned i = 0; i < n; i++)
        for (unsigned k = 0; k < 8; k++) r[i].c.h[k] = state[k][i];
    advance(r, n, blocks);
}

void sha256_many(const struct bytes *in, struct digest *ret, size_t count) {
    const bool two = paired();
    unsigned lanes = sha256_many_lanes();
    if (lanes == WIDE_LANES && count < WIDE_LEAST) lanes = two ? 2 : 1;
    struct running r[WIDE_LANES];
    size_t next = 0;
    for (unsigned n = 0;;) {
        for (; n < lanes && next < count; n++, next++) {
            SHA256_Init(&r[n].c);
            r[n].rest = in[next];
            r[n].of = next;
        }
        if (n == 0) return;
        const unsigned together = n >= WIDE_LEAST ? n : two && n >= 2 ? 2 : 1;
        const size_t blocks = together > 1 ? blocks_least(r, together) : 0;
        if (blocks > 0 && together > 2)
            wide(r, together, blocks);
        else if (blocks > 0) {
            sha256_x2_blocks(r[0].c.h, r[0].rest.ptr, r[1].c.h, r[1].rest.ptr, blocks);
            advance(r, 2, blocks);
        }
        /* those that have no whole block left end; one that is alone ends */
        for (unsigned i = together; i-- > 0;) {
            if (together > 1 && r[i].rest.len >= BLOCK_BYTES) continue;
            add(&r[i].c, r[i].rest);
            SHA256_Final(ret[r[i].of].b, &r[i].c);
            r[i] = r[--n];
        }
    }
}
