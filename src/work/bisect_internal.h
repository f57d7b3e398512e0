/* Shared by the files that bisect: over recovery points, then over instants between two of them. */
#ifndef PK_WORK_BISECT_INTERNAL_H
#define PK_WORK_BISECT_INTERNAL_H

#include "base/seam.h"
#include "work/bisect.h"
#include "work/past_recovery.h"

struct bisect_candidate {
    const struct snapshot_info *info;
    bool end;        /* not the point, but how far WAL leads from it */
    const char *time; /* with end: that far at most; NULL: to the end */
};
struct asking {
    struct work *w;
    const struct bisect_options *o;
    char environment[128], surface[128];
    struct bisect_candidate *points; /* oldest first */
    size_t count;
    struct bisect_result *r;
    size_t tries_cap;
    struct past_instance *instance;
    char database[192], system[24]; /* of physical points: the one that is meant, by the newest that lists it, and in
                                       which cluster; empty: none does */
    uint32_t database_oid;
    void (*each)(void *ctx, const struct bisect_try *t);
    void *ctx;
};
/* Brings up the past of a point, recovered to q (NULL: the point itself), and asks it; adds the try. ERR_PG_TARGET and the like are an
 * answer: unknown. *ret: borrowed until the next. */
int bisect_ask(struct asking *a, const struct snapshot_info *info, const struct restore_recovery *q, size_t candidate,
               const struct bisect_try **ret, struct error *err) PK_CHECK;

/* ---- bisect_database.c ---- */
/* Which database of the physical points is meant: by what the newest that has it recorded of it. One that is damaged or
 * in an archive tells nothing, and none does once several could be meant. */
int bisect_database_learn(struct asking *a, struct error *err) PK_CHECK;
/* What it is called in a cluster that is up: by its name there or, where none has that, the same one renamed, of which
 * *name is then a name in `room`, and t->text says so. ERR_NO_POINT, which t->text says as well: neither is there. */
int bisect_database_at(const struct asking *a, const struct work_reading *in, const struct rows_driver *rows,
                       const json_t *scratch, char room[192], const char **name, struct bisect_try *t,
                       struct error *err) PK_CHECK;

/* ---- bisect_instants.c ---- */
/* Where WAL leads from a physical backup to something that is not clean: the transaction on the way that made it so, into r->transaction.
 * The backup itself is clean or not; if not, it looks for an instant at which it was, in between, and says so when it finds none. Nothing,
 * and r->why_none, where it cannot be found. */
int bisect_instants(struct asking *a, const struct bisect_candidate *first, bool is_clean,
                    const struct bisect_candidate *not_clean, struct error *err) PK_CHECK;

#endif
