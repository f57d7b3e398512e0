/* Kernels of cut.h: each finds the first position whose hash passes a mask. Used by cut*.c and by nobody else. */
#ifndef PK_REPO_CUT_INTERNAL_H
#define PK_REPO_CUT_INTERNAL_H

#include "repo/cut.h"

/* Bytes in front of `from` that a kernel may read (31 make the hash; lanes start one earlier to stay aligned to 16
 * steps). */
#define CUT_WARM_BYTES 32

/* Smallest i in [from, to) with (h_i & mask) == 0, or `to` when there is none. from >= CUT_WARM_BYTES, p has `to`
 * bytes, mask is a run of top bits. Reads nothing outside [from - CUT_WARM_BYTES, to). All kernels answer alike. */
size_t cut_find_scalar(const struct cutter *c, const uint8_t *p, size_t from, size_t to, uint32_t mask);
#if defined(__x86_64__)
size_t cut_find_avx2(const struct cutter *c, const uint8_t *p, size_t from, size_t to, uint32_t mask);
size_t cut_find_avx512(const struct cutter *c, const uint8_t *p, size_t from, size_t to, uint32_t mask);
#endif

/* Bytes a lane of a lane-parallel kernel scans before hits are looked at. Warming costs 32 bytes a lane, and what lies
 * behind a hit is wasted, so the best stride grows with the square root of the expected distance, 2^bits(mask). A
 * multiple of 16; 0 when lanes do not pay (short expected distances, short ranges). */
static inline size_t cut_lane_stride(size_t lanes, size_t range, uint32_t mask) {
    const unsigned bits = (unsigned)__builtin_popcount(mask);
    const unsigned log = (bits + 2) / 2 > 10 ? 10 : (bits + 2) / 2;
    const size_t ideal = (size_t)1 << log, most = range / lanes & ~(size_t)15;
    const size_t stride = most < ideal ? most : ideal;
    return stride < 64 ? 0 : stride;
}

/* Lanes touch their lines in an order that the CPU does not foresee, so each step asks for its share of the next block.
 */
static inline void cut_prefetch(const uint8_t *p, size_t at, size_t to, size_t bytes) {
    if (at + bytes > to) return;
    for (size_t line = 0; line < bytes; line += 64) __builtin_prefetch(p + at + line);
}

#endif
