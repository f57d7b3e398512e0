/* Sealed bytes of packs on their way from a store where a request costs more than what it brings: what will be wanted
 * is told beforehand, and fetched pack by pack in the order told, several at a time. A pack that is wanted by half or
 * more, or that holds metadata, comes whole, its directory with it; of others come ranges that reach over small gaps.
 *
 * Invariants
 *  1. It is help and no more: what it cannot fetch, the caller reads by itself, and learns there why.
 *  2. Nothing here is believed: who takes bytes opens and checks them as if the store had just given them.
 *  3. Memory: bytes_max, and 16 MiB of frames that are wanted again (4 where bytes_max is under 96 MiB). Together with
 *     others of its room it never has more than that has. When freed, it leaves one metadata pack to the next reader of
 *     the handle.
 */
#ifndef PK_REPO_AHEAD_H
#define PK_REPO_AHEAD_H

#include "repo/repo_internal.h"

struct ahead;
struct ahead_hold { /* bytes of a pack that stay until they are let go */
    struct bytes bytes;
    uint64_t at; /* of the first of them in the pack */
    void *segment;
};
/* *ret is NULL, which every function takes, where reads cost little. */
int ahead_new(struct repo *r, const struct index *x, size_t bytes_max, struct ahead **ret, struct error *err) PK_CHECK;
/* Has room for what somebody reads in order, at least. */
void ahead_reader(struct ahead *a);
/* No more room than for a pack that is read and one on its way: another one reads ahead beside it. */
void ahead_narrow(struct ahead *a);
/* Packs come whole from one frame in `share` on, 2 to begin with; what is wanted of others is read in their order, so
 * that the ranges behind the one that is read are asked for with it. */
void ahead_share(struct ahead *a, unsigned share);
void ahead_free(struct ahead *a);
size_t ahead_max(struct ahead *a);                   /* bytes that it may have */
size_t ahead_several_max(const struct repo *r);      /* one reads in order, and others have what that leaves */
void ahead_room(struct ahead *a, struct room *room); /* another than the handle's own; before anything is expected */
/* The frame of this location will be fetched. Costs memory of about 100 bytes a pack; what there is no memory for is
 * forgotten. */
void ahead_expect(struct ahead *a, const struct location *l);
/* A whole metadata pack that somebody has already; true: it is kept, and its bytes, from seam_alloc, are not the caller's any more. */
bool ahead_offer(struct ahead *a, const struct digest *pack, struct bytes whole);
/* What is expected, and what came of data and nobody holds, is let go. */
void ahead_forget(struct ahead *a);
/* The whole pack of this location, when it is worth fetching whole (or was); waits for it. */
bool ahead_whole(struct ahead *a, const struct location *l, struct ahead_hold *ret);
/* Bytes that hold the frame, by the pack's directory: with what is wanted behind it. Fetches them in this thread. */
bool ahead_range(struct ahead *a, const struct location *l, const struct pack_in *in, struct ahead_hold *ret);
/* Done with the frame of this location, whose bytes are `len` from `at` on in its pack; len 0: it was not looked at.
 * One that is expected again long after stays a while; what was told of again soon is taken to be read while it is
 * decoded. */
void ahead_release(struct ahead *a, const struct location *l, uint64_t at, uint32_t len, struct ahead_hold *h);

#endif
