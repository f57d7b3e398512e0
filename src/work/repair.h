/* Scrubbing a store without any key, and mending a repository. */
#ifndef PK_WORK_REPAIR_H
#define PK_WORK_REPAIR_H

#include "repo/repair.h"
#include "repo/scrub.h"
#include "work/context.h"
#include "work/wal_repair.h"

/* Scrub the store of `environment` (may be NULL), which is opened without a key. o->threads, cache_dir and progress are filled in
 * here; memory is kept in the work's cache folder. */
int scrub_run(struct work *w, const char *environment, struct scrub_options *o, struct scrub_totals *ret, struct error *err) PK_CHECK;

struct repair_request {
    const char *environment; /* may be NULL */
    const char *from;        /* another repository to look for lost chunks in: URL, folder or name; NULL: none */
    const char *plan;        /* "rep-…": only this; NULL: whatever is found */
    bool dry_run;
    void *ctx;
    void (*finding)(void *ctx, const char *object, enum check_result result, const char *text, bool mends);
    /* Of a plan, or of what was done: paths are printable names. */
    void (*harmed)(void *ctx, const char *snapshot, const json_t *paths, uint64_t total, bool listless);
    void (*planned)(void *ctx, const char *id, const struct repair_plan *p, const struct wal_repair *wal); /* before anything is done */
};
struct repair_done {
    char plan[20]; /* "rep-" and 12 digits of the digest of what is damaged */
    bool acted;    /* false: nothing to do, or a dry run */
    struct repair_plan found; /* without its lists */
    struct repair_result result;
    struct wal_repair wal;    /* without its list */
    uint64_t entries_recovered, entries_lost, marked; /* of the log; snapshots marked as damaged */
    int64_t duration_ns;
};
/* 0 when it ran to its end: what could not be mended is in *ret. ERR_PLAN_STALE when `plan` is not what would be done now. */
int work_repair(struct work *w, const struct repair_request *q, struct repair_done *ret, struct error *err) PK_CHECK;

#endif
