/* The part of a plan of prune.h that is about WAL. */
#ifndef PK_WORK_PRUNE_WAL_H
#define PK_WORK_PRUNE_WAL_H

#include "work/prune.h"

/* Of each cluster that the selected surfaces have WAL of, what may go once the plan's points are forgotten. */
int prune_wal_plan(struct work *w, const struct selection *s, struct prune_plan *p, struct error *err) PK_CHECK;
int prune_wal_digest(const struct prune_plan *p, struct buf *b, struct error *err) PK_CHECK;
/* An array, a cluster each. */
int prune_wal_json(const struct prune_plan *p, json_t **ret, struct error *err) PK_CHECK;
/* Remove it, by what the log says now. */
int prune_wal_run(struct work *w, const struct prune_plan *p, struct prune_done *ret, struct error *err) PK_CHECK;
void prune_wal_free(struct prune_plan *p);

#endif
