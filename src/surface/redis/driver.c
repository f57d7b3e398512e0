#include "surface/redis/redis_internal.h"

static const struct surface_selection selection[] = {{"server", "databases"}, {0}};

const struct surface_driver surface_redis = {
    .kind = "redis",
    .selection = selection,
    .receipt_surface = "redis",
    .probe = redis_probe,
    .capture = redis_capture,
    .plan = redis_plan,
    .restore = redis_restore,
    .scratch_start = redis_scratch_start,
    .scratch_stop = redis_scratch_stop,
    .measure = redis_measure,
    .describe = redis_describe,
    .export_tree = redis_export_tree,
    .wants = redis_wants,
};
