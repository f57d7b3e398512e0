/* Metrics as Prometheus reads them (text exposition format 0.0.4). Pure; any thread. */
#ifndef PK_WORK_METRICS_H
#define PK_WORK_METRICS_H

#include "base/bytes.h"
#include "base/error.h"

enum metric {
#define METRIC(id, name, type, unit, labels, help) METRIC_##id,
#include "work/metrics_table.def"
#undef METRIC
    METRIC_COUNT
};

struct metric_info {
    const char *name, *type, *unit, *labels, *help;
};
extern const struct metric_info metric_table[METRIC_COUNT];

/* One value. Exactly the labels that the table names for the metric are set (UTF-8, borrowed); the others are NULL. */
struct metric_sample {
    enum metric metric;
    const char *env, *surface, *repo, *level, *version, *copy, *within;
    double value;
};

/* Append all samples in the table's order, each metric with its HELP and TYPE once. ERR_INTERNAL when a label is
 * missing or too many, or when two samples would be one series; `out` then holds nothing new. */
int metrics_write(const struct metric_sample *samples, size_t n, struct buf *out, struct error *err) PK_CHECK;

#endif
