/* Contents digested so that two servers can be compared whatever encodings and orders they keep: a fast 128-bit hash of
 * a run of bytes, and sums of such hashes modulo 2^128. Fixed, not cryptographic: it finds damage and difference, not
 * forgery, which is the business of the content's SHA-256. Defined in doc/format/postgres.md and redis.md.
 */
#ifndef PK_BASE_MIX_H
#define PK_BASE_MIX_H

#include "base/bytes.h"

struct hash128 {
    uint64_t lo, hi;
};
struct mix { /* the run so far */
    uint64_t a, b, len;
    uint8_t tail[16];
};
void mix_begin(struct mix *m);
void mix_part(struct mix *m, struct bytes part);
struct hash128 mix_end(const struct mix *m); /* of all parts as one run */
struct hash128 mix_bytes(struct bytes whole);

static inline void mix_u64(struct mix *m, uint64_t v) {
    uint8_t p[8];
    put_u64(p, v);
    mix_part(m, BYTES_OF(p, 8));
}
static inline void mix_hash(struct mix *m, struct hash128 h) {
    uint8_t p[16];
    put_u64(p, h.lo);
    put_u64(p + 8, h.hi);
    mix_part(m, BYTES_OF(p, 16));
}
static inline void hash128_add(struct hash128 *sum, struct hash128 h) {
    sum->lo += h.lo;
    sum->hi += h.hi + (sum->lo < h.lo);
}
void hash128_hex(struct hash128 h, char out[33]); /* the most significant digit first */

#endif
