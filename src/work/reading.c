#include "work/reading.h"

int work_reading_open(struct work *w, const struct snapshot_info *info, struct work_reading *ret, struct error *err) {
    *ret = (struct work_reading){0};
    int rc = work_surface_of(w, info, &ret->surface, err);
    if (rc < 0) return rc;
    ret->bridged = true;
    if ((rc = work_bridge_open(w, &ret->surface, &ret->bridge, &ret->ctx, err)) < 0) return rc;
    rc = w->cache_bytes ? snapshot_open_sized(w->repo, info, w->cache_bytes, &ret->snapshot, err)
                        : snapshot_open(w->repo, info, &ret->snapshot, err);
    if (rc < 0) return rc;
    if (ret->ctx.jobs > 1) snapshot_scouts(ret->snapshot, ret->ctx.jobs);
    work_source_init(&ret->source, ret->snapshot);
    ret->facts = json_object_get(snapshot_root(ret->snapshot), "facts");
    ret->invariants = json_object_get(snapshot_root(ret->snapshot), "invariants");
    return 0;
}

void work_reading_close(struct work_reading *r) {
    snapshot_close(r->snapshot);
    if (r->bridged) work_bridge_close(&r->bridge);
    work_surface_close(&r->surface);
    *r = (struct work_reading){0};
}
