/* Reading snapshots. Needs a keyring with the read secret (ERR_KEY_ROLE otherwise). Items may be opened and read from many
 * threads; a snapshot handle is shared by them. Memory: caches of directories and frames, bounded by `cache_bytes`. */
#ifndef PK_REPO_READER_H
#define PK_REPO_READER_H

#include "repo/repo.h"
#include "repo/writer.h"

struct snapshot;
struct item_head {
    struct bytes name, attr; /* borrowed until the walk moves on */
    enum content_kind kind;
    uint64_t bytes;
    struct digest sha256;
    uint64_t ordinal;
};
int snapshot_open(struct repo *r, const struct snapshot_info *info, struct snapshot **ret, struct error *err) PK_CHECK;
void snapshot_close(struct snapshot *s);
const json_t *snapshot_root(const struct snapshot *s); /* what writer_finish was given; borrowed */
uint64_t snapshot_items(const struct snapshot *s);
typedef int (*item_cb)(void *ctx, const struct item_head *h, struct error *err); /* non-zero stops and is answered */
/* Items whose name starts with prefix, in name order; seeks, so a narrow prefix is cheap. */
int snapshot_walk(struct snapshot *s, struct bytes prefix, item_cb cb, void *ctx, struct error *err) PK_CHECK;

struct ritem;
int ritem_open(struct snapshot *s, const struct item_head *h, struct ritem **ret, struct error *err) PK_CHECK;
/* Next piece: data, or ptr NULL and len set for a hole, or len 0 at the end, after size and SHA-256 were checked
 * (ERR_RESTORE_DIFFERS). ERR_OBJECT_MISSING, ERR_OBJECT_CORRUPT name the object. Valid until the next call. */
int ritem_next(struct ritem *it, struct bytes *ret, struct error *err) PK_CHECK;
void ritem_close(struct ritem *it);
/* The ids and lengths of an item's chunks, in order (holes left out). */
int ritem_chunks(struct snapshot *s, const struct item_head *h, int (*cb)(void *ctx, const struct digest *id, uint32_t len, struct error *err), void *ctx, struct error *err) PK_CHECK;

#endif
