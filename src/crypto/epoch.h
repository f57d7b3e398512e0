/* Epochs: the keys that chunk ids, cut points and the index are made with, when they had to change. Epoch 0 is what a bundle
 * made before any change holds; those of epoch n >= 1 follow from the master key by the labels "proofkeep/v1/id/<n>", "cut/<n>"
 * and "index/<n>" (doc/format/keys.md). */
#ifndef PK_CRYPTO_EPOCH_H
#define PK_CRYPTO_EPOCH_H

#include "crypto/keyring.h"

#define EPOCHS_MAX 255 /* of one repository, epoch 0 not counted */

struct epoch_keys { struct secret *id, *cut, *index; }; /* what the holder lacks is NULL */
void epoch_keys_clear(struct epoch_keys *k);
/* The keys of epoch n, from an admin's keyring. */
int epoch_keys_derive(const struct keyring *admin, unsigned n, struct epoch_keys *ret, struct error *err) PK_CHECK;
/* The same of a repository that takes the ids of its source: `id` and `cut` (32 bytes each) are the source's, only the index key is
 * its own. */
int epoch_keys_follow(const struct keyring *admin, unsigned n, struct bytes id, struct bytes cut, struct epoch_keys *ret, struct error *err) PK_CHECK;
/* Whether two keys are the same, in constant time. */
bool epoch_key_same(struct bytes a, struct bytes b);
/* Let a bundle that keyring_derive made hold the keys of epoch n in the place of epoch 0's, as far as its role has them. Does
 * nothing to an admin's. */
int keyring_enter_epoch(struct keyring *bundle, const struct keyring *admin, unsigned n, struct error *err) PK_CHECK;
/* The same with keys that are known (copied; what is NULL is left). */
int keyring_enter_epoch_keys(struct keyring *bundle, const struct epoch_keys *keys, struct error *err) PK_CHECK;

/* The X25519 pair that belongs to an Ed25519 one (the birational map of RFC 7748, section 4.1), so that a box can be sealed
 * to whoever signs. ERR_CRYPTO for a public key that is no point of the group. */
int sign_box_public(const uint8_t pub[SIGN_PUBLIC_BYTES], uint8_t ret[BOX_PUBLIC_BYTES], struct error *err) PK_CHECK;
int sign_box_secret(struct bytes seed, struct secret **ret, struct error *err) PK_CHECK;

#endif
