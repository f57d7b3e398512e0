/* Rows brought back: the past beside, compared with live, shown as a change set, and applied on approval. Like every
 * restore a plan first and an act second; making the plan writes nothing but the plan and its change set. */
#ifndef PK_WORK_ROWS_H
#define PK_WORK_ROWS_H

#include "surface/change_set.h"
#include "surface/rows.h"
#include "work/context.h"

struct rows_options {
    const char *database;     /* NULL: the only one of the recovery point */
    const char *const *picks; /* surface/rows.h; NULL-terminated */
    unsigned take;            /* enum rows_take */
    bool with_parents, no_triggers;
    const char *changes; /* where the change set goes, a file that is not there yet; NULL: beside the plan */
    const struct restore_recovery *recovery; /* of a physical backup: the instant; NULL: the end of the backup */
};
struct rows_plan {
    char id[40]; /* rows-<hex> */
    char label[260], snapshot_id[SNAPSHOT_ID_MAX];
    uint64_t seq;
    bool protected;
    char phrase[512];
    char changes[4200];
    uint64_t rows, missing_parents;
    json_t *doc; /* the whole plan: names, counts and digests, and no payload; owned */
};
bool rows_plan_is(const char *id);
int rows_plan_make(struct work *w, const char *address, const struct rows_options *o, struct rows_plan *ret,
                   struct error *err) PK_CHECK;
/* ERR_PLAN_STALE when it is unknown, or the plan, its change set or its point is not what it was. */
int rows_plan_load(struct work *w, const char *id, struct rows_plan *ret, struct error *err) PK_CHECK;
void rows_plan_free(struct rows_plan *p);
/* Hands out the change set, as change_set_read does. */
int rows_plan_read(const struct rows_plan *p, const struct change_set_reader *r, void *ctx, struct error *err) PK_CHECK;

struct rows_done {
    uint64_t inserted, updated, deleted;
    int64_t duration_ns;
    json_t *facts; /* of rows_driver.apply; owned by the caller */
};
/* Applies it in one transaction; ERR_CONFIRM where a phrase is needed and `confirm` is not it. A receipt of the outcome
 * goes into the log where the key may sign one: tables, counts and the change set's digest. */
int rows_plan_run(struct work *w, const struct rows_plan *p, const char *confirm, struct rows_done *ret,
                  struct error *err) PK_CHECK;

#endif
