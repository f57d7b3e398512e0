/* Copying snapshots into another repository: frames go from pack to pack, opened, decoded and checked, and sealed under the
 * other's keys, but not compressed again. Both repositories share their content keys (crypto/keyring.h), so a chunk has one
 * id in both and only what the other lacks is moved. What was stored by an interrupted or failed copy is found again by the
 * next one of the same source.
 *
 * Memory: a writer's, 32 MiB of cache, and about 20 MiB for each thread at most. The source's handle is read by many threads
 * and not synced meanwhile.
 */
#ifndef PK_REPO_COPY_H
#define PK_REPO_COPY_H

#include "repo/reader.h"

struct copy_stats {
    uint64_t frames, frame_bytes;        /* moved as they were; bytes of their payloads */
    uint64_t encoded_chunks;             /* taken out of frames that were mostly not needed, and compressed anew */
    uint64_t read_bytes;                 /* of frames of the source, metadata that was walked not counted */
    uint64_t stored_bytes;               /* of packs written, all included */
    uint64_t wal_newest, wal_missing;    /* as copy_info has them, to be told; wal_newest 0: what was told before stands */
};
struct copy_options {
    unsigned threads;          /* 0: as many as CPUs */
    uint64_t checkpoint_bytes; /* new stored bytes between the first resume points; 0: 64 MiB. Later ones are further apart */
    void *ctx;
    void (*progress)(void *ctx, uint64_t read_bytes, uint64_t stored_bytes); /* any thread; may be NULL */
};
/* Makes the statement of the copy's receipt from the source's predicate (borrowed): `repository` (borrowed) is its new member of
 * that name, but for kind and complete; `kept` names the object that keeps the source's envelope. */
typedef int (*copy_build)(void *ctx, const json_t *source, struct writer *w, const json_t *repository, const struct digest *kept, json_t **ret,
                          struct error *err);

/* Whether snapshots of `from` can go to `to` by the keys of both handles. ERR_COPY_FOREIGN when they do not share content keys, or
 * `from` is in an epoch into which `to` has not followed (repo_epoch_follow); ERR_KEY_ROLE; ERR_USAGE when they are one repository. */
int copy_check(const struct repo *from, const struct repo *to, struct error *err) PK_CHECK;
/* The snapshot of `to` that is this one of `from`: its copy by whatever way, or what it is a copy of. NULL: there is none.
 * Forgotten ones count. */
const struct snapshot_info *copy_find(const struct repo *from, const struct snapshot_info *info, const struct repo *to);
/* Copy one. Committed when it returns 0; *ret_there tells that another run was first, and nothing was committed. Its receipt in
 * the source's log is read and its signature checked anew. On failure nothing is committed; after damage in the source
 * (ERR_OBJECT_CORRUPT, ERR_OBJECT_MISSING) or an interruption, what was copied is kept for the next try. ERR_REPO_COMMIT_LOST:
 * try again. */
int copy_snapshot(struct repo *from, const struct snapshot_info *info, struct repo *to, const struct copy_options *o, copy_build build,
                  void *ctx, struct copy_stats *ret, uint64_t *ret_seq, struct digest *ret_entry, bool *ret_there, struct error *err) PK_CHECK;

/* Whether a snapshot was stored here in the place of a repository that was out of reach, and still waits to be copied there
 * ("forwarded") by what this log was told of that. */
bool copy_waits(const struct repo *r, const struct snapshot_info *s);
/* How many wait for the repository of that name, NULL for any; *ret_since_ns (may be NULL) is since when the oldest does. */
size_t copy_waiting(const struct repo *r, const char *of, int64_t *ret_since_ns);

/* The receipt of a copied snapshot as its source signed it: the envelope appended to ret, the signer's key (may be NULL). Its
 * signature holds, and it is of the same backup with the same root; ERR_LEDGER_BROKEN when not. Whether the signer was one of the
 * source's writers only the source's log knows. */
int copy_source_read(struct repo *r, const struct snapshot_info *info, struct buf *ret, uint8_t ret_signer[SIGN_PUBLIC_BYTES], struct error *err) PK_CHECK;

/* All of a copy was read again. */
struct copy_reread {
    int64_t at_ns; /* when that ended; 0: it was not */
    bool whole;
    uint64_t objects, bytes, findings; /* damaged or missing */
    size_t lost;   /* snapshots that it had by what the log was told, and has not: it was rolled back, or is another */
};
/* Snapshots of `from` that its log says are at `to`, which knows nothing of them. */
size_t copy_lost(const struct repo *from, const struct repo *to);
/* Tell the log of `from` what `to` has of it, if its key may (else 0 and *ret_said false). `label`: where `to` is; `stats` of this
 * run; `reread` may be NULL. */
int copy_tell(struct repo *from, const struct repo *to, const char *label, unsigned points, const struct copy_stats *stats,
              const struct copy_reread *reread, const char *principal, bool *ret_said, struct error *err) PK_CHECK;

#endif
