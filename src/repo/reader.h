/* Reading snapshots. Needs a keyring with the read secret (ERR_KEY_ROLE otherwise). Items may be opened and read from
 * many threads; a snapshot handle is shared by them. Memory: caches of directories and frames, bounded by
 * `cache_bytes`; of a store that is far away besides what is on its way, some packs (ahead.h). */
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
/* Help only: the pack with the root is asked for, which snapshot_open reads next (see store_expect). */
void snapshot_expect_root(struct repo *r, const struct snapshot_info *info);
int snapshot_open(struct repo *r, const struct snapshot_info *info, struct snapshot **ret, struct error *err) PK_CHECK;
/* The same with caches of about that many bytes, for who keeps several open. */
int snapshot_open_sized(struct repo *r, const struct snapshot_info *info, size_t cache_bytes, struct snapshot **ret, struct error *err) PK_CHECK;
/* From now on all snapshots of a handle together keep no more decoded bytes than that, but for 4 MiB each and what is
 * held; and what is read ahead of all of them is no more than of one that is read in order. Before any is opened. */
void repo_readers_bound(struct repo *r, size_t decoded_bytes);
void snapshot_close(struct snapshot *s);
const json_t *snapshot_root(const struct snapshot *s); /* what writer_finish was given; borrowed */
uint64_t snapshot_items(const struct snapshot *s);
typedef int (*item_cb)(void *ctx, const struct item_head *h, struct error *err); /* non-zero stops and is answered */
/* Items whose name starts with prefix, in name order; seeks, so a narrow prefix is cheap. */
int snapshot_walk(struct snapshot *s, struct bytes prefix, item_cb cb, void *ctx, struct error *err) PK_CHECK;

/* Items from the first one on whose name is not below `start`, in name order, until cb answers non-zero, which is answered.
 * cb may set *skip (read when it returns): what begins with it and a '/' is not shown, and
 * manifest chunks that hold nothing else are not read. Many walks may run at once. Costs half a manifest chunk (at most
 * 192 KiB) to begin with. */
typedef int (*walk_cb)(void *ctx, const struct item_head *h, struct bytes *skip, struct error *err);
int snapshot_walk_from(struct snapshot *s, struct bytes start, walk_cb cb, void *ctx, struct error *err) PK_CHECK;
/* The item of that ordinal; answers what cb does. ERR_NO_POINT beyond the last. */
int snapshot_item_at(struct snapshot *s, uint64_t ordinal, item_cb cb, void *ctx, struct error *err) PK_CHECK;
/* The item's content will be read: with many told of beforehand, a store whose requests take long is asked for them in few.
 * Nothing to do elsewhere. Any thread. */
void snapshot_expect(struct snapshot *s, const struct item_head *h);
void snapshot_expect_chunk(struct snapshot *s, const struct digest *id); /* the same for a chunk of data */
/* The packs of data that reading the item takes, with their sizes; many times each. Reads lists of references, and no
 * data. */
int snapshot_item_packs(struct snapshot *s, const struct item_head *h,
                        int (*cb)(void *ctx, const struct digest *pack, uint64_t bytes, struct error *err), void *ctx,
                        struct error *err) PK_CHECK;
bool snapshot_is_far(
    const struct snapshot *s); /* whether it is any use to tell: it is far, or comes from elsewhere if need be */
bool snapshot_retell(
    const struct snapshot *s); /* whether items that were told of are better told of again when they are opened */
void snapshot_reader(struct snapshot *s);       /* one that was opened sized has room for one more pack ahead */
void snapshot_forget(struct snapshot *s);       /* what was told of will not be read, or not soon */
/* Decodes and checks a chunk of data into the cache, where an item's reader finds it. Any thread. */
int snapshot_prefetch(struct snapshot *s, const struct digest *id, struct error *err) PK_CHECK;
/* The same without a check, which is the reader's, and but for alternates without waiting for another thread that
 * decodes it. *ret_bytes: of the frame that was decoded for it; 0: it was there. */
int snapshot_ahead(struct snapshot *s, const struct digest *id, size_t *ret_bytes, struct error *err) PK_CHECK;
size_t snapshot_ahead_bytes(const struct snapshot *s); /* the sum of those */
/* From now on large items that are read in order are decoded ahead, two at once, by so many threads each (at most 4,
 * and one where the store is far away). Nothing for a snapshot that was opened with caches below 32 MiB. Before items
 * are opened. */
void snapshot_scouts(struct snapshot *s, unsigned threads);

struct ritem;
int ritem_open(struct snapshot *s, const struct item_head *h, struct ritem **ret, struct error *err) PK_CHECK;
/* Next piece: data, or ptr NULL and len set for a hole, or len 0 at the end, after size and SHA-256 were checked
 * (ERR_RESTORE_DIFFERS). ERR_OBJECT_MISSING, ERR_OBJECT_CORRUPT name the object. Valid until the next call. */
int ritem_next(struct ritem *it, struct bytes *ret, struct error *err) PK_CHECK;
void ritem_close(struct ritem *it);
/* After opening: pieces of an item that is read from its beginning to its end are judged by its SHA-256 alone, which
 * comes with the end, and not by the ids of their chunks before. On ERR_RESTORE_DIFFERS, opened again without this, it
 * is read with every chunk held against its id, and another copy is looked for in place of one that is none. */
void ritem_late(struct ritem *it);
/* After opening: each piece is judged by the id of its chunk, and the whole by its size; its SHA-256 is not computed.
 */
void ritem_apart(struct ritem *it);
/* The next piece begins at byte `at`, or there is none when that is the end or beyond. Each chunk is checked by its id as
 * ever; the item's SHA-256, which takes all of it, is checked at the end only when it is read from 0 without another seek
 * or skip. Reads no data; lists of references that end before `at` are not read either. */
int ritem_seek(struct ritem *it, uint64_t at, struct error *err) PK_CHECK;
/* What the next piece would be made of, without reading it: its chunk or hole, which begins at or before the place that was
 * sought. len 0 at the end. ritem_skip passes over it. */
struct ritem_extent {
    uint64_t at, len;
    bool hole;
    struct digest id; /* of a chunk */
};
int ritem_peek(struct ritem *it, struct ritem_extent *ret, struct error *err) PK_CHECK;
void ritem_skip(struct ritem *it); /* after a ritem_peek */
/* After a ritem_peek of a chunk, with bytes of its length that somebody has already: when they are what its id says,
 * they count as read, for the item's SHA-256 too, and nothing of them is fetched. false: nothing was passed. Not after
 * a seek or a skip, but for ritem_apart. More bytes than that are what is had in the place of what follows: with
 * ritem_apart the next piece is hashed at once with this one, for less than each costs by itself, and is what the next
 * ritem_match is about, whatever that is given. */
int ritem_match(struct ritem *it, struct bytes have, bool *ret, struct error *err) PK_CHECK;
/* The ids and lengths of an item's chunks, in order (holes left out). */
int ritem_chunks(struct snapshot *s, const struct item_head *h, int (*cb)(void *ctx, const struct digest *id, uint32_t len, struct error *err), void *ctx, struct error *err) PK_CHECK;

#endif
