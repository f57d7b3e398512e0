/* Chunks that a live snapshot needs and that no pack has: what a pack's own check cannot see. Metadata that snapshots share is
 * looked at once. One thread. */
#ifndef PK_REPO_LOST_H
#define PK_REPO_LOST_H

#include "repo/maintain_internal.h"
#include "repo/repair.h"
#include "repo/writer_internal.h"

struct lost_search {
    struct repo *r;
    struct fetcher *f;
    const struct repair_plan *plan; /* packs that count as gone; NULL: none */
    const struct idset *saved;      /* ids that count as there; NULL: none */
    struct idset whole, broken;     /* manifests and lists seen */
};
int lost_open(struct repo *r, const struct repair_plan *plan, const struct idset *saved, struct lost_search *ret, struct error *err) PK_CHECK;
void lost_close(struct lost_search *s);
/* Damage is an answer: *ret_lost, and *ret_listless when what lists its items cannot be read. */
int lost_look(struct lost_search *s, const struct snapshot_info *info, bool *ret_lost, bool *ret_listless, struct error *err) PK_CHECK;
/* The names of items that lack a chunk, at most LOST_PATHS_MAX of *ret_total; the caller frees the buffers. */
#define LOST_PATHS_MAX 100
int lost_paths(struct lost_search *s, const struct snapshot_info *info, struct buf paths[LOST_PATHS_MAX], size_t *ret_n, uint64_t *ret_total,
               struct error *err) PK_CHECK;

#endif
