/* Key slots and bundles: an error, or keys that agree with what the slot says in clear. First byte: 0 the rest is a
 * slot, 1 a bundle, 2 a key file. */
#include "crypto/keyring_internal.h"
#include "repo_fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Slots that ask for more than this of Argon2id are only described: what they ask for would only take time. */
#define ARGON_PASSES_MAX 2
#define ARGON_BYTES_MAX (1u << 20)

static void slot(struct bytes in) {
    uint8_t key[32], identity[32];
    for (int i = 0; i < 32; i++) key[i] = (uint8_t)(0xc0 + i), identity[i] = (uint8_t)(0xe0 + i);
    struct unlock with[] = {{.kind = SLOT_KEY_FILE, .secret = BYTES_OF(key, 32)},
                            {.kind = SLOT_RECIPIENT, .secret = BYTES_OF(identity, 32)},
                            {.kind = SLOT_PASSPHRASE, .secret = BYTES_STR("correct horse battery staple")}};
    struct slot_info info;
    struct error err = ERROR_INIT;
    int described = slot_describe(in, &info, &err);
    need(described == 0 || described == -ERR_OBJECT_CORRUPT);
    for (size_t i = 0; i < 3; i++) {
        struct keyring *k = NULL;
        error_clear(&err);
        if (with[i].kind == SLOT_PASSPHRASE && described == 0 && info.kind == SLOT_PASSPHRASE &&
            (get_u64(in.ptr + 192) > ARGON_PASSES_MAX || get_u64(in.ptr + 200) > ARGON_BYTES_MAX))
            continue;
        int rc = slot_open(in, &with[i], &k, &err);
        need(rc == 0 || rc == -ERR_OBJECT_CORRUPT || rc == -ERR_KEY_WRONG || rc == -ERR_CRYPTO);
        if (rc < 0) continue;
        need(described == 0 && info.kind == with[i].kind && info.role == k->role);
        need(memcmp(info.sign_public, k->sign_public, SIGN_PUBLIC_BYTES) == 0);
        keyring_free(k);
    }
}

static void bundle(struct bytes in) {
    struct error err = ERROR_INIT;
    struct keyring *k = NULL;
    uint8_t again[BUNDLE_BYTES_MAX];
    int rc = bundle_decode(in, &k, &err);
    need(rc == 0 || rc == -ERR_OBJECT_CORRUPT || rc == -ERR_CRYPTO);
    if (rc < 0) return;
    need(in.len == bundle_bytes(k));
    bundle_encode(k, again);
    need(memcmp(again, in.ptr, in.len) == 0);
    keyring_free(k);
}

static void file(struct bytes in) {
    struct error err = ERROR_INIT;
    struct secret *s = NULL;
    enum slot_kind kind;
    int rc = key_file_parse(in, &s, &kind, &err);
    need(rc == 0 || rc == -ERR_SECRET);
    if (rc == 0) need(secret_bytes(s).len == KEY_BYTES && (kind == SLOT_KEY_FILE || kind == SLOT_RECIPIENT));
    secret_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct error err = ERROR_INIT;
    if (size < 1) return 0;
    need(crypto_init(&err) == 0);
    struct bytes in = BYTES_OF(data + 1, size - 1);
    if (data[0] == 0)
        slot(in);
    else if (data[0] == 1)
        bundle(in);
    else
        file(in);
    return 0;
}
