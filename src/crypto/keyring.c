#include "base/seam.h"
#include "crypto/keyring_internal.h"
#include <assert.h>
#include <sodium.h>

static const char *const role_names[] = {
    [ROLE_ADMIN] = "admin", [ROLE_WRITER] = "writer", [ROLE_RESTORE] = "restore", [ROLE_PRUNE] = "prune"};

const char *key_role_name(enum key_role r) {
    return r >= ROLE_ADMIN && r <= ROLE_PRUNE ? role_names[r] : "unknown";
}

bool key_role_parse(const char *s, enum key_role *ret) {
    for (enum key_role r = ROLE_ADMIN; r <= ROLE_PRUNE; r++) {
        if (strcmp(s, role_names[r]) != 0) continue;
        *ret = r;
        return true;
    }
    return false;
}

void keyring_free(struct keyring *k) {
    if (k == NULL) return;
    secret_free(k->master);
    secret_free(k->id_key);
    secret_free(k->cut_key);
    secret_free(k->index_key);
    secret_free(k->read_secret);
    secret_free(k->sign_seed);
    seam_free(k);
}

static void keyring_freep(struct keyring **k) {
    keyring_free(*k);
}

int keyring_new(enum key_role role, const uint8_t repo_id[16], struct keyring **ret, struct error *err) {
    void *p;
    int rc = mem_alloc(sizeof(struct keyring), &p, err);
    if (rc < 0) return rc;
    struct keyring *k = p;
    k->role = role;
    memcpy(k->repo_id, repo_id, sizeof k->repo_id);
    *ret = k;
    return 0;
}

static int derive_key(struct bytes master, const uint8_t repo_id[16], const char *label, struct secret **ret,
                      struct error *err) {
    CLEANUP(key32_wipe) struct key32 key = {0};
    int rc = hkdf_sha256(master, BYTES_OF(repo_id, 16), BYTES_STR(label), key.b, sizeof key.b, err);
    if (rc < 0) return rc;
    return secret_new(BYTES_OF(key.b, sizeof key.b), ret, err);
}

int keyring_from_master(const uint8_t repo_id[16], struct bytes master, struct keyring **ret, struct error *err) {
    assert(master.len == KEY_BYTES);
    CLEANUP(keyring_freep) struct keyring *k = NULL;
    int rc = keyring_new(ROLE_ADMIN, repo_id, &k, err);
    if (rc < 0) return rc;
    rc = secret_new(master, &k->master, err);
    if (rc < 0) return rc;
    const struct {
        const char *label;
        struct secret **key;
    } keys[] = {{"proofkeep/v1/id", &k->id_key},
                {"proofkeep/v1/cut", &k->cut_key},
                {"proofkeep/v1/index", &k->index_key},
                {"proofkeep/v1/read", &k->read_secret},
                {"proofkeep/v1/admin-sign", &k->sign_seed}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        rc = derive_key(master, repo_id, keys[i].label, keys[i].key, err);
        if (rc < 0) return rc;
    }
    rc = box_public(secret_bytes(k->read_secret), k->read_public, err);
    if (rc < 0) return rc;
    rc = sign_public(secret_bytes(k->sign_seed), k->sign_public, err);
    if (rc < 0) return rc;
    memcpy(k->admin_public, k->sign_public, sizeof k->admin_public);
    *ret = k;
    k = NULL;
    return 0;
}

int keyring_create(const uint8_t repo_id[16], struct keyring **ret, struct error *err) {
    CLEANUP(secret_freep) struct secret *master = NULL;
    int rc = secret_random(KEY_BYTES, &master, err);
    if (rc < 0) return rc;
    return keyring_from_master(repo_id, secret_bytes(master), ret, err);
}

static int take_content(struct keyring *k, struct bytes id_bytes, struct bytes cut_bytes, struct error *err) {
    struct secret *id = NULL, *cut = NULL;
    int rc = secret_new(id_bytes, &id, err);
    if (rc == 0) rc = secret_new(cut_bytes, &cut, err);
    if (rc < 0) {
        secret_free(id);
        return rc;
    }
    secret_free(k->id_key);
    secret_free(k->cut_key);
    k->id_key = id;
    k->cut_key = cut;
    k->shared_content = true;
    return 0;
}

static int share_content(struct keyring *k, const struct keyring *source, struct error *err) {
    return take_content(k, secret_bytes(source->id_key), secret_bytes(source->cut_key), err);
}

int keyring_create_with(const uint8_t repo_id[16], struct bytes id, struct bytes cut, struct keyring **ret,
                        struct error *err) {
    CLEANUP(keyring_freep) struct keyring *k = NULL;
    int rc = keyring_create(repo_id, &k, err);
    if (rc == 0) rc = take_content(k, id, cut, err);
    if (rc < 0) return rc;
    *ret = k;
    k = NULL;
    return 0;
}

int keyring_create_sharing(const uint8_t repo_id[16], const struct keyring *source, struct keyring **ret,
                           struct error *err) {
    if (!source->id_key || !source->cut_key)
        return error_set(err, ERR_KEY_ROLE,
                         "a copy shares the content keys of its source, which a %s key does not have",
                         key_role_name(source->role));
    CLEANUP(keyring_freep) struct keyring *k = NULL;
    int rc = keyring_create(repo_id, &k, err);
    if (rc == 0) rc = share_content(k, source, err);
    if (rc < 0) return rc;
    *ret = k;
    k = NULL;
    return 0;
}

static bool same_key(const struct secret *a, const struct secret *b) {
    if (!a || !b) return false;
    struct bytes x = secret_bytes(a), y = secret_bytes(b);
    return x.len == y.len && sodium_memcmp(x.ptr, y.ptr, x.len) == 0;
}

bool keyring_shares_content(const struct keyring *a, const struct keyring *b) {
    return same_key(a->id_key, b->id_key) && same_key(a->cut_key, b->cut_key);
}

static int copy_key(const struct secret *from, struct secret **ret, struct error *err) {
    return secret_new(secret_bytes(from), ret, err);
}

int keyring_derive(const struct keyring *admin, enum key_role role, struct keyring **ret, struct error *err) {
    if (admin->role != ROLE_ADMIN)
        return error_set(err, ERR_KEY_ROLE, "a %s key cannot make other keys (of role %s): that takes the admin key",
                         key_role_name(admin->role), key_role_name(role));
    if (role < ROLE_ADMIN || role > ROLE_PRUNE)
        return error_set(err, ERR_KEY_ROLE, "there is no key role of number %d", (int)role);
    CLEANUP(keyring_freep) struct keyring *k = NULL;
    int rc;
    if (role == ROLE_ADMIN) {
        rc = keyring_from_master(admin->repo_id, secret_bytes(admin->master), &k, err);
        if (rc == 0 && admin->shared_content) rc = share_content(k, admin, err);
        if (rc < 0) return rc;
        *ret = k;
        k = NULL;
        return 0;
    }
    rc = keyring_new(role, admin->repo_id, &k, err);
    if (rc < 0) return rc;
    rc = copy_key(admin->index_key, &k->index_key, err);
    if (rc < 0) return rc;
    if (role == ROLE_WRITER || role == ROLE_RESTORE) {
        rc = copy_key(admin->id_key, &k->id_key, err);
        if (rc < 0) return rc;
        rc = copy_key(admin->cut_key, &k->cut_key, err);
        if (rc < 0) return rc;
    }
    if (role == ROLE_RESTORE) {
        rc = copy_key(admin->read_secret, &k->read_secret, err);
        if (rc < 0) return rc;
    }
    rc = secret_random(SIGN_SEED_BYTES, &k->sign_seed, err);
    if (rc < 0) return rc;
    rc = sign_public(secret_bytes(k->sign_seed), k->sign_public, err);
    if (rc < 0) return rc;
    memcpy(k->read_public, admin->read_public, sizeof k->read_public);
    memcpy(k->admin_public, admin->admin_public, sizeof k->admin_public);
    *ret = k;
    k = NULL;
    return 0;
}
