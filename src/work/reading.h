/* All that a driver needs to read one recovery point. */
#ifndef PK_WORK_READING_H
#define PK_WORK_READING_H

#include "work/context.h"

struct work_reading {
    struct work_surface surface;
    struct work_bridge bridge;
    struct surface_context ctx;
    struct snapshot *snapshot;
    struct work_source source;
    const json_t *facts, *invariants; /* of the snapshot; borrowed from it */
    bool bridged;
};
/* `ret` must stay where it is until it is closed, which is due whatever was answered. */
int work_reading_open(struct work *w, const struct snapshot_info *info, struct work_reading *ret, struct error *err) PK_CHECK;
void work_reading_close(struct work_reading *r);

#endif
