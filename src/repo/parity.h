/* Reed-Solomon parity inside a pack: doc/format/pack.md, "Parity". It needs no key, so that whoever holds the bytes can mend
 * them; what was mended is proved by the pack's name. The arithmetic is ISA-L's (libisal).
 *
 * A pack of `body` bytes and a footer becomes body || section || footer, and the section protects both. The protected bytes
 * are cut into at most 200 shards, and of all shards, those of parity included, as many may be damaged or cut off as there
 * are shards of parity. */
#ifndef PK_REPO_PARITY_H
#define PK_REPO_PARITY_H

#include "base/bytes.h"
#include "base/error.h"
#include "crypto/crypto.h"

#define PARITY_PERCENT_MAX 25

/* Length of the section that protects so many bytes (body and footer); 0 when percent is. */
size_t parity_bytes(size_t protected_len, unsigned percent);
/* The largest number of protected bytes whose section still fits beside them into `cap`. */
size_t parity_room(size_t cap, unsigned percent);
/* Writes the section into out, which has parity_bytes(body.len + foot.len, percent) bytes. percent is 1 to PARITY_PERCENT_MAX. */
int parity_make(struct bytes body, struct bytes foot, unsigned percent, uint8_t *out, struct error *err) PK_CHECK;
/* The whole pack again from what is left of it; *ret (the caller's, seam_free) has *ret_len bytes, whose SHA-256 is `name`.
 * ERR_OBJECT_CORRUPT, which says why, when it has no parity or too much of it is damaged. ret_mended (may be NULL) counts
 * the shards that were. Takes about three times the pack's bytes of memory. */
int parity_mend(struct bytes found, const struct digest *name, uint8_t **ret, size_t *ret_len, unsigned *ret_mended, struct error *err) PK_CHECK;

#endif
