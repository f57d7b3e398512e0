#include "surface/postgres/postgres_internal.h"

#include "base/seam.h"
#include "base/time.h"
#include <stdio.h>

static int fill(const struct restore_request *q, struct pg_restore_job *j, const char *stamp, struct error *err) {
    const char *live = q->target ? q->target : j->name;
    size_t n = strlen(live);
    if (n == 0 || n > PG_NAME_MAX) return error_set(err, ERR_USAGE, "a database's name has 1 to %d bytes", PG_NAME_MAX);
    snprintf(j->live, sizeof j->live, "%s", live);
    pg_sibling_name(live, "before", stamp, j->before);
    if (q->as_scratch)
        snprintf(j->target, sizeof j->target, "%s", j->name);
    else if (q->target && !q->swap && !q->in_place)
        snprintf(j->target, sizeof j->target, "%s", q->target);
    else
        pg_sibling_name(live, "restored", stamp, j->target);
    return 0;
}

int pg_jobs_make(const struct restore_request *q, struct pg_restore_job **ret, size_t *ret_n, struct error *err) {
    const json_t *list = json_object_get(q->facts, "databases"), *d;
    struct pg_restore_job *jobs;
    char compact[24], stamp[24];
    size_t i, n = 0;
    if ((q->swap || q->in_place) && q->target && !q->as_scratch)
        return error_set(err, ERR_USAGE,
                         "a database is either restored into %s, or swapped for the live one of its own name",
                         q->target);
    int r = mem_alloc((json_array_size(list) + 1) * sizeof *jobs, (void **)&jobs, err);
    if (r < 0) return r;
    time_format_compact(q->planned_ns ? q->planned_ns : time_now_ns(), compact);
    snprintf(stamp, sizeof stamp, "%.8s_%.6s", compact, compact + 9); /* 20260216_070000 */
    json_array_foreach(list, i, d) {
        const char *name = json_string_value(json_object_get(d, "name"));
        if (r < 0) break;
        if (!name)
            r = error_set(err, ERR_JSON, "a database of the snapshot has no name");
        else if (pg_selects_database(q->include, name)) {
            jobs[n].name = name;
            jobs[n].facts = d;
            r = fill(q, &jobs[n++], stamp, err);
        }
    }
    if (r == 0 && n == 0 && !pg_selects_globals(q->include))
        r = error_set(err, ERR_NO_POINT, "nothing in the snapshot is what was asked for");
    if (r == 0 && n > 1 && q->target && !q->as_scratch)
        r = error_set(
            err, ERR_USAGE,
            "the restore is of %zu databases, a target names one; name the tables as db/DATABASE/SCHEMA.TABLE", n);
    if (r < 0) {
        seam_free(jobs);
        return r;
    }
    *ret = jobs;
    *ret_n = n;
    return 0;
}

void pg_jobs_free(struct pg_restore_job *jobs, size_t n) {
    for (size_t i = 0; i < n; i++) pg_folder_free(&jobs[i].folder);
    seam_free(jobs);
}
