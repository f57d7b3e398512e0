#include "crypto/epoch.h"

#include "base/seam.h"
#include "crypto/keyring_internal.h"
#include <sodium.h>
#include <stdio.h>

void epoch_keys_clear(struct epoch_keys *k) {
    secret_free(k->id);
    secret_free(k->cut);
    secret_free(k->index);
    *k = (struct epoch_keys){0};
}

static int copy(const struct secret *from, struct secret **ret, struct error *err) {
    return secret_new(secret_bytes(from), ret, err);
}

static int derive(const struct keyring *admin, const char *name, unsigned n, struct secret **ret, struct error *err) {
    CLEANUP(key32_wipe) struct key32 key = {0};
    char label[48];
    snprintf(label, sizeof label, "proofkeep/v1/%s/%u", name, n);
    int rc = hkdf_sha256(secret_bytes(admin->master), BYTES_OF(admin->repo_id, 16), BYTES_STR(label), key.b,
                         sizeof key.b, err);
    return rc < 0 ? rc : secret_new(BYTES_OF(key.b, sizeof key.b), ret, err);
}

int epoch_keys_derive(const struct keyring *admin, unsigned n, struct epoch_keys *ret, struct error *err) {
    struct epoch_keys k = {0};
    if (admin->role != ROLE_ADMIN)
        return error_set(err, ERR_KEY_ROLE, "a %s key cannot make the keys of an epoch: that takes the admin key",
                         key_role_name(admin->role));
    int rc = n ? derive(admin, "id", n, &k.id, err) : copy(admin->id_key, &k.id, err);
    if (rc == 0) rc = n ? derive(admin, "cut", n, &k.cut, err) : copy(admin->cut_key, &k.cut, err);
    if (rc == 0) rc = n ? derive(admin, "index", n, &k.index, err) : copy(admin->index_key, &k.index, err);
    if (rc < 0)
        epoch_keys_clear(&k);
    else
        *ret = k;
    return rc;
}

int epoch_keys_follow(const struct keyring *admin, unsigned n, struct bytes id, struct bytes cut,
                      struct epoch_keys *ret, struct error *err) {
    struct epoch_keys k;
    int rc = epoch_keys_derive(admin, n, &k, err);
    if (rc < 0) return rc;
    secret_free(k.id);
    secret_free(k.cut);
    k.id = k.cut = NULL;
    rc = secret_new(id, &k.id, err);
    if (rc == 0) rc = secret_new(cut, &k.cut, err);
    if (rc < 0)
        epoch_keys_clear(&k);
    else
        *ret = k;
    return rc;
}

bool epoch_key_same(struct bytes a, struct bytes b) {
    return a.len == b.len && a.len && sodium_memcmp(a.ptr, b.ptr, a.len) == 0;
}

static void take(struct secret **to, struct secret **from) {
    if (!*to || !*from) return;
    secret_free(*to);
    *to = *from;
    *from = NULL;
}

int keyring_enter_epoch(struct keyring *bundle, const struct keyring *admin, unsigned n, struct error *err) {
    struct epoch_keys k;
    if (bundle->role == ROLE_ADMIN || n == 0) return 0;
    int rc = epoch_keys_derive(admin, n, &k, err);
    if (rc < 0) return rc;
    take(&bundle->id_key, &k.id);
    take(&bundle->cut_key, &k.cut);
    take(&bundle->index_key, &k.index);
    epoch_keys_clear(&k);
    return 0;
}

int keyring_enter_epoch_keys(struct keyring *bundle, const struct epoch_keys *keys, struct error *err) {
    struct epoch_keys k = {0};
    if (bundle->role == ROLE_ADMIN) return 0;
    int rc = keys->id ? copy(keys->id, &k.id, err) : 0;
    if (rc == 0 && keys->cut) rc = copy(keys->cut, &k.cut, err);
    if (rc == 0 && keys->index) rc = copy(keys->index, &k.index, err);
    if (rc == 0) {
        take(&bundle->id_key, &k.id);
        take(&bundle->cut_key, &k.cut);
        take(&bundle->index_key, &k.index);
    }
    epoch_keys_clear(&k);
    return rc;
}

int sign_box_public(const uint8_t pub[SIGN_PUBLIC_BYTES], uint8_t ret[BOX_PUBLIC_BYTES], struct error *err) {
    char hex[2 * SIGN_PUBLIC_BYTES + 1];
    if (crypto_sign_ed25519_pk_to_curve25519(ret, pub) == 0) return 0;
    hex_encode(pub, SIGN_PUBLIC_BYTES, hex);
    return error_set(err, ERR_CRYPTO, "nothing can be sealed to the key %.16s: it is no Ed25519 key", hex);
}

int sign_box_secret(struct bytes seed, struct secret **ret, struct error *err) {
    uint8_t pub[SIGN_PUBLIC_BYTES], pair[64];
    CLEANUP(key32_wipe) struct key32 secret = {0};
    if (seed.len != SIGN_SEED_BYTES)
        return error_set(err, ERR_CRYPTO, "a signing seed has %zu bytes, not 32", seed.len);
    crypto_sign_seed_keypair(pub, pair, seed.ptr);
    int bad = crypto_sign_ed25519_sk_to_curve25519(secret.b, pair);
    wipe(pair, sizeof pair);
    if (bad) return error_set(err, ERR_CRYPTO, "a signing seed gives no X25519 key");
    return secret_new(BYTES_OF(secret.b, sizeof secret.b), ret, err);
}
