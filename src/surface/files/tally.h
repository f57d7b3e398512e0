/* The digest over a tree's items in name order, fed by threads that finish them in any order.
 *
 * tree_sha256 is SHA-256 over, for each item in name order: length of the name (u32 LE), name, type (1 byte), size (u64
 * LE), SHA-256 (32 bytes). Regular files: size and digest of the content. Symbolic links: of the target. Hard links:
 * size 0, digest of the first name. Devices: size 0, digest of major and minor (u32 LE each). Folders and fifos: zeros.
 * Modes, owners and times are no part of it: it says whether the data is the same. */
#ifndef PK_SURFACE_FILES_TALLY_H
#define PK_SURFACE_FILES_TALLY_H

#include "base/json.h"
#include "base/thread.h"
#include "crypto/crypto.h"
#include "surface/files/attr.h"

/* One item whose outcome is not known yet; the owner of its memory embeds it and hears of its end by `release`. */
struct tally_slot {
    struct tally_slot *next;
    struct bytes name; /* must live until release */
    enum file_type type;
    uint64_t size;
    struct digest sha256;
    enum { TALLY_PENDING, TALLY_DONE, TALLY_DROPPED } state;
    void (*release)(struct tally_slot *);
};
struct tally {
    pthread_mutex_t lock;
    pthread_cond_t room;
    struct tally_slot *first, *last; /* items in order, the first of which is pending */
    size_t waiting;
    struct sha256_state *hash;
    uint64_t items, files, bytes, dropped;
};

int tally_init(struct tally *t, struct error *err) PK_CHECK;
void tally_end(struct tally *t); /* releases what is left */
/* The next item in order, its outcome to come by tally_finish, from any thread. Waits while TALLY_SLOTS are
 * outstanding. */
void tally_add(struct tally *t, struct tally_slot *slot);
void tally_finish(struct tally *t, struct tally_slot *slot, bool dropped); /* slot is gone afterwards */
/* The next item in order, its outcome known. */
int tally_put(struct tally *t, struct bytes name, enum file_type type, uint64_t size, const struct digest *sha256,
              struct error *err) PK_CHECK;
/* {"files": {...}, "bytes": {...}, "tree_sha256": {...}}, each {"value", "expect": "equal"}. Every item must be
 * finished. */
int tally_invariants(struct tally *t, json_t **ret, struct error *err) PK_CHECK;
/* The digest that stands for an item without content; size is 0 except for a link. */
void tally_digest(const struct attr *a, uint64_t *ret_size, struct digest *ret);

#endif
