/* Where in the stored WAL a recovery target lies that has no place of its own: a transaction's number, or a restore point's name. Only
 * that tells which backup leads to it: in the newest it may have been over already. */
#ifndef PK_WORK_PITR_FIND_H
#define PK_WORK_PITR_FIND_H

#include "work/context.h"

#define PITR_FIND_NAMES 3

struct pitr_place { /* of a record */
    uint64_t lsn;   /* where it begins */
    uint32_t timeline, xid;
    int64_t time_ns; /* of a transaction's end; of a restore point, when the last transaction before it ended, 0: not known */
    bool aborted;
    char name[64];
};
struct pitr_find { /* zeroed; of one target, over backups from the newest to the oldest */
    bool found, ended; /* ended: no older backup makes it any better */
    bool chosen;       /* by whoever asks, for the plan: the backup was not named, but chosen for the target */
    unsigned backups;  /* that were looked behind */
    char base[SNAPSHOT_ID_MAX];
    struct pitr_place place; /* with found */
    bool unsought;           /* it could not be looked for here: the backup is taken as it is */
    char why_unsought[400];
    /* what was searched: along this timeline, from there to the end */
    uint32_t timeline;
    uint64_t from;
    char gap[24]; /* where WAL was missing; else empty */
    struct pitr_place below, above, names[PITR_FIND_NAMES]; /* the nearest; what there is */
    unsigned name_count;
};
/* Whether the target is one of these. */
bool pitr_find_is(const struct restore_recovery *q);
/* Looks for it behind one backup, with what pitr_reach says of that; WAL behind a newer one was looked through before. ERR_PG_TARGET when it is not
 * there, or (ended) more than once. ERR_PG_SCRATCH, ended, when the server's programs are not on this host: no harm with `only`,
 * where there is no choice; then 0, and unsought. */
int pitr_find_look(struct pitr_find *f, struct work *w, const struct snapshot_info *base, const struct restore_recovery *q,
                   const json_t *reach, bool only, struct error *err) PK_CHECK;
/* ERR_PG_TARGET: it is behind none, with the nearest. */
int pitr_find_none(const struct pitr_find *f, const struct restore_recovery *q, struct error *err) PK_CHECK;
/* "found" into a plan's "recovery" (NULL or null is fine), or a warning where it could not be looked for. */
int pitr_find_put(const struct pitr_find *f, json_t *recovery, json_t *warnings, struct error *err) PK_CHECK;

#endif
