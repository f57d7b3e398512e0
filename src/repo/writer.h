/* Writing one snapshot: items in, packs out. See surface/surface.h for the meaning of the item calls; this is their
 * engine.
 *
 * Memory: about 2 open data packs, 1 metadata pack, `threads` groups in work and at most `threads` packs being written
 * (two more in a prune), whatever the size of the data. Items in any order: 16 MiB more (gather.h), the rest of their
 * records in a nameless file of the cache folder until writer_finish. Threads: known and keep from one thread; every
 * item from one thread at a time; items from many threads at once.
 */
#ifndef PK_REPO_WRITER_H
#define PK_REPO_WRITER_H

#include "repo/repo.h"

/* The number of an item that comes in any order of names (surface.h: SINK_ANY_ORDER). */
#define WRITER_ANY_ORDER UINT64_MAX

/* Kinds of items, as stored; the same numbers as enum item_kind of surface.h. */
enum content_kind {
    CONTENT_NONE = 0,
    CONTENT_FILE = 1,
    CONTENT_RECORDS = 2,
    CONTENT_PAGES = 3,
    CONTENT_OPAQUE = 4,
    CONTENT_PARTS = 5, /* as pages; its digest is the one by parts (crypto/parts.h) */
};
/* Whether such content is cut, and compared, by place. */
static inline bool content_is_pages(unsigned kind) {
    return kind == CONTENT_PAGES || kind == CONTENT_PARTS;
}

struct writer_options {
    const char *environment, *surface;
    unsigned threads;      /* 0: as many as CPUs */
    int level;             /* zstd; 0: 1 */
    bool no_delta;
    bool narrow; /* others write beside it, in the same memory: long text does not go together in frames of more than 1
                    MiB */
    /* New stored bytes between resume points; 0: by time, half a minute apart, in runs of more than eight minutes a
     * sixteenth of the time so far, at most a quarter of an hour. That much is done again after a SIGKILL. */
    uint64_t checkpoint_bytes;
};
struct writer;
struct witem;
struct known_item {
    struct bytes attr;
    enum content_kind kind;
    uint64_t bytes;
    struct digest sha256;
};
struct writer_stats {
    uint64_t items, bytes;             /* of the snapshot */
    uint64_t new_chunks, new_bytes;    /* plain bytes that were not known */
    uint64_t dup_bytes, kept_bytes;    /* deduplicated after reading; kept unread */
    uint64_t delta_chunks, delta_bytes, delta_stored;
    uint64_t stored_bytes;             /* of packs written, all included */
    uint64_t packs;
};

int writer_open(struct repo *r, const struct writer_options *o, struct writer **ret, struct error *err) PK_CHECK;
bool writer_known(struct writer *w, struct bytes name, struct known_item *ret);
int writer_keep(struct writer *w, uint64_t seq, struct bytes name, struct bytes attr, struct error *err) PK_CHECK;
int writer_item_open(struct writer *w, uint64_t seq, struct bytes name, enum content_kind kind, struct witem **ret, struct error *err) PK_CHECK;
/* Begin an item that may have the content that writer_known just answered for this name (same thread): it ends with
 * witem_confirm, or is restarted and written like any other. */
int writer_item_hold(struct writer *w, uint64_t seq, struct bytes name, struct witem **ret, struct error *err) PK_CHECK;
/* Begin an item, in any order, whose content in the previous snapshot can be read while it is open. *ret is NULL when it has none
 * there, or none that can be read (no read key, a store that reads slowly, data that is gone). It ends with witem_confirm, or
 * is restarted and written like any other; what it was can be read until its end. Any thread; ret_known->attr is empty. */
int writer_item_again(struct writer *w, struct bytes name, struct known_item *ret_known, struct witem **ret, struct error *err) PK_CHECK;
/* n bytes of that content from `at` on, holes as zeros: no more than there are. */
int witem_was(struct witem *it, uint64_t at, uint8_t *out, size_t n, struct error *err) PK_CHECK;
int witem_confirm(struct witem *it, struct bytes attr, struct error *err) PK_CHECK;
int witem_space(struct witem *it, uint8_t **ret, size_t *ret_len, struct error *err) PK_CHECK;
int witem_advance(struct witem *it, size_t n, struct error *err) PK_CHECK;
int witem_hole(struct witem *it, uint64_t len, struct error *err) PK_CHECK;
int witem_restart(struct witem *it, struct error *err) PK_CHECK;
int witem_close(struct witem *it, struct bytes attr, struct digest *ret_sha256, struct error *err) PK_CHECK;
void witem_drop(struct witem *it);

/* Everything stored and durable; `root` (facts of the snapshot, borrowed) goes into the encrypted root. After it only
 * writer_commit or writer_free may be called. */
int writer_finish(struct writer *w, const json_t *root, struct error *err) PK_CHECK;
/* "repository" object of the receipt: surface, root ids, pack list, index runs, sizes. Owned by the caller. */
int writer_describe(struct writer *w, json_t **ret, struct error *err) PK_CHECK;
/* URI, digest and size of the pack list: the receipt's artifact. */
void writer_artifact(const struct writer *w, struct digest *ret_digest, uint64_t *ret_bytes, char uri[128]);
/* The one commit. `build` makes the receipt's statement and is given writer_describe's object by its own ctx. Answers
 * ERR_REPO_COMMIT_LOST when a pack this snapshot uses was deleted meanwhile: take the backup again. */
int writer_commit(struct writer *w, ledger_build build, void *ctx, uint64_t *ret_seq, struct digest *ret, struct error *err) PK_CHECK;
void writer_stats_get(const struct writer *w, struct writer_stats *ret); /* any thread, any time */
bool writer_failed(const struct writer *w); /* of itself, and so refuses more: of whoever feeds it nothing is known here */
/* Make what is finished so far durable and resumable by the next backup of this surface; used after an interruption. */
int writer_checkpoint(struct writer *w, struct error *err) PK_CHECK;
void writer_free(struct writer *w); /* NULL is fine; without a commit nothing is left but unreferenced objects */

#endif
