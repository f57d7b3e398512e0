/* Shared by the files of a repair. */
#ifndef PK_REPO_REPAIR_INTERNAL_H
#define PK_REPO_REPAIR_INTERNAL_H

#include "repo/maintain_internal.h"
#include "repo/repair.h"
#include "repo/writer_internal.h"

/* What became of the chunks of damaged packs. */
struct salvage {
    struct repo *r;
    const struct repair_options *o;
    const struct repair_plan *plan;
    struct writer *w;   /* NULL: only look */
    struct fetcher *f;
    struct idset saved; /* stored anew, or could be */
    struct buf rescued;
    uint64_t salvaged, rescued_count, lost;
    uint64_t done, total;
};
int salvage_open(struct repo *r, const struct repair_options *o, const struct repair_plan *p, bool store, struct salvage *ret, struct error *err) PK_CHECK;
/* Every chunk that the damaged packs had: from what still opens, from other copies, from the rescue. */
int salvage_packs(struct salvage *s, struct error *err) PK_CHECK;
void salvage_close(struct salvage *s);
/* Tell o->harmed of every live snapshot that needs a chunk which no whole pack has and which was not saved. */
int salvage_harm(struct salvage *s, uint64_t *ret_snapshots, struct error *err) PK_CHECK;

const struct repair_pack *repair_pack_find(const struct repair_plan *p, const struct digest *name);

#endif
