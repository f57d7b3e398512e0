/* Index runs: what run_write.c, run_read.c and index.c share. */
#ifndef PK_REPO_RUN_H
#define PK_REPO_RUN_H

#include "repo/repo_internal.h"

#define RUN_HEADER_BYTES 128
#define RUN_BLOCK_BYTES (64u << 10)
#define RUN_TYPE_INDEX 1
#define RUN_TYPE_PACKLIST 2
#define RUN_TYPE_EPOCH 3 /* keys of an epoch: epoch.c */
#define RUN_EPOCH_AT 12 /* u16 of the header: whose index key seals the body; of RUN_TYPE_EPOCH: the epoch itself */
#define RUN_TYPE_PARTS 4 /* a pack list in parts: packlist.h */
#define RUN_TYPE_KEPT 5 /* the body is an envelope; its bytes are the entries that the header counts */

void run_key(const struct digest *name, char out[96]);
int run_aead(struct repo *r, const uint8_t header[RUN_HEADER_BYTES], struct aead **ret, struct error *err) PK_CHECK;
/* The body of one of the last runs that run_write made, once: it need not be read back for our own use. False when it is another's. */
bool run_own_take(struct repo *r, const struct digest *name, uint64_t *ret_entries, uint32_t *ret_packs, uint8_t **ret);
void run_own_drop(struct repo *r);
void run_expect(struct repo *r, const struct digest *name); /* a small one is read next: see store_expect */
void run_read_drop(struct repo *r); /* small bodies that were read */
/* Read and open a whole object of that type: header fields and the body (free with seam_free). The name is checked. */
int run_read_body(struct repo *r, const struct digest *name, uint8_t type, uint64_t *ret_entries, uint32_t *ret_packs, uint8_t **ret, size_t *ret_len, struct error *err) PK_CHECK;
/* The same for an object of one of two types. The body of RUN_TYPE_PARTS is its caller's to judge. */
int run_read_either(struct repo *r, const struct digest *name, uint8_t type, uint8_t other, uint8_t *ret_type, uint64_t *ret_entries, uint32_t *ret_packs, uint8_t **ret, size_t *ret_len, struct error *err) PK_CHECK;
/* Seals a body block by block and stages the object. */
int run_write_body(struct repo *r, uint8_t type, uint64_t entries, uint32_t packs, struct bytes body, struct digest *ret, uint64_t *ret_bytes, struct error *err) PK_CHECK;

#endif
