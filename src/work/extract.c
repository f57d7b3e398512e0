#include "work/extract.h"

#include "surface/pgphys/extract.h"

#include <stdio.h>

bool extract_is(const json_t *doc) {
    const char *kind = json_string_value(json_object_get(doc, "kind"));
    return kind && !strcmp(kind, PAST_PHYSICAL) && json_array_size(json_object_get(doc, "paths")) > 0;
}

bool extract_wanted(const struct snapshot_info *info, const struct restore_options *o) {
    return past_is_physical(info) && o->paths && *o->paths;
}

struct restore_recovery extract_recovery(const struct restore_options *o) {
    bool immediate = o->target && !strcmp(o->target, "immediate");
    return (struct restore_recovery){.time = o->target_time,
                                     .lsn = o->target_lsn,
                                     .xid = o->target_xid,
                                     .name = o->target_name,
                                     .timeline = o->target_timeline,
                                     .action = o->target_action,
                                     .exclusive = o->target_exclusive,
                                     .immediate = immediate,
                                     .restore_command = o->target && !immediate ? past_feed_command : NULL};
}

int extract_plan(struct work_reading *in, const struct restore_request *q, json_t **ret, struct error *err) {
    const struct restore_recovery *r = q->recovery;
    char path[4200];
    json_t *nowhere = NULL, *checked = NULL;
    if (q->delta || (q->tablespaces && *q->tablespaces) || (r && (r->action || r->standby)))
        return error_set(err, ERR_USAGE,
                         "--path takes databases and tables out of a cluster; --delta, --tablespace, --standby and "
                         "--target-action are for restores of the whole");
    snprintf(path, sizeof path, "%s/none", in->ctx.scratch_dir);
    nowhere = json_pack("{s:s}", "data", path);
    struct restore_request scratch = {.as_scratch = true, .scratch = nowhere, .recovery = r, .facts = q->facts};
    int rc = nowhere ? in->surface.driver->plan(&in->ctx, &scratch, &checked, err)
                     : error_set(err, ERR_NO_MEMORY, "no memory for a plan");
    json_decref(checked);
    json_decref(nowhere);
    return rc == 0 ? pgphys_extract_plan(&in->ctx, q, ret, err) : rc;
}

int extract_run(struct work *w, const struct snapshot_info *info, struct work_reading *in,
                const struct restore_request *q, struct restore_result *ret, struct error *err) {
    struct past_recovery p;
    const json_t *scratch = NULL;
    past_of_recovery(w, info, in, q->recovery, &p);
    int rc = p.past.open(&p.past, NULL, &scratch, err);
    if (rc == 0) rc = pgphys_extract(&in->ctx, scratch, q, ret, err);
    p.past.close(&p.past);
    return rc;
}
