/* Between a check and the part of it that looks at packs. Internal to the check. */
#ifndef PK_REPO_CHECK_INTERNAL_H
#define PK_REPO_CHECK_INTERNAL_H

#include "repo/lost.h"
#include "repo/maintain_internal.h"
#include "repo/moving.h"
#include "repo/nameset.h"

#define FRAME_ALL UINT32_MAX

struct damage {
    struct digest pack;
    bool meta, harmless; /* harmless: only padding or header differ, no content is lost */
    bool if_used;   /* a delta without its base: none if nothing live needs it, as then its base may be collected */
    uint32_t frame; /* FRAME_ALL: the whole pack */
    enum check_result result;
    char text[256];
    struct buf *paths;
    size_t path_count, path_cap;
    uint64_t paths_total;
};
struct checking {
    struct repo *r;
    const struct check_options *o;
    struct pool *pool;
    struct fetcher *fetcher;
    bool far;                /* each request costs */
    struct lost_search lost; /* with fetcher; walks metadata when all packs were looked at */
    pthread_mutex_t lock;
    struct damage *damage;
    size_t damage_count, damage_cap;
    struct nameset archived; /* packs */
    struct desk *desks; /* that nobody works at */
    uint64_t done, total;
    struct error failed;
    bool has_failed;
    struct check_totals totals;
};

/* check_pack.c */
/* Packs that one task reads: two, so that their names are recomputed together. */
#define CHECK_PACKS_AT_ONCE 2
#define CHECK_PACKS_FAR 5 /* in memory at a time, with the one of the thread that hands them out */
struct check_task {
    struct checking *c;
    unsigned count;
    struct pack_fact facts[CHECK_PACKS_AT_ONCE];
};
void check_packs(void *task); /* a pool's task; frees it */
void check_packs_end(struct checking *c); /* when no task is left */
void check_pack_damaged(struct checking *c, const struct pack_fact *f, enum check_result result, const char *text);
enum check_result check_result_of(int rc);

#endif
