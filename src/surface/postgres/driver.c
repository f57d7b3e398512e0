#include "surface/postgres/postgres_internal.h"
#include "surface/postgres/rows_diff.h"

const struct surface_driver surface_postgres = {
    .kind = "postgres",
    .receipt_surface = "postgres",
    .probe = pg_probe,
    .capture = pg_capture,
    .plan = pg_plan,
    .restore = pg_restore,
    .undo = pg_undo,
    .scratch_start = pg_scratch_start,
    .scratch_stop = pg_scratch_stop,
    .measure = pg_measure,
    .describe = pg_describe,
    .export_tree = pg_export_tree,
    .wants = pg_wants,
    .rows = &pg_rows_driver,
};
