/* SHA-256 of sixteen messages at once, with AVX-512; sha256_many uses it. Source: FIPS 180-4; for the way, Gueron and
 * Krasnov, "Simultaneous hashing of multiple messages" (2012). */
#ifndef PK_CRYPTO_SHA256_X16_H
#define PK_CRYPTO_SHA256_X16_H

#include "crypto/crypto.h"

extern const uint32_t sha256_round_constants[64]; /* FIPS 180-4, 4.2.2 */

/* Whether this CPU, and its operating system, have AVX-512 (F, BW). */
bool sha256_x16_has(void);
/* Whether, having it, that is faster than its SHA instructions. */
bool sha256_x16_pays(void);
/* The compression function on `blocks` blocks of 64 bytes of each message; state[i] is word i of all sixteen. Messages
 * may overlap or be one. Only where sha256_x16_has(). */
void sha256_x16_blocks(uint32_t state[8][16], const uint8_t *const in[16], size_t blocks);

#endif
