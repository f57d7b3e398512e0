/* The status as data: JSON and metrics. */
#include "work/status.h"

#include "base/seam.h"
#include "base/time.h"
#include "work/point.h"

static double seconds(int64_t ns) {
    return (double)(ns / 1000000) / 1e3;
}

static json_t *duration_json(const struct config_duration *d) {
    if (d->state == CONFIG_UNSET) return json_null();
    if (d->state == CONFIG_NONE) return json_string("none");
    return json_integer((json_int_t)(d->ns / NS_PER_S));
}

static json_t *age_json(int64_t then_ns, int64_t now_ns) {
    return then_ns ? json_integer((json_int_t)((now_ns - then_ns) / NS_PER_S)) : json_null();
}

static json_t *windows_json(const struct status_row *r) {
    json_t *list = json_array();
    for (size_t i = 0; i < r->wal.window_count && list; i++)
        (void)json_array_append_new(list,
                                    json_pack("{s:I, s:o, s:o}", "timeline", (json_int_t)r->wal.windows[i].timeline,
                                              "first", point_time_json(r->wal.windows[i].first_ns), "last",
                                              point_time_json(r->wal.windows[i].last_ns)));
    return list;
}

static json_t *known_json(const struct status_row *r) {
    json_t *list = json_array();
    for (size_t i = 0; i < r->wal.known_count && list; i++) {
        const struct wal_gap *g = &r->wal.known[i];
        char from[24], to[24];
        wal_lsn_format(g->from, from);
        wal_lsn_format(g->to, to);
        (void)json_array_append_new(list, json_pack("{s:I, s:s, s:s, s:s}", "timeline", (json_int_t)g->timeline, "from",
                                                    from, "to", to, "reason", g->why));
    }
    return list;
}

static json_t *wal_json(const struct status_row *r, int64_t now_ns) {
    if (!r->wal.any) return json_null();
    return json_pack("{s:o, s:o, s:o, s:o, s:s, s:s, s:b, s:o, s:o}", "first", point_time_json(r->wal.first_ns), "last",
                     point_time_json(r->wal.newest_ns), "age_s", age_json(r->wal.newest_ns, now_ns), "sure",
                     point_time_json(r->wal.sure_ns), "server", status_server_name(r->wal.server), "server_why",
                     r->wal.server_why, "broken", r->wal.broken, "windows", windows_json(r), "acknowledged",
                     known_json(r));
}

static json_t *row_json(const struct status_row *r, int64_t now_ns) {
    json_t *good = json_null(), *proven = json_null(), *restored = json_null(), *attempt = json_null();
    if (r->good_time_ns)
        good = json_pack("{s:s, s:o, s:o, s:I, s:I}", "id", r->good_id, "time", point_time_json(r->good_time_ns),
                         "age_s", age_json(r->good_time_ns, now_ns), "bytes", (json_int_t)r->good_bytes, "stored_bytes",
                         (json_int_t)r->good_stored_bytes);
    if (r->proven_time_ns)
        proven = json_pack("{s:s, s:o, s:o, s:s, s:o}", "id", r->proven_id, "time", point_time_json(r->proven_time_ns),
                           "age_s", age_json(r->proven_time_ns, now_ns), "level", point_level(r->proven_level),
                           "verified_at", point_time_json(r->proven_at_ns));
    if (r->restored_ns)
        restored = json_pack("{s:o, s:I}", "at", point_time_json(r->restored_ns), "took_ms",
                             (json_int_t)(r->restore_took_ns / 1000000));
    if (r->attempt_ns)
        attempt = json_pack("{s:o, s:b}", "at", point_time_json(r->attempt_ns), "failed", r->attempt_failed);
    return json_pack("{s:s, s:s, s:s, s:s, s:b, s:b, s:s, s:b, s:s, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:i, s:o}",
                     "environment", r->environment, "surface", r->surface, "kind", r->kind, "repository", r->repository,
                     "configured", r->configured, "protected", r->protected, "state", status_state_name(r->state), "ok",
                     !status_fails(r->state), "why", r->why, "rpo_s", duration_json(&r->rpo), "rto_s",
                     duration_json(&r->rto), "level_wanted", point_level(r->level_wanted), "last_good", good,
                     "last_proven", proven, "last_restore", restored, "last_attempt", attempt, "held", (int)r->held,
                     "wal", wal_json(r, now_ns));
}

static json_t *drill_json(const struct status_repository *r, int64_t now_ns) {
    if (!r->drilled_ns) return json_null();
    return json_pack("{s:o, s:o, s:s}", "at", point_time_json(r->drilled_ns), "age_s", age_json(r->drilled_ns, now_ns),
                     "role", key_role_name(r->drill_role));
}

static json_t *witness_json(const struct status_repository *r) {
    if (!r->witnessed) return json_null();
    return json_pack("{s:o, s:b, s:s}", "last", r->witness_ns ? point_time_json(r->witness_ns) : json_null(), "silent",
                     r->silent, "says", r->witness);
}

static const char *const windows[COVERAGE_WINDOWS] = {"7d", "30d", "90d"};

static json_t *coverage_json(const struct coverage_sum *c, int64_t now_ns) {
    if (!c->any) return json_null();
    json_t *within = json_object();
    for (int i = 0; i < COVERAGE_WINDOWS && within; i++)
        if (json_object_set_new(within, windows[i], json_integer((json_int_t)c->within[i])) < 0) {
            json_decref(within);
            within = NULL;
        }
    return json_pack("{s:I, s:I, s:o, s:I, s:o, s:o}", "packs", (json_int_t)c->packs, "bytes", (json_int_t)c->bytes,
                     "within_bytes", within, "never_bytes", (json_int_t)c->never, "oldest",
                     c->oldest_ns ? point_time_json(c->oldest_ns) : json_null(), "oldest_age_s",
                     age_json(c->oldest_ns, now_ns));
}

static json_t *copies_json(const struct status *s, const struct status_repository *r) {
    json_t *list = json_array();
    for (size_t i = 0; i < s->copy_count && list; i++) {
        const struct status_copy *c = &s->copies[i];
        if (strcmp(c->repository, r->name) != 0) continue;
        json_t *j = json_pack("{s:s, s:s, s:I, s:I, s:I, s:o, s:b}", "repository", c->id, "label", c->label,
                              "behind_points", (json_int_t)c->behind, "behind_wal", (json_int_t)c->wal_behind,
                              "behind_s", (json_int_t)(c->waiting_ns ? (s->now_ns - c->waiting_ns) / NS_PER_S : 0),
                              "told_at", point_time_json(c->told_ns), "offline", c->offline);
        if (c->offline && j)
            json_object_set_new(j, "reread",
                                json_pack("{s:o, s:o, s:b, s:b}", "last", point_time_json(c->reread_ns), "due",
                                          point_time_json(c->due_ns), "overdue", c->overdue, "failed",
                                          c->reread_failed));
        if (json_array_append_new(list, j) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *repository_json(const struct status *s, const struct status_repository *r) {
    if (r->inconsistent) return json_pack("{s:s, s:b}", "name", r->name, "consistent", false);
    return json_pack("{s:s, s:b, s:I, s:I, s:o, s:o, s:o, s:o}", "name", r->name, "consistent", true, "log_entries",
                     (json_int_t)r->entries, "bytes", (json_int_t)r->bytes, "recovery_drill", drill_json(r, s->now_ns),
                     "witness", witness_json(r), "copies", copies_json(s, r), "coverage", coverage_json(&r->coverage, s->now_ns));
}

static json_t *fallback_json(const struct status_fallback *f, int64_t now_ns) {
    return json_pack("{s:s, s:s, s:I, s:I, s:o, s:o, s:s?}", "repository", f->repository, "fallback", f->name,
                     "waiting_points", (json_int_t)f->waiting, "waiting_wal", (json_int_t)f->wal, "since",
                     point_time_json(f->since_ns), "waiting_s", age_json(f->since_ns, now_ns), "failed",
                     *f->why ? f->why : NULL);
}

int status_json(const struct status *s, json_t **ret, struct error *err) {
    json_auto_t *rows = json_array();
    json_auto_t *repositories = json_array();
    json_auto_t *fallbacks = json_array();
    json_auto_t *sets = NULL;
    bool ok = true;
    int rc = rows && repositories && fallbacks ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for the status");
    for (size_t i = 0; i < s->row_count && rc == 0; i++) {
        ok &= !status_fails(s->rows[i].state);
        rc = json_push(rows, row_json(&s->rows[i], s->now_ns), err);
    }
    for (size_t i = 0; i < s->repository_count && rc == 0; i++)
        rc = json_push(repositories, repository_json(s, &s->repositories[i]), err);
    for (size_t i = 0; i < s->copy_count; i++) ok &= !s->copies[i].overdue;
    for (size_t i = 0; i < s->fallback_count && rc == 0; i++) {
        ok &= !status_fallback_fails(&s->fallbacks[i]);
        rc = json_push(fallbacks, fallback_json(&s->fallbacks[i], s->now_ns), err);
    }
    for (size_t i = 0; i < s->set_count; i++) ok &= !status_fails(s->sets[i].state);
    if (rc == 0) rc = status_sets_json(s, &sets, err);
    if (rc < 0) return rc;
    *ret = json_pack("{s:o, s:b, s:O, s:O, s:O, s:O}", "checked_at", point_time_json(s->now_ns), "ok", ok, "surfaces",
                     rows, "repositories", repositories, "fallbacks", fallbacks, "sets", sets);
    return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for the status");
}

struct samples {
    struct metric_sample *s;
    size_t n, cap;
};

static int add(struct samples *l, const struct metric_sample *s, struct error *err) {
    int rc = mem_grow((void **)&l->s, &l->cap, l->n + 1, sizeof *l->s, err);
    if (rc == 0) l->s[l->n++] = *s;
    return rc;
}

static int add_row(struct samples *l, const struct status_row *r, struct error *err) {
    const struct {
        enum metric metric;
        bool known;
        double value;
    } of_surface[] = {
        {METRIC_BACKUP_LAST_SUCCESS, r->good_time_ns != 0, seconds(r->good_completed_ns)},
        {METRIC_BACKUP_LAST_ATTEMPT, r->attempt_ns != 0, seconds(r->attempt_ns)},
        {METRIC_BACKUP_DURATION, r->good_time_ns != 0, seconds(r->good_completed_ns - r->good_started_ns)},
        {METRIC_BACKUP_SIZE, r->good_time_ns != 0, (double)r->good_bytes},
        {METRIC_BACKUP_STORED, r->good_time_ns != 0, (double)r->good_stored_bytes},
        {METRIC_RECOVERY_POINT, r->good_time_ns != 0, seconds(status_stored_ns(r))},
    };
    int rc = 0;
    for (size_t i = 0; i < sizeof of_surface / sizeof *of_surface && rc == 0; i++) {
        struct metric_sample s = {.metric = of_surface[i].metric,
                                  .env = r->environment,
                                  .surface = r->surface,
                                  .repo = r->repository,
                                  .value = of_surface[i].value};
        if (of_surface[i].known) rc = add(l, &s, err);
    }
    for (int level = VERIFY_PRESENT; level <= VERIFY_REBUILD && rc == 0; level++) {
        struct metric_sample s = {.metric = METRIC_VERIFY_LAST_SUCCESS,
                                  .env = r->environment,
                                  .surface = r->surface,
                                  .repo = r->repository,
                                  .level = point_level((enum verify_level)level),
                                  .value = seconds(r->level_ns[level])};
        if (r->level_ns[level]) rc = add(l, &s, err);
    }
    struct metric_sample rpo = {
        .metric = METRIC_POLICY_RPO, .env = r->environment, .surface = r->surface, .value = seconds(r->rpo.ns)};
    struct metric_sample rto = {
        .metric = METRIC_POLICY_RTO, .env = r->environment, .surface = r->surface, .value = seconds(r->rto.ns)};
    if (rc == 0 && r->rpo.state == CONFIG_SET) rc = add(l, &rpo, err);
    if (rc == 0 && r->rto.state == CONFIG_SET) rc = add(l, &rto, err);
    return rc;
}

static int add_coverage(struct samples *l, const struct status_repository *r, struct error *err) {
    const struct coverage_sum *c = &r->coverage;
    int rc = 0;
    for (int i = 0; i < COVERAGE_WINDOWS && rc == 0 && c->any; i++) {
        struct metric_sample s = {
            .metric = METRIC_COVERAGE, .repo = r->name, .within = windows[i], .value = (double)c->within[i]};
        rc = add(l, &s, err);
    }
    struct metric_sample of = {.metric = METRIC_COVERAGE_OF, .repo = r->name, .value = (double)c->bytes};
    struct metric_sample oldest = {.metric = METRIC_COVERAGE_OLDEST, .repo = r->name, .value = seconds(c->oldest_ns)};
    if (rc == 0 && c->any) rc = add(l, &of, err);
    if (rc == 0 && c->any && c->oldest_ns) rc = add(l, &oldest, err);
    return rc;
}

int status_metrics(const struct status *s, const char *version, struct buf *out, struct error *err) {
    struct samples l = {0};
    struct metric_sample build = {.metric = METRIC_BUILD_INFO, .version = version, .value = 1};
    int rc = add(&l, &build, err);
    for (size_t i = 0; i < s->row_count && rc == 0; i++) rc = add_row(&l, &s->rows[i], err);
    for (size_t i = 0; i < s->repository_count && rc == 0; i++) {
        const struct status_repository *r = &s->repositories[i];
        struct metric_sample consistent = {
            .metric = METRIC_LEDGER_CONSISTENT, .repo = r->name, .value = r->inconsistent ? 0 : 1};
        struct metric_sample witness = {.metric = METRIC_WITNESS_LAST, .repo = r->name, .value = seconds(r->witness_ns)};
        if ((rc = add(&l, &consistent, err)) < 0 || r->inconsistent) continue;
        if (r->witness_ns && (rc = add(&l, &witness, err)) < 0) continue;
        struct metric_sample entries = {.metric = METRIC_LEDGER_ENTRIES, .repo = r->name, .value = (double)r->entries};
        struct metric_sample bytes = {.metric = METRIC_REPOSITORY_BYTES, .repo = r->name, .value = (double)r->bytes};
        rc = add(&l, &entries, err);
        if (rc == 0) rc = add(&l, &bytes, err);
        unsigned bad = r->drift.breached + r->drift.unknown;
        struct metric_sample drift[] = {
            {.metric = METRIC_RETENTION_DRIFT, .repo = r->name, .value = (double)bad},
            {.metric = METRIC_IMMUTABILITY_OK, .repo = r->name, .value = bad == 0},
            {.metric = METRIC_DRIFT_LAST_CHECK, .repo = r->name, .value = seconds(r->drift_ns)},
        };
        for (size_t k = 0; k < 3 && rc == 0 && r->drift_ns; k++) rc = add(&l, &drift[k], err);
        struct metric_sample drill = {
            .metric = METRIC_KEY_RECOVERY_DRILL, .repo = r->name, .value = seconds(r->drilled_ns)};
        if (rc == 0 && r->drilled_ns) rc = add(&l, &drill, err);
        if (rc == 0) rc = add_coverage(&l, r, err);
    }
    for (size_t i = 0; i < s->copy_count && rc == 0; i++) {
        const struct status_copy *c = &s->copies[i];
        struct metric_sample told = {
            .metric = METRIC_COPY_TOLD, .repo = c->repository, .copy = c->id, .value = seconds(c->told_ns)};
        struct metric_sample behind = {
            .metric = METRIC_COPY_BEHIND, .repo = c->repository, .copy = c->id, .value = (double)c->behind};
        struct metric_sample lag = {.metric = METRIC_COPY_LAG,
                                    .repo = c->repository,
                                    .copy = c->id,
                                    .value = c->waiting_ns ? seconds(s->now_ns - c->waiting_ns) : 0};
        struct metric_sample due = {
            .metric = METRIC_COPY_REREAD_DUE, .repo = c->repository, .copy = c->id, .value = seconds(c->due_ns)};
        if (!c->told_ns) continue;
        rc = add(&l, &told, err);
        if (rc == 0) rc = add(&l, &behind, err);
        if (rc == 0) rc = add(&l, &lag, err);
        if (rc == 0 && c->offline) rc = add(&l, &due, err);
    }
    for (size_t i = 0; i < s->fallback_count && rc == 0; i++) {
        const struct status_fallback *f = &s->fallbacks[i];
        struct metric_sample waiting = {
            .metric = METRIC_FALLBACK_WAITING, .repo = f->repository, .copy = f->name, .value = (double)f->waiting};
        if (!*f->why) rc = add(&l, &waiting, err);
    }
    if (rc == 0) rc = metrics_write(l.s, l.n, out, err);
    seam_free(l.s);
    return rc;
}
