/* Databases or tables out of a physical backup: a restore whose plan names paths of a cluster. It shares everything with other restores
 * (plan, phrase, receipt) but what the driver is asked to do. */
#ifndef PK_WORK_EXTRACT_H
#define PK_WORK_EXTRACT_H

#include "work/past_recovery.h"
#include "work/restore.h"

/* By the plan's document: of a physical backup, and not all of it. */
bool extract_is(const json_t *doc);
bool extract_wanted(const struct snapshot_info *info, const struct restore_options *o);
/* The recovery that options ask for. */
struct restore_recovery extract_recovery(const struct restore_options *o);
/* In the place of the driver's own plan and restore. */
int extract_plan(struct work_reading *in, const struct restore_request *q, json_t **ret, struct error *err) PK_CHECK;
int extract_run(struct work *w, const struct snapshot_info *info, struct work_reading *in, const struct restore_request *q,
                struct restore_result *ret, struct error *err) PK_CHECK;

#endif
