/* Retention: a plan first, an act second. A plan says what would be forgotten and why; it holds for exactly the log and
 * the decisions that it was made of, and what has changed since is refused (ERR_PLAN_STALE).
 *
 * Invariants
 *  1. Nothing is forgotten that platform/retention.h would not forget at the moment of acting.
 *  2. While a hold of retention's stands for one of the surfaces, the whole run forgets nothing (ERR_PRUNE_HELD).
 *  3. Members of a set go together or not at all: prune_sets.h.
 *  4. Space is freed only of what nothing live refers to, by repo/maintain.h; of WAL, what no physical backup needs, by
 * work/wal.h.
 */
#ifndef PK_WORK_PRUNE_H
#define PK_WORK_PRUNE_H

#include "platform/retention.h"
#include "work/select.h"
#include "work/wal.h"

#define PRUNE_GRACE_NS (24 * 3600 * INT64_C(1000000000))
#define PRUNE_REPACK_BELOW 0.7 /* packs with less live data are rewritten, where the key may read */

struct prune_options {
    bool collect_only;
    int64_t grace_ns; /* whole seconds */
    bool estimate;    /* also look what could be freed at once, which lists every pack */
};
struct prune_point {
    uint64_t seq;
    char id[SNAPSHOT_ID_MAX];
    int64_t time_ns;
    uint64_t bytes;
    bool proven;  /* as retention.h means it */
    uint64_t set; /* place of the receipt of the set that it belongs to; 0: none that has all its members */
    char set_id[SNAPSHOT_ID_MAX];
    struct retention_verdict verdict;
};
struct prune_surface {
    char name[128];
    struct prune_point *points; /* in log order */
    size_t point_count;
    struct retention_plan plan;
    /* Points of other surfaces that stay only as parts of its sets, while its own backups have stopped. */
    size_t keeps;
    uint64_t keeps_bytes;
    char keeps_text[480]; /* that, and what to do about it; empty: none */
};
struct prune_plan {
    char id[20];                          /* "pln-" and 12 digits of the digest */
    char digest[65];                      /* of repository, log size, options and decisions */
    char environment[128], surfaces[400]; /* as the phrase names them: "all" or "a,b" */
    char repository[33], url[4096];
    bool protected;
    char phrase[512]; /* to be typed; empty when not protected */
    struct prune_options options;
    uint64_t log_size;
    struct prune_surface *list;
    size_t count;
    size_t forgotten; /* points that go */
    uint64_t forgotten_bytes;
    uint64_t unused_bytes, unused_packs; /* what could be freed at once, without forgetting; when the key may collect */
    bool unused_known;
    struct wal_leaving *wal; /* a cluster each, of the selected surfaces */
    size_t wal_count;
    uint64_t wal_objects, wal_bytes; /* that go */
};
/* For an environment's surfaces, which the repository holds. Opens the repository; changes nothing. */
int prune_plan_make(struct work *w, const struct selection *s, const struct prune_options *o, struct prune_plan *ret,
                    struct error *err) PK_CHECK;
void prune_plan_free(struct prune_plan *p);
/* 0, or ERR_PRUNE_HELD with what holds each surface that defers. */
int prune_plan_check(const struct prune_plan *p, struct error *err) PK_CHECK;
/* The document of doc/reference/json.md, "plan" of prune. */
int prune_plan_json(const struct prune_plan *p, json_t **ret, struct error *err) PK_CHECK;
/* Keep it in <cache>/plans/<id>.json until it is carried out. */
int prune_plan_store(struct work *w, const struct prune_plan *p, struct error *err) PK_CHECK;
/* One that was stored, made again from what is there now: ERR_PLAN_STALE when it would be another, or there is none. */
int prune_plan_load(struct work *w, const char *id, struct prune_plan *ret, struct error *err) PK_CHECK;

struct prune_done {
    size_t forgotten;
    uint64_t freed_packs, freed_bytes;
    uint64_t repacked_packs, repacked_bytes, repacked_live_bytes;
    uint64_t wal_objects, wal_bytes; /* removed because no backup needs them; part of freed_bytes */
    uint64_t young_bytes; /* left for running writers, by the grace */
    uint64_t locked, locked_bytes; /* objects that the store still has locked; the next run tries again */
    int64_t locked_until_ns;       /* the latest; INT64_MAX: nobody says */
    int64_t duration_ns;
};
/* Carry it out. `typed` is the phrase, NULL when none was given (ERR_CONFIRM where one is needed). A plan that forgets is made
 * again first and must be the same. Interrupted or failed after forgetting, the next run frees what is left. */
int prune_run(struct work *w, const struct prune_plan *p, const char *typed, struct prune_done *ret,
              struct error *err) PK_CHECK;

#endif
