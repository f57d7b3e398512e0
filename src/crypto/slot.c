/* Layout, all integers little-endian (doc/format/keys.md):
 *   0 magic "PKSLOT1\n"    8 kind u8    9 role u8    10 label length u8    11 zero u8    12 way's length u16
 *  14 sealed length u16   16 repository id [16]   32 signing public key [32]   64 label [64], zero-padded
 * 128 salt [32]          160 commitment [32]     192 the way to the KEK, by kind; then the sealed bundle
 * The way: passphrase: passes u64, memory bytes u64, Argon2id salt [16]; key file: nothing; recipient: public key [32],
 * sealed box of the KEK [80]. */
#include "base/seam.h"
#include "crypto/keyring_internal.h"
#include <sodium.h>
#include <stdio.h>

#define SLOT_MAGIC "PKSLOT1\n"
#define LABEL_BYTES_MAX 64
#define AT_WAY 192
#define WAY_BYTES_MAX (BOX_PUBLIC_BYTES + KEY_BYTES + SEAL_OVERHEAD_BYTES)
#define SLOT_BYTES_MAX (AT_WAY + WAY_BYTES_MAX + BUNDLE_BYTES_MAX + AEAD_TAG_BYTES)
#define ARGON_OPS_DEFAULT 3
#define ARGON_MEM_BYTES_DEFAULT (UINT64_C(256) << 20)

struct slot {
    enum slot_kind kind;
    enum key_role role;
    const uint8_t *repo_id, *sign_public, *salt, *commitment;
    struct bytes label, way, sealed, header; /* header: all that precedes sealed */
};

static const char *kind_name(int kind) {
    return kind == SLOT_PASSPHRASE ? "passphrase" : kind == SLOT_KEY_FILE ? "key file" : "recipient's identity";
}

static size_t way_bytes(int kind) {
    return kind == SLOT_PASSPHRASE ? 32 : kind == SLOT_RECIPIENT ? WAY_BYTES_MAX : 0;
}

static int malformed(struct error *err, const char *what) {
    return error_set(err, ERR_OBJECT_CORRUPT, "a key slot is malformed: %s", what);
}

/* A label is printed to terminals, so it can hold no control character. */
static bool label_is_clean(const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i] < 0x20 || p[i] == 0x7f) return false;
    return true;
}

static int slot_parse(struct bytes in, struct slot *s, struct error *err) {
    const uint8_t *p = in.ptr;
    if (in.len < AT_WAY || memcmp(p, SLOT_MAGIC, 8) != 0) return malformed(err, "it does not begin as one");
    if (p[8] < SLOT_PASSPHRASE || p[8] > SLOT_RECIPIENT) return malformed(err, "its kind is unknown");
    if (p[9] < ROLE_ADMIN || p[9] > ROLE_PRUNE) return malformed(err, "its role is unknown");
    if (p[10] > LABEL_BYTES_MAX || p[11] != 0) return malformed(err, "its label is too long");
    for (size_t i = p[10]; i < LABEL_BYTES_MAX; i++)
        if (p[64 + i] != 0) return malformed(err, "its label is not padded with zeros");
    if (!label_is_clean(p + 64, p[10])) return malformed(err, "its label holds a control character");
    size_t way = get_u16(p + 12), sealed = get_u16(p + 14);
    if (way != way_bytes(p[8]) || sealed < AEAD_TAG_BYTES || !bundle_bytes_ok(p[9], sealed - AEAD_TAG_BYTES) ||
        in.len != AT_WAY + way + sealed)
        return malformed(err, "its length does not agree with its kind and role");
    *s = (struct slot){.kind = p[8],
                       .role = p[9],
                       .repo_id = p + 16,
                       .sign_public = p + 32,
                       .salt = p + 128,
                       .commitment = p + 160,
                       .label = BYTES_OF(p + 64, p[10]),
                       .way = BYTES_OF(p + AT_WAY, way),
                       .sealed = BYTES_OF(p + AT_WAY + way, sealed),
                       .header = BYTES_OF(p, AT_WAY + way)};
    return 0;
}

static int derive(const struct key32 *kek, const uint8_t *repo_id, const uint8_t *salt32, struct key32 *ret_key,
                  uint8_t commitment[32], struct error *err) {
    uint8_t salt[48];
    memcpy(salt, repo_id, 16);
    memcpy(salt + 16, salt32, 32);
    struct bytes ikm = BYTES_OF(kek->b, KEY_BYTES), s = BYTES_OF(salt, sizeof salt);
    int rc = hkdf_sha256(ikm, s, BYTES_STR("proofkeep/v1/slot"), ret_key->b, KEY_BYTES, err);
    if (rc < 0) return rc;
    return hkdf_sha256(ikm, s, BYTES_STR("proofkeep/v1/slot-commit"), commitment, 32, err);
}

static int check_unlock(const struct unlock *u, bool sealing, struct error *err) {
    if (u->kind < SLOT_PASSPHRASE || u->kind > SLOT_RECIPIENT)
        return error_set(err, ERR_KEY_NONE, "neither a passphrase, a key file nor an identity was given");
    if (u->kind == SLOT_PASSPHRASE && u->secret.len == 0) return error_set(err, ERR_SECRET, "the passphrase is empty");
    if (u->kind == SLOT_KEY_FILE && u->secret.len != KEY_BYTES)
        return error_set(err, ERR_SECRET, "a key file holds %d bytes of key, not %zu", KEY_BYTES, u->secret.len);
    if (u->kind == SLOT_RECIPIENT && !sealing && u->secret.len != BOX_SECRET_BYTES)
        return error_set(err, ERR_SECRET, "an identity holds %d bytes of key, not %zu", BOX_SECRET_BYTES,
                         u->secret.len);
    return 0;
}

/* The KEK of a slot to be, and the way to it. */
static int kek_make(const struct unlock *u, uint8_t *way, struct key32 *kek, struct error *err) {
    int rc;
    switch (u->kind) {
    case SLOT_PASSPHRASE: {
        uint64_t ops = u->argon_ops ? u->argon_ops : ARGON_OPS_DEFAULT;
        uint64_t mem_bytes = u->argon_mem_bytes ? u->argon_mem_bytes : ARGON_MEM_BYTES_DEFAULT;
        put_u64(way, ops);
        put_u64(way + 8, mem_bytes);
        rc = random_bytes(way + 16, 16, err);
        return rc < 0 ? rc : argon2id(u->secret, way + 16, ops, mem_bytes, kek->b, KEY_BYTES, err);
    }
    case SLOT_KEY_FILE:
        memcpy(kek->b, u->secret.ptr, KEY_BYTES);
        return 0;
    case SLOT_RECIPIENT:
        memcpy(way, u->recipient, BOX_PUBLIC_BYTES);
        rc = random_bytes(kek->b, KEY_BYTES, err);
        return rc < 0 ? rc : box_seal(u->recipient, BYTES_OF(kek->b, KEY_BYTES), way + BOX_PUBLIC_BYTES, err);
    }
    return error_set(err, ERR_INTERNAL, "a slot of kind %d", (int)u->kind);
}

int slot_seal(const struct keyring *k, const struct unlock *u, const char *label, struct buf *ret, struct error *err) {
    int rc = check_unlock(u, true, err);
    if (rc < 0) return rc;
    size_t label_len = strlen(label);
    if (label_len > LABEL_BYTES_MAX)
        return error_set(err, ERR_USAGE, "the label of a key has at most %d bytes, not %zu", LABEL_BYTES_MAX,
                         label_len);
    if (!label_is_clean((const uint8_t *)label, label_len))
        return error_set(err, ERR_USAGE, "the label of a key holds a control character");
    size_t way = way_bytes(u->kind), plain = bundle_bytes(k);
    uint8_t slot[SLOT_BYTES_MAX] = {0};
    memcpy(slot, SLOT_MAGIC, 8);
    slot[8] = (uint8_t)u->kind;
    slot[9] = (uint8_t)k->role;
    slot[10] = (uint8_t)label_len;
    put_u16(slot + 12, (uint16_t)way);
    put_u16(slot + 14, (uint16_t)(plain + AEAD_TAG_BYTES));
    memcpy(slot + 16, k->repo_id, 16);
    memcpy(slot + 32, k->sign_public, SIGN_PUBLIC_BYTES);
    memcpy(slot + 64, label, label_len);
    CLEANUP(key32_wipe) struct key32 kek = {0};
    CLEANUP(key32_wipe) struct key32 key = {0};
    rc = random_bytes(slot + 128, 32, err);
    if (rc < 0) return rc;
    rc = kek_make(u, slot + AT_WAY, &kek, err);
    if (rc < 0) return error_wrap(err, "sealing a key slot");
    rc = derive(&kek, k->repo_id, slot + 128, &key, slot + 160, err);
    if (rc < 0) return rc;
    uint8_t bundle[BUNDLE_BYTES_MAX];
    bundle_encode(k, bundle);
    once_seal(&key, BYTES_OF(slot, AT_WAY + way), BYTES_OF(bundle, plain), slot + AT_WAY + way);
    wipe(bundle, sizeof bundle);
    return buf_append(ret, slot, AT_WAY + way + plain + AEAD_TAG_BYTES, err);
}

static int wrong(const struct slot *s, const char *tried, struct error *err) {
    return error_set(err, ERR_KEY_WRONG, "%s does not open the slot '%.*s' (role %s)", tried, (int)s->label.len,
                     (const char *)s->label.ptr, key_role_name(s->role));
}

/* The KEK of a slot that is. When the secret plainly is another's, says so here; else the commitment does. */
static int kek_find(const struct slot *s, const struct unlock *u, struct key32 *kek, struct error *err) {
    if (u->kind == SLOT_KEY_FILE) {
        memcpy(kek->b, u->secret.ptr, KEY_BYTES);
        return 0;
    }
    if (u->kind == SLOT_PASSPHRASE) {
        uint64_t ops = get_u64(s->way.ptr), mem_bytes = get_u64(s->way.ptr + 8);
        if (ops < 1 || ops > ARGON_OPS_MAX || mem_bytes < ARGON_MEM_BYTES_MIN || mem_bytes > ARGON_MEM_BYTES_MAX ||
            mem_bytes % 1024 != 0)
            return malformed(err, "its Argon2id parameters are outside the limits, and were not used");
        return argon2id(u->secret, s->way.ptr + 16, ops, mem_bytes, kek->b, KEY_BYTES, err);
    }
    uint8_t pub[BOX_PUBLIC_BYTES];
    int rc = box_public(u->secret, pub, err);
    if (rc < 0) return rc;
    if (memcmp(pub, s->way.ptr, sizeof pub) != 0) {
        char mine[RECIPIENT_TEXT_BYTES], its[RECIPIENT_TEXT_BYTES], text[256];
        key_recipient_format(pub, mine);
        key_recipient_format(s->way.ptr, its);
        snprintf(text, sizeof text, "the identity of %s, tried on a slot that is sealed to %s,", mine, its);
        return wrong(s, text, err);
    }
    struct bytes box = BYTES_OF(s->way.ptr + BOX_PUBLIC_BYTES, s->way.len - BOX_PUBLIC_BYTES);
    return box_open(u->secret, box, kek->b, err);
}

static int check_bundle(const struct slot *s, const struct keyring *k, struct error *err) {
    if (k->role != s->role || memcmp(k->repo_id, s->repo_id, 16) != 0 ||
        memcmp(k->sign_public, s->sign_public, SIGN_PUBLIC_BYTES) != 0)
        return malformed(err, "what it says in clear is not what it holds");
    return 0;
}

int slot_open(struct bytes slot, const struct unlock *u, struct keyring **ret, struct error *err) {
    struct slot s;
    int rc = check_unlock(u, false, err);
    if (rc < 0) return rc;
    rc = slot_parse(slot, &s, err);
    if (rc < 0) return rc;
    char tried[96];
    snprintf(tried, sizeof tried, "the %s, tried on a slot that wants a %s,", kind_name(u->kind), kind_name(s.kind));
    if (u->kind != s.kind) return wrong(&s, tried, err);
    CLEANUP(key32_wipe) struct key32 kek = {0};
    CLEANUP(key32_wipe) struct key32 key = {0};
    rc = kek_find(&s, u, &kek, err);
    if (rc < 0) return error_wrap(err, "opening a key slot");
    uint8_t commitment[32];
    rc = derive(&kek, s.repo_id, s.salt, &key, commitment, err);
    if (rc < 0) return rc;
    snprintf(tried, sizeof tried, "the %s that was tried", kind_name(u->kind));
    if (sodium_memcmp(commitment, s.commitment, sizeof commitment) != 0) return wrong(&s, tried, err);
    uint8_t bundle[BUNDLE_BYTES_MAX + AEAD_TAG_BYTES];
    if (!once_open(&key, s.header, s.sealed, bundle))
        return error_set(err, ERR_OBJECT_CORRUPT, "the %s is the right one, but the slot '%.*s' was altered",
                         kind_name(u->kind), (int)s.label.len, (const char *)s.label.ptr);
    struct keyring *k;
    rc = bundle_decode(BYTES_OF(bundle, s.sealed.len - AEAD_TAG_BYTES), &k, err);
    wipe(bundle, sizeof bundle);
    if (rc < 0) return rc;
    rc = check_bundle(&s, k, err);
    if (rc < 0) {
        keyring_free(k);
        return rc;
    }
    *ret = k;
    return 0;
}

int slot_describe(struct bytes slot, struct slot_info *ret, struct error *err) {
    struct slot s;
    int rc = slot_parse(slot, &s, err);
    if (rc < 0) return rc;
    *ret = (struct slot_info){.kind = s.kind, .role = s.role};
    memcpy(ret->label, s.label.ptr, s.label.len);
    memcpy(ret->sign_public, s.sign_public, SIGN_PUBLIC_BYTES);
    return 0;
}
