#include "base/seam.h"
#include "crypto/keyring_internal.h"

static unsigned role_flags(enum key_role role) {
    switch (role) {
    case ROLE_ADMIN:
        return BUNDLE_MASTER; /* the rest follows from it, and cannot then disagree with it */
    case ROLE_WRITER:
        return BUNDLE_ID | BUNDLE_CUT | BUNDLE_INDEX;
    case ROLE_RESTORE:
        return BUNDLE_ID | BUNDLE_CUT | BUNDLE_INDEX | BUNDLE_READ;
    case ROLE_PRUNE:
        return BUNDLE_INDEX;
    }
    return 0;
}

/* The administrator of a copy has the content keys as well, as they do not follow from his master key. */
static bool flags_ok(enum key_role role, unsigned flags) {
    unsigned usual = role_flags(role);
    return usual && (flags == usual || (role == ROLE_ADMIN && flags == (usual | BUNDLE_ID | BUNDLE_CUT)));
}

static unsigned bundle_flags(const struct keyring *k) {
    return role_flags(k->role) | (k->shared_content ? BUNDLE_ID | BUNDLE_CUT : 0);
}

static size_t flags_bytes(unsigned flags) {
    return BUNDLE_FIXED_BYTES + KEY_BYTES * (size_t)__builtin_popcount(flags);
}

size_t bundle_bytes(const struct keyring *k) {
    return flags_bytes(bundle_flags(k));
}

bool bundle_bytes_ok(enum key_role role, size_t n) {
    for (unsigned flags = 1; flags < 2u * BUNDLE_READ; flags++)
        if (flags_ok(role, flags) && flags_bytes(flags) == n) return true;
    return false;
}

void bundle_encode(const struct keyring *k, uint8_t *out) {
    unsigned flags = bundle_flags(k);
    out[0] = (uint8_t)k->role;
    out[1] = (uint8_t)flags;
    memcpy(out + 2, k->repo_id, 16);
    memcpy(out + 18, secret_bytes(k->sign_seed).ptr, SIGN_SEED_BYTES);
    memcpy(out + 50, k->read_public, BOX_PUBLIC_BYTES);
    memcpy(out + 82, k->admin_public, SIGN_PUBLIC_BYTES);
    const struct secret *keys[] = {k->master, k->id_key, k->cut_key, k->index_key, k->read_secret};
    out += BUNDLE_FIXED_BYTES;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (!(flags & 1u << i)) continue;
        memcpy(out, secret_bytes(keys[i]).ptr, KEY_BYTES);
        out += KEY_BYTES;
    }
}

static void keyring_freep(struct keyring **k) {
    keyring_free(*k);
}

static int take_secrets(struct keyring *k, struct bytes in, struct error *err) {
    unsigned flags = in.ptr[1];
    struct secret **keys[] = {&k->master, &k->id_key, &k->cut_key, &k->index_key, &k->read_secret};
    const uint8_t *at = in.ptr + BUNDLE_FIXED_BYTES;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (!(flags & 1u << i)) continue;
        int rc = secret_new(BYTES_OF(at, KEY_BYTES), keys[i], err);
        if (rc < 0) return rc;
        at += KEY_BYTES;
    }
    int rc = secret_new(BYTES_OF(in.ptr + 18, SIGN_SEED_BYTES), &k->sign_seed, err);
    if (rc < 0) return rc;
    memcpy(k->read_public, in.ptr + 50, BOX_PUBLIC_BYTES);
    memcpy(k->admin_public, in.ptr + 82, SIGN_PUBLIC_BYTES);
    return sign_public(secret_bytes(k->sign_seed), k->sign_public, err);
}

static int disagree(struct error *err, const char *what) {
    return error_set(err, ERR_OBJECT_CORRUPT, "a key bundle contradicts itself: %s", what);
}

int bundle_decode(struct bytes in, struct keyring **ret, struct error *err) {
    if (in.len < BUNDLE_FIXED_BYTES || !flags_ok(in.ptr[0], in.ptr[1]) || in.len != flags_bytes(in.ptr[1]))
        return error_set(err, ERR_OBJECT_CORRUPT, "a key bundle of %zu bytes is not one of a known role", in.len);
    CLEANUP(keyring_freep) struct keyring *k = NULL;
    int rc = keyring_new(in.ptr[0], in.ptr + 2, &k, err);
    if (rc < 0) return rc;
    rc = take_secrets(k, in, err);
    if (rc < 0) return rc;
    if (k->role == ROLE_ADMIN) {
        struct keyring *derived;
        rc = keyring_from_master(k->repo_id, secret_bytes(k->master), &derived, err);
        if (rc < 0) return rc;
        bool same = memcmp(k->sign_public, derived->sign_public, SIGN_PUBLIC_BYTES) == 0 &&
                    memcmp(k->admin_public, derived->admin_public, SIGN_PUBLIC_BYTES) == 0 &&
                    memcmp(k->read_public, derived->read_public, BOX_PUBLIC_BYTES) == 0;
        if (same && in.ptr[1] & BUNDLE_ID) {
            struct secret *own[] = {derived->id_key, derived->cut_key};
            derived->id_key = k->id_key;
            derived->cut_key = k->cut_key;
            derived->shared_content = true;
            k->id_key = own[0];
            k->cut_key = own[1];
        }
        keyring_free(k);
        k = derived;
        if (!same) return disagree(err, "its public keys do not follow from its master key");
    }
    if (k->role == ROLE_RESTORE) {
        uint8_t pub[BOX_PUBLIC_BYTES];
        rc = box_public(secret_bytes(k->read_secret), pub, err);
        if (rc < 0) return rc;
        if (memcmp(pub, k->read_public, sizeof pub) != 0)
            return disagree(err, "its read key is not the pair of its public one");
    }
    *ret = k;
    k = NULL;
    return 0;
}
