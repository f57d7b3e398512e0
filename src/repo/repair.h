/* Mending a repository: what is derived is derived again, lost index runs are rebuilt from packs, what still opens of a damaged
 * pack is stored anew, and what cannot be had any more is named.
 *
 * Invariants
 *  1. Nothing that has a name is changed: new objects are created, entries appended, and only what is derived from the log is
 *     replaced. A damaged pack is retired by a DELETE entry before its remains are removed, as a collection does.
 *  2. Only what is missing or does not have the bytes of its name is damaged. What could not be read is left as it is.
 *  3. Afterwards no live index run lists a chunk of a retired pack, so that the next backup that meets it stores it again.
 *  4. Interrupted anywhere, what is there is as whole as before, and the next repair goes on.
 */
#ifndef PK_REPO_REPAIR_H
#define PK_REPO_REPAIR_H

#include "repo/maintain.h"

/* The bytes of a chunk from elsewhere: appended to ret. ERR_OBJECT_MISSING (or _CORRUPT) when it has none. What comes is
 * held against the id, so it need not be trusted. One thread. */
typedef int (*repair_rescue)(void *ctx, const uint8_t *id_prefix, unsigned kind, struct buf *ret, struct error *err);

struct repair_options {
    unsigned threads;
    repair_rescue rescue; /* NULL: nowhere else to look */
    void *rescue_ctx;
    void *ctx;
    void (*progress)(void *ctx, uint64_t bytes_done, uint64_t bytes_total);
    /* Each damaged thing, before anything is done about it. `mends`: a repair can do something about it. */
    int (*finding)(void *ctx, const char *object, enum check_result result, const char *text, bool mends, struct error *err);
    /* Each live snapshot of which something is (or, in a plan, would be) lost for good: item names, at most 100 of `total`;
     * `listless`: its list of items itself, so that paths cannot be told. */
    int (*harmed)(void *ctx, const struct snapshot_info *s, const struct bytes *paths, size_t n, uint64_t total, bool listless,
                  struct error *err);
};
struct repair_pack {
    struct digest name;
    uint64_t bytes; /* 0: not known */
    bool meta;
    enum check_result result;
};
struct repair_plan {
    struct digest digest;     /* of what is damaged: the same damage, the same plan */
    struct repair_pack *packs; /* sorted by name */
    size_t pack_count;
    struct digest *runs; /* live index runs to rebuild */
    size_t run_count;
    uint64_t *summaries;
    size_t summary_count;
    uint64_t *lists;     /* live snapshots that need a new pack list, by place in the log */
    size_t list_count;
    struct digest *lists_lost; /* pack lists of collections */
    size_t list_lost_count;
    uint64_t derived;    /* tiles, bundles, checkpoint */
    uint64_t unmendable; /* findings that no repair can do anything about: key slots */
    uint64_t unreadable; /* packs that could not be read, so that nothing is known of them */
    uint64_t archived;   /* packs that lie in an archive class: left as they are */
    uint64_t chunks_salvaged, chunks_rescued, chunks_lost; /* as the packs are now */
    uint64_t objects, bytes; /* looked at */
    uint64_t harmed;         /* snapshots */
};
struct repair_result {
    uint64_t derived, runs_rebuilt, lists_rebuilt, packs_retired, packs_new, bytes_new;
    uint64_t chunks_salvaged, chunks_rescued, chunks_lost;
    uint64_t remains; /* damaged packs that the store would not let go */
    uint64_t harmed;  /* snapshots that stay damaged */
};

/* As repo_open, but index runs that are missing or damaged are left out: only for repairs. */
int repo_open_damaged(struct store *s, const struct unlock *u, const char *cache_dir, struct repo **ret, struct error *err) PK_CHECK;

/* Look at everything and say what could be done; writes nothing. Admin only (ERR_KEY_ROLE). Reads every pack that a live
 * snapshot needs. While index runs are missing, chunks_* count only what the others know. */
int repair_plan_make(struct repo *r, const struct repair_options *o, struct repair_plan *ret, struct error *err) PK_CHECK;
void repair_plan_free(struct repair_plan *p);
bool repair_plan_empty(const struct repair_plan *p); /* nothing to mend */
/* Do it, and leave a repair/v1 entry signed by this key. ERR_REPO_BUSY when others kept committing. */
int repair_run(struct repo *r, const struct repair_options *o, const struct repair_plan *p, const char *principal, struct repair_result *ret, struct error *err) PK_CHECK;

/* A rescue from another repository in which chunks have the same ids, such as an older copy of the same store. It is borrowed. */
struct repair_source;
int repair_source_new(struct repo *other, struct repair_source **ret, struct error *err) PK_CHECK;
int repair_source_fetch(void *source, const uint8_t *id_prefix, unsigned kind, struct buf *ret, struct error *err) PK_CHECK;
void repair_source_free(struct repair_source *s);

#endif
