/* A recovery point as data for front ends. */
#ifndef PK_WORK_POINT_H
#define PK_WORK_POINT_H

#include "work/context.h"

/* "none", "present" … "rebuild" */
const char *point_level(enum verify_level level);
/* The document of doc/reference/json.md, "point". */
int point_json(const struct snapshot_info *i, json_t **ret, struct error *err) PK_CHECK;
/* The instant that a point stands for: what the writer says, but never later than when it was stored. */
int64_t point_time(const struct snapshot_info *i);
/* A time as JSON: RFC 3339, or null for 0. */
json_t *point_time_json(int64_t ns);

#endif
