/* SHA-256 of two messages for less than twice the cost of one: their rounds are interleaved, so that neither waits for
 * the latency of the SHA instructions. How much that saves is the CPU's affair (bench_primitives tells). Above all for
 * a stream that is hashed whole and chunk by chunk at once. Source: FIPS 180-4; Intel SHA extensions (SHA256RNDS2,
 * SHA256MSG1, SHA256MSG2). */
#ifndef PK_CRYPTO_SHA256_X2_H
#define PK_CRYPTO_SHA256_X2_H

#include "crypto/crypto.h"

/* Whether this CPU has the SHA instructions. */
bool sha256_x2_has(void);
/* The compression function on `blocks` blocks of 64 bytes of each message. Only where sha256_x2_has(). The states are
 * distinct; the messages may overlap or be one. */
void sha256_x2_blocks(uint32_t state_a[8], const uint8_t *a, uint32_t state_b[8], const uint8_t *b, size_t blocks);

/* Two running hashes that absorb the same bytes: one of the stream, one of the chunk that is being gathered. Without
 * SHA instructions they are two OpenSSL hashes, at the cost of two. For one thread at a time. */
struct sha256_pair;
int sha256_pair_new(struct sha256_pair **ret, struct error *err) PK_CHECK;
void sha256_pair_update(struct sha256_pair *p, struct bytes in); /* into both */
/* The digest of what came in since the last chunk's finish; then starts the next chunk. The stream goes on. */
void sha256_pair_chunk_finish(struct sha256_pair *p, struct digest *ret);
/* The digest of the whole stream; then starts another stream. The chunk goes on. */
void sha256_pair_stream_finish(struct sha256_pair *p, struct digest *ret);
void sha256_pair_free(struct sha256_pair *p);
/* `count` whole messages, sixteen at a time (sha256_x16.h) or two: when one ends, the next takes its place. Long ones
 * first keep more lanes busy to the end. */
void sha256_many(const struct bytes *in, struct digest *ret, size_t count);
/* How many messages it takes at once here: 16, 2 or 1. To have many more ready is of no use. */
unsigned sha256_many_lanes(void);
/* Absorb the next bytes of two distinct running hashes at once; the lengths may differ. */
void sha256_update_two(struct sha256_state *a, struct bytes in_a, struct sha256_state *b, struct bytes in_b);
/* Absorbs `in`, and digests it by itself, at once. */
void sha256_beside(struct sha256_state *stream, struct bytes in, struct digest *ret);
/* For tests and benchmarks: how many messages every later call may hash at once, as on a CPU that has no more: 16, 2,
 * or 1, which is OpenSSL's way; 0, as at first, is what pays on this CPU. Not for use among threads. */
void sha256_lanes_allow(unsigned most);

#endif
