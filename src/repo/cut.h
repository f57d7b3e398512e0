/* Cutting a stream into chunks: gear with a 32-byte window and a keyed table, minimum skip, normalisation, maximum.
 *
 * Specification (doc/format/cutting.md has it in full, with vectors): table G[256] of uint32_t, filled from the cut key by
 * HKDF-SHA256(cut key, salt = "", info = "proofkeep/v1/gear") expanded to 1024 bytes, little-endian. The hash at byte i is
 * h_i = sum over the last 32 bytes b_j (j = i-31..i) of G[b_j] << (i-j), modulo 2^32 (so older bytes have left the window by
 * themselves). A chunk ends after byte i, counted from the chunk's start at 0, when i+1 >= min and (h_i & mask(i)) == 0,
 * where mask is mask_hard while i+1 < avg and mask_easy from there; or when i+1 == max. The hash at i uses only bytes of the
 * same chunk: it is defined for i >= 31, and min >= 64. The masks take the top bits: avg = 2^k: mask_hard has k+1 top bits
 * set, mask_easy k-1. Every kernel cuts identically; the scalar one is the specification.
 */
#ifndef PK_REPO_CUT_H
#define PK_REPO_CUT_H

#include "base/bytes.h"
#include "base/error.h"

struct cut_params {
    uint32_t min_bytes, avg_bytes, max_bytes; /* avg a power of two; 64 <= min < avg < max <= 8 MiB */
};
enum cut_kernel { CUT_SCALAR = 0, CUT_AVX2 = 1, CUT_AVX512 = 2 };

struct cutter {
    uint32_t gear[256];
    /* kernels may keep derived tables here, filled by cutter_init */
    uint8_t derived[2048];
    enum cut_kernel kernel;
};
/* Fill the tables from the 32-byte cut key and pick the fastest kernel this CPU has (PROOFKEEP_CUT_KERNEL is honoured by
 * tests through cutter_use, not by the environment). A cutter is read-only afterwards, so threads may share it. */
int cutter_init(struct cutter *c, struct bytes cut_key, struct error *err) PK_CHECK;
bool cutter_has(enum cut_kernel k);                    /* whether this CPU can */
void cutter_use(struct cutter *c, enum cut_kernel k);  /* must be had */
/* Length of the first chunk in data. When the data ends before a cut is decided: 0 if `final` is false (give more, at least
 * max_bytes suffices), else data.len. Never more than max_bytes. */
size_t cutter_next(const struct cutter *c, const struct cut_params *p, struct bytes data, bool final);

#endif
