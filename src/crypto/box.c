#include "base/seam.h"
#include "crypto/crypto_internal.h"
#include <sodium.h>

#define BOX_INFO "proofkeep/v1/box"

static int check_secret(struct bytes secret, struct error *err) {
    if (secret.len != BOX_SECRET_BYTES)
        return error_set(err, ERR_CRYPTO, "an X25519 secret has %d bytes, not %zu", BOX_SECRET_BYTES, secret.len);
    return 0;
}

/* -1 when the other's public key is one of the few that give everybody the same secret. */
static int box_key(const uint8_t *secret, const uint8_t *other, const uint8_t *epk, const uint8_t *pub,
                   struct key32 *ret) {
    CLEANUP(key32_wipe) struct key32 shared = {0};
    if (crypto_scalarmult(shared.b, secret, other) != 0) return -1;
    uint8_t salt[2 * BOX_PUBLIC_BYTES];
    memcpy(salt, epk, BOX_PUBLIC_BYTES);
    memcpy(salt + BOX_PUBLIC_BYTES, pub, BOX_PUBLIC_BYTES);
    struct error ignored = ERROR_INIT; /* refuses only lengths over its limit */
    return hkdf_sha256(BYTES_OF(shared.b, KEY_BYTES), BYTES_OF(salt, sizeof salt), BYTES_STR(BOX_INFO), ret->b,
                       KEY_BYTES, &ignored);
}

int box_public(struct bytes secret, uint8_t pub[BOX_PUBLIC_BYTES], struct error *err) {
    int rc = check_secret(secret, err);
    if (rc < 0) return rc;
    crypto_scalarmult_base(pub, secret.ptr);
    return 0;
}

int box_seal(const uint8_t pub[BOX_PUBLIC_BYTES], struct bytes in, uint8_t *out, struct error *err) {
    CLEANUP(key32_wipe) struct key32 esk = {0};
    CLEANUP(key32_wipe) struct key32 key = {0};
    int rc = random_bytes(esk.b, sizeof esk.b, err);
    if (rc < 0) return rc;
    crypto_scalarmult_base(out, esk.b);
    if (box_key(esk.b, pub, out, pub, &key) != 0)
        return error_set(err, ERR_CRYPTO, "nothing can be sealed to that public key: it is a degenerate point");
    once_seal(&key, BYTES_OF(NULL, 0), in, out + BOX_PUBLIC_BYTES);
    return 0;
}

int box_open(struct bytes secret, struct bytes in, uint8_t *out, struct error *err) {
    int rc = check_secret(secret, err);
    if (rc < 0) return rc;
    if (in.len < SEAL_OVERHEAD_BYTES)
        return error_set(err, ERR_OBJECT_CORRUPT, "a sealed box has %zu bytes, fewer than the least of %d", in.len,
                         SEAL_OVERHEAD_BYTES);
    CLEANUP(key32_wipe) struct key32 key = {0};
    uint8_t pub[BOX_PUBLIC_BYTES];
    crypto_scalarmult_base(pub, secret.ptr);
    struct bytes sealed = BYTES_OF(in.ptr + BOX_PUBLIC_BYTES, in.len - BOX_PUBLIC_BYTES);
    if (box_key(secret.ptr, in.ptr, in.ptr, pub, &key) == 0 && once_open(&key, BYTES_OF(NULL, 0), sealed, out))
        return 0;
    wipe(out, in.len - SEAL_OVERHEAD_BYTES);
    char hex[2 * BOX_PUBLIC_BYTES + 1];
    hex_encode(pub, sizeof pub, hex);
    return error_set(
        err, ERR_KEY_WRONG,
        "a sealed box of %zu bytes does not open with the key whose public half is %.16s…: it was sealed to "
        "another key, or altered",
        in.len, hex);
}
