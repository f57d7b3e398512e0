/* Checking and collecting. */
#ifndef PK_REPO_MAINTAIN_H
#define PK_REPO_MAINTAIN_H

#include "repo/reader.h"

enum check_result { CHECK_NOT_CHECKED = 0, CHECK_VERIFIED, CHECK_MISSING, CHECK_CORRUPT, CHECK_UNREADABLE };
const char *check_result_name(enum check_result c);

/* One damaged object (or frame of one), and whom it harms. Borrowed for the call. */
struct check_finding {
    const char *object;        /* "packs/d/ab/…" */
    enum check_result result;
    const char *text;
    const char *const *snapshots; /* ids of live snapshots that use it; NULL-terminated */
    const struct bytes *paths; /* item names harmed, at most 100 a snapshot, "id/…" left out; see paths_total */
    size_t path_count;
    uint64_t paths_total;
};
/* A check of as much as fits, what was checked longest ago first. When each pack was is remembered in the cache folder, and
 * roughly in the log (coverage.h). What is not a pack is always checked. However small it is, some packs are checked. */
struct check_budget {
    int64_t ns;        /* stop taking on packs after this time; 0: no such limit */
    uint64_t bytes;    /* or after so many bytes; 0: no such limit */
    int64_t window_ns; /* what was checked within this time counts as covered */
};
struct check_options {
    enum verify_level level;   /* VERIFY_PRESENT, VERIFY_CHECKSUM or VERIFY_DECODE */
    const struct check_budget *budget; /* NULL: everything; not at level present */
    /* With a budget, for each snapshot asked for, once the packs were checked: when the one of its packs that was checked
     * longest ago was (0: never). May be NULL. */
    int (*covered)(void *ctx, const struct snapshot_info *s, int64_t oldest_ns, struct error *err);
    /* For each snapshot asked for that needs packs which lie in an archive class and were not read: it is neither whole nor
     * damaged. May be NULL. */
    int (*archived)(void *ctx, const struct snapshot_info *s, struct error *err);
    int64_t *parts; /* with a budget: COVERAGE_PARTS times for coverage_add; may be NULL */
    const struct snapshot_info *const *snapshots; /* NULL-terminated; NULL: every live one */
    unsigned threads;
    void *ctx;
    void (*progress)(void *ctx, uint64_t bytes_done, uint64_t bytes_total);
    int (*finding)(void *ctx, const struct check_finding *f, struct error *err);
};
struct check_totals {
    uint64_t objects, bytes, findings;
    uint64_t packs_archived, bytes_archived; /* that could not be read for that; not among objects */
    /* With a budget: packs in all, those it did not reach or could not read for that, and what is covered, today's included. */
    uint64_t packs, packs_left, pack_bytes, bytes_left, bytes_covered;
    int64_t oldest_ns; /* when the pack that was checked longest ago was; 0: one never was */
    enum check_result result; /* CHECK_VERIFIED only when everything that was asked for was checked and whole */
};
/* 0 when the check ran, whatever it found; an error when it could not be carried out (result then NOT_CHECKED). ERR_REPO_BUSY
 * when a collection came in between, so that what was found missing may have been removed rightly: check again. */
int repo_check(struct repo *r, const struct check_options *o, struct check_totals *ret, struct error *err) PK_CHECK;
/* Rebuild the index from pack directories alone: writes runs and a DELETE entry replacing all others. Packs that are damaged are
 * left out. Admin only. */
int repo_reindex(struct repo *r, struct error *err) PK_CHECK;

struct gc_options {
    int64_t grace_ns;       /* unreferenced packs younger than this (store's clock) are left for running writers */
    int64_t now_ns;
    size_t dead_max;        /* 0: GC_DEAD_MAX */
    double repack_below;    /* share of live bytes under which a pack is rewritten; 0: whole packs only (no read key needed) */
};
#define GC_DEAD_MAX (1u << 20) /* packs that one entry of the log removes; a collection makes as many as it takes */
struct pack_fact;
struct gc_plan {
    uint64_t live_packs, live_bytes, dead_packs, dead_bytes, young_packs, young_bytes;
    uint64_t repack_packs, repack_bytes, repack_live_bytes;
    uint64_t archived_packs; /* not rewritten though little of them is live: they would have to be brought back first */
    bool damaged;           /* a live snapshot lacks chunks, so nothing is rewritten, and only whole packs are freed */
    struct pack_fact *dead; /* those that go first: at most GC_DEAD_MAX of dead_packs */
    size_t dead_count;
    struct pack_fact *repack;
    size_t repack_count;
    uint64_t log_size; /* the log that it was made of */
    unsigned markings; /* found when acting: how often it marked before its entry was in the log */
    /* found when acting: what its store has locked. It stays, its deletion stands in the log, and the next run tries
     * again */
    uint64_t locked, locked_packs, locked_bytes; /* objects; packs among them, and their bytes */
    int64_t locked_until_ns; /* the latest; INT64_MAX: nobody says, or a legal hold */
};
/* As repo_open; where requests take long it asks for what gc_plan_make and gc_run read first, which come next. */
int repo_open_collecting(struct store *s, const struct unlock *u, const char *cache_dir, struct repo **ret,
                         struct error *err) PK_CHECK;
int gc_plan_make(struct repo *r, const struct gc_options *o, struct gc_plan *ret, struct error *err) PK_CHECK;
void gc_plan_free(struct gc_plan *p);
/* Help only, before these are forgotten and gc_run follows: where requests take long, the metadata that it reads first
 * comes meanwhile. */
void gc_expect(struct repo *r, const uint64_t *seqs, size_t n);
/* Act: repack, DELETE entry, then removal of the objects. When others were first, and what they appended needs what
 * goes or is a collection itself, it begins again with marking. Each step leaves every live snapshot whole; an
 * interrupted run is finished by the next. ERR_REPO_BUSY when that is so each time it has marked: nothing was removed.
 * Where a request takes long, the log is published while the objects are removed, and uploads that nobody ended for a
 * day are given up beside the collection, also of one that fails. */
int gc_run(struct repo *r, const struct gc_options *o, struct gc_plan *ret_done, struct error *err) PK_CHECK;
/* FORGET entries for these snapshots (by seq); holds refuse (ERR_PRUNE_HELD). Nothing is deleted yet. */
int repo_forget(struct repo *r, const uint64_t *seqs, size_t n, const char *reason, struct error *err) PK_CHECK;

#endif
