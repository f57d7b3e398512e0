/* Retention of sets: a point of a set is one thing.
 *
 * Invariants
 *  1. The members of a set that has them all are forgotten together, or none of them is. Those of surfaces that the
 *     configuration does not have any more stay, as all of those do that have no rule, and keep no others unless held.
 *  2. Of each set that the configuration knows, the newest that is whole and whose members are all proven stays; while
 *     none is proven, the newest whole one. Of one that is a list, a class or `all`, only until a later proven one has
 *     all its surfaces.
 *  3. What is done here only adds to what retention.h keeps: no entry of the log, a writer's neither, makes more go.
 */
#ifndef PK_WORK_PRUNE_SETS_H
#define PK_WORK_PRUNE_SETS_H

#include "work/prune.h"

/* Of a plan that has the verdicts of all its surfaces. A set that has a member of a surface outside the plan stays,
 * when the configuration has that surface. */
int prune_sets_bind(struct work *w, struct prune_plan *p, struct error *err) PK_CHECK;
/* The places in the log of all that a plan forgets, the members of a set next to each other. *ret_sizes (n of them are
 * n entries of the log): how many belong into one entry, so that none is of a part of a set. Both owned by the caller.
 */
int prune_sets_order(const struct prune_plan *p, uint64_t **ret_seqs, size_t **ret_sizes, size_t *ret_n,
                     struct error *err) PK_CHECK;

#endif
