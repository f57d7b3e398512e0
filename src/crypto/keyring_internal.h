/* Keyrings: what the files of crypto/ and their tests share. */
#ifndef PK_CRYPTO_KEYRING_INTERNAL_H
#define PK_CRYPTO_KEYRING_INTERNAL_H

#include "crypto/crypto_internal.h"
#include "crypto/keyring.h"

/* The administrator's keyring that follows from a master key. */
int keyring_from_master(const uint8_t repo_id[16], struct bytes master, struct keyring **ret,
                        struct error *err) PK_CHECK;
/* A keyring with nothing in it. */
int keyring_new(enum key_role role, const uint8_t repo_id[16], struct keyring **ret, struct error *err) PK_CHECK;

/* The plain bytes of a bundle, as in doc/format/keys.md: fixed part, then one key for each flag, lowest flag first. */
enum bundle_flag { BUNDLE_MASTER = 1, BUNDLE_ID = 2, BUNDLE_CUT = 4, BUNDLE_INDEX = 8, BUNDLE_READ = 16 };
#define BUNDLE_FIXED_BYTES 114
#define BUNDLE_BYTES_MAX (BUNDLE_FIXED_BYTES + 4 * KEY_BYTES)
size_t bundle_bytes(const struct keyring *k);
/* Whether a bundle of the role may have so many bytes. */
bool bundle_bytes_ok(enum key_role role, size_t n);
/* out has bundle_bytes(k) bytes; the caller wipes them. */
void bundle_encode(const struct keyring *k, uint8_t *out);
/* ERR_OBJECT_CORRUPT when it is not the bundle of a known role, or its public keys do not belong to its secrets. */
int bundle_decode(struct bytes in, struct keyring **ret, struct error *err) PK_CHECK;

#endif
