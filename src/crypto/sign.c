#include "crypto/crypto_internal.h"
#include <sodium.h>

static int pair_of(struct bytes seed, uint8_t pub[SIGN_PUBLIC_BYTES], uint8_t secret[crypto_sign_SECRETKEYBYTES],
                   struct error *err) {
    if (seed.len != SIGN_SEED_BYTES)
        return error_set(err, ERR_CRYPTO, "a signing seed has %d bytes, not %zu", SIGN_SEED_BYTES, seed.len);
    crypto_sign_seed_keypair(pub, secret, seed.ptr);
    return 0;
}

int sign_public(struct bytes seed, uint8_t pub[SIGN_PUBLIC_BYTES], struct error *err) {
    uint8_t secret[crypto_sign_SECRETKEYBYTES];
    int rc = pair_of(seed, pub, secret, err);
    wipe(secret, sizeof secret);
    return rc;
}

int sign_detached(struct bytes seed, struct bytes msg, uint8_t sig[SIGN_BYTES], struct error *err) {
    uint8_t pub[SIGN_PUBLIC_BYTES], secret[crypto_sign_SECRETKEYBYTES];
    int rc = pair_of(seed, pub, secret, err);
    if (rc == 0) crypto_sign_detached(sig, NULL, msg.ptr, msg.len, secret);
    wipe(secret, sizeof secret);
    return rc;
}

bool sign_verify(const uint8_t pub[SIGN_PUBLIC_BYTES], struct bytes msg, const uint8_t sig[SIGN_BYTES]) {
    return crypto_sign_verify_detached(sig, msg.ptr, msg.len, pub) == 0;
}
