/* The keys of one repository: derivation, roles, slots.
 *
 * Invariants
 *  1. Every key below is derived from the 32-byte master key by HKDF-SHA256 with salt = repository id and the label
 *     "proofkeep/v1/<name>" (names: id, cut, index, read, admin-sign), except the signing seeds of the other roles, which are
 *     random and each bundle's own, and the content keys (id and cut) of a repository that was made as a copy, which are
 *     those of its source.
 *  2. A bundle of a role holds just what the role may use: see ROLE_* below. What it lacks is absent, not merely unused.
 *  3. A slot is an object named by the SHA-256 of its bytes; it holds one bundle. Three ways lead to its 32-byte KEK: a
 *     passphrase by Argon2id, a key file's 32 bytes as they are, or a random KEK in a sealed box to a recipient. From there
 *     all slots are alike: HKDF with the repository's id and the slot's random salt gives a key and a commitment, and
 *     ChaCha20-Poly1305 (RFC 8439) under that key, zero nonce, seals the bundle with all that precedes it as associated
 *     data. Not XChaCha20: a reader with Python's `cryptography` alone must open a key file's slot.
 *  4. No bit of a slot can change without being refused.
 * The bytes are described in doc/format/keys.md, with test vectors.
 */
#ifndef PK_CRYPTO_KEYRING_H
#define PK_CRYPTO_KEYRING_H

#include "crypto/crypto.h"

enum key_role {
    ROLE_ADMIN = 1,   /* master key, so everything */
    ROLE_WRITER = 2,  /* id, cut, index, read PUBLIC; own signing seed. Cannot read what it stored. */
    ROLE_RESTORE = 3, /* id, cut, index, read SECRET; own signing seed (receipts of verifications) */
    ROLE_PRUNE = 4,   /* index key, own signing seed; whole-pack collection only */
};
const char *key_role_name(enum key_role r);
bool key_role_parse(const char *s, enum key_role *ret);

struct keyring {
    enum key_role role;
    uint8_t repo_id[16];
    struct secret *master;     /* NULL but for ROLE_ADMIN */
    struct secret *id_key;     /* chunk ids; NULL for ROLE_PRUNE */
    struct secret *cut_key;    /* gear table; NULL for ROLE_PRUNE */
    bool shared_content;       /* ROLE_ADMIN: id and cut do not follow from the master key but came from another repository */
    struct secret *index_key;  /* index runs, pack lists */
    struct secret *read_secret; /* X25519; NULL for ROLE_WRITER and ROLE_PRUNE */
    uint8_t read_public[BOX_PUBLIC_BYTES]; /* every role has it: it is public */
    struct secret *sign_seed;  /* Ed25519 of this bundle; the admin's is derived from the master key */
    uint8_t sign_public[SIGN_PUBLIC_BYTES];
    uint8_t admin_public[SIGN_PUBLIC_BYTES]; /* who may sign KEY entries of the log */
};

/* A new repository's keyring of ROLE_ADMIN, from fresh randomness. */
int keyring_create(const uint8_t repo_id[16], struct keyring **ret, struct error *err) PK_CHECK;
/* The same for a repository that shares the content keys of another, whose bundle (not ROLE_PRUNE: ERR_KEY_ROLE) is `source`. */
int keyring_create_sharing(const uint8_t repo_id[16], const struct keyring *source, struct keyring **ret, struct error *err) PK_CHECK;
/* The same with the keys themselves: those of its epoch 0. */
int keyring_create_with(const uint8_t repo_id[16], struct bytes id, struct bytes cut, struct keyring **ret, struct error *err) PK_CHECK;
/* Whether chunks of both repositories have the same ids. False when either bundle lacks the content keys. */
bool keyring_shares_content(const struct keyring *a, const struct keyring *b);
/* A bundle of `role` from an admin's keyring, with a fresh signing seed (ROLE_ADMIN: the same keys). ERR_KEY_ROLE if not admin. */
int keyring_derive(const struct keyring *admin, enum key_role role, struct keyring **ret, struct error *err) PK_CHECK;
void keyring_free(struct keyring *k);

enum slot_kind { SLOT_PASSPHRASE = 1, SLOT_KEY_FILE = 2, SLOT_RECIPIENT = 3 };
/* What opens or seals a slot. For SLOT_RECIPIENT `secret` is the X25519 secret when opening; `recipient` the public key when sealing. */
struct unlock {
    enum slot_kind kind;
    struct bytes secret;    /* passphrase bytes, key file's 32 bytes, or X25519 secret */
    uint8_t recipient[BOX_PUBLIC_BYTES];
    struct bytes slot;      /* opening: a copy of the slot, tried when none of the store's opens; empty without */
    uint64_t argon_ops, argon_mem_bytes; /* sealing passphrases; 0 means 3 and 256 MiB; limits as of argon2id() */
};
/* Seal a bundle into the bytes of a slot object. `label` (<= 64 bytes, UTF-8) is stored in clear for 'key list'. */
int slot_seal(const struct keyring *k, const struct unlock *u, const char *label, struct buf *ret, struct error *err) PK_CHECK;
/* Open it. ERR_KEY_WRONG when the secret is another's (the text says what was tried); ERR_OBJECT_CORRUPT when malformed, or
 * when the secret is right and the rest is altered. Damage to the salt or the commitment looks like a wrong key: check
 * the object's name against its SHA-256 first. */
int slot_open(struct bytes slot, const struct unlock *u, struct keyring **ret, struct error *err) PK_CHECK;
struct slot_info { enum slot_kind kind; enum key_role role; char label[65]; uint8_t sign_public[SIGN_PUBLIC_BYTES]; };
int slot_describe(struct bytes slot, struct slot_info *ret, struct error *err) PK_CHECK;
/* Key file text: "PROOFKEEP-KEY-1 <base64 of 32 bytes>\n"; recipient identity: "PROOFKEEP-IDENTITY-1 <base64>\n";
 * recipient public: "pkr1<hex>". What is formatted is secret: the caller wipes the buffer. Empty lines and lines that begin
 * with '#' are passed over when parsing; anything else beside the one key is refused with ERR_SECRET, which never quotes it.
 * ret_kind is SLOT_KEY_FILE for a key and SLOT_RECIPIENT for an identity. */
#define RECIPIENT_TEXT_BYTES 69 /* "pkr1", 64 digits, NUL */
int key_file_format(struct bytes key32, struct buf *ret, struct error *err) PK_CHECK;
int key_identity_format(struct bytes secret32, struct buf *ret, struct error *err) PK_CHECK;
int key_file_parse(struct bytes text, struct secret **ret, enum slot_kind *ret_kind, struct error *err) PK_CHECK;
void key_recipient_format(const uint8_t pub[BOX_PUBLIC_BYTES], char out[RECIPIENT_TEXT_BYTES]);
bool key_recipient_parse(const char *s, uint8_t pub[BOX_PUBLIC_BYTES]); /* false when it is not one */

#endif
