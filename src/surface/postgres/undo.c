#include "surface/postgres/postgres_internal.h"

#include "base/seam.h"

static int discard(const struct pg_settings *s, PGconn *c, const struct pg_restore_job *j, int64_t planned_ns,
                   unsigned *removed, struct error *err) {
    bool half = false;
    int r = pg_database_half(c, j->target, planned_ns, &half, err);
    if (r < 0 || !half) return r;
    if (!pg_database_discard(s, j->target))
        return error_set(err, ERR_PG_EXISTS, "what a killed run of this plan left of %s could not be dropped",
                         j->target);
    ++*removed;
    return 0;
}

int pg_undo(const struct surface_context *ctx, const struct restore_request *q, unsigned *ret_removed,
            struct error *err) {
    CLEANUP(pg_settings_freep) struct pg_settings *s = NULL;
    CLEANUP(pg_finishp) PGconn *c = NULL;
    struct pg_restore_job *jobs = NULL;
    size_t n = 0;
    *ret_removed = 0;
    int r = pg_jobs_make(q, &jobs, &n, err);
    if (r == 0) r = pg_settings_load(ctx, NULL, &s, err);
    const char *avoid = NULL; /* where the restore's own connection is, as a plan is taken in one database */
    for (size_t k = 0; r == 0 && k < n; k++)
        if (!strcmp(jobs[k].live, s->dbname)) avoid = s->dbname;
    if (r == 0) r = pg_connect_admin(s, avoid, &c, err);
    if (r == 0) r = pg_plan_take(c, q->planned_ns, err);
    for (size_t k = 0; r == 0 && k < n; k++) r = discard(s, c, &jobs[k], q->planned_ns, ret_removed, err);
    pg_jobs_free(jobs, n);
    return r;
}
