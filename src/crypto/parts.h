/* The digest of a content by parts: the SHA-256 of the SHA-256s of its parts of 128 KiB, of which the last may be shorter,
 * in their order. It says as much as SHA-256 of the whole, costs no second pass where the parts are hashed anyway, and
 * parts can be hashed side by side. */
#ifndef PK_CRYPTO_PARTS_H
#define PK_CRYPTO_PARTS_H

#include "crypto/crypto.h"

#define PART_BYTES (128u << 10)

/* Absorbs the next bytes into `s`, a hash that sha256_new began and sha256_finish gives the digest of. They begin where a
 * part does, and end where one does or with the content. The parts' own digests are answered unless ret is NULL. */
void parts_update(struct sha256_state *s, struct bytes in, struct digest *ret);

#endif
