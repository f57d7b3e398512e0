/* SHA-256 of sixteen messages at once, with AVX-512; sha256_many uses it. Source: FIPS 180-4; for the way, Gueron and
 * Krasnov, "Simultaneous hashing of multiple messages" (2012). */
#ifndef PK_CRYPTO_SHA256_X16_H
#define PK_CRYPTO_SHA256_X16_H

#include "crypto/crypto.h"

extern const uint32_t sha256_round_constants[64]; /* FIPS 180-4, 4.2.2 */

/* Whether this CPU, and its operating system, have AVX-512 (F, BW). */
bool sha256_x16_has(void);
/* Whether it does more than two messages with the SHA instructions do, as far as measured: not on Zen 4 (family 19h),
 * which takes 512 bits in two halves. Only where sha256_x16_has(). */
bool sha256_x16_pays(void);
/* The compression function on `blocks` blocks of 64 bytes of each message; state[i] is word i of all sixteen. Messages
 * may overlap or be one. Only where sha256_x16_has(). */
void sha256_x16_blocks(uint32_t state[8][16], const uint8_t *const in[16], size_t blocks);

#endif
