/* Restores out of an archive class: counted into the plan, asked for, waited for. */
#ifndef PK_WORK_THAW_H
#define PK_WORK_THAW_H

#include "repo/thaw.h"
#include "work/restore.h"

/* What a plan says of it: "thaw" in `doc`, when something that the point needs is of an archive class, and is not
 * readable now. "estimated_seconds" has the wait in that tier in it, and is scaled down to the part of the point that
 * is restored. */
int thaw_plan(struct work *w, const struct snapshot_info *info, bool whole, enum store_tier tier, json_t *doc, struct error *err) PK_CHECK;
/* Whether a plan's document says that something must come back first. */
bool thaw_planned(const json_t *doc);

struct thaw_request {
    enum store_tier tier;
    unsigned days; /* that it stays readable */
    bool no_wait;
};
/* Ask for what the plan's point needs and wait until it can be read. With no_wait, ERR_S3_THAWING when it cannot yet; asked
 * again it asks for nothing twice. `confirm` as for restore_run, so that nothing is paid for in vain. Then p->thawed is set. */
int restore_thaw(struct work *w, struct restore_plan *p, const char *confirm, const struct thaw_request *q, struct error *err) PK_CHECK;
/* ERR_S3_ARCHIVED or ERR_S3_THAWING while something that the plan's point needs cannot be read. */
int thaw_check(struct work *w, const struct restore_plan *p, const struct snapshot_info *info, struct error *err) PK_CHECK;

#endif
