/* What the files of crypto/ share. */
#ifndef PK_CRYPTO_CRYPTO_INTERNAL_H
#define PK_CRYPTO_CRYPTO_INTERNAL_H

#include "crypto/crypto.h"
#include <openssl/sha.h>

struct sha256_state {
    SHA256_CTX ctx;
};

/* Fetch the ciphers once, so that no context has to. Called by crypto_init. */
int aead_init(struct error *err) PK_CHECK;

/* A 32-byte key on the stack that is wiped when it leaves scope: `CLEANUP(key32_wipe) struct key32 k = {0}`. */
struct key32 {
    uint8_t b[KEY_BYTES];
};
void key32_wipe(struct key32 *k);

/* ChaCha20-Poly1305 (RFC 8439), zero nonce, for keys that seal one message ever. Slices as aead_seal and aead_open. */
void once_seal(const struct key32 *key, struct bytes aad, struct bytes in, uint8_t *out);
bool once_open(const struct key32 *key, struct bytes aad, struct bytes in, uint8_t *out);

#endif
