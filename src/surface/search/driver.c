#include "surface/search/search_internal.h"

const struct surface_driver surface_search = {
    .kind = "search",
    .promises = SURFACE_ONLINE | SURFACE_SELECTIVE,
    .receipt_surface = "search",
    .probe = search_probe,
    .capture = search_capture,
    .plan = search_plan,
    .restore = search_restore,
    .scratch_start = search_scratch_start,
    .scratch_stop = search_scratch_stop,
    .measure = search_measure,
    .describe = search_describe,
    .export_name = search_export_name,
    .export_tree = search_export_tree,
};
