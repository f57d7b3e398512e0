/* Plans of prune as data, and kept between two commands. */
#include "base/seam.h"
#include "base/time.h"
#include "work/point.h"
#include "work/prune_wal.h"

#include <stdio.h>

#define PLAN_BYTES_MAX (64u << 20)

static const char *decision_name(enum retention_decision d) {
    return d == RETENTION_FORGET ? "forget" : d == RETENTION_DEFERRED ? "defer" : "keep";
}

static int surface_json(const struct prune_surface *s, json_t **ret, struct error *err) {
    json_auto_t *points = json_array();
    json_auto_t *holds = json_array();
    int rc = points && holds ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a plan");
    for (int i = 0; i < RETENTION_HOLD_COUNT && rc == 0; i++)
        if (s->plan.holds & 1u << i)
            rc = json_push(holds,
                           json_pack("{s:s, s:s}", "hold", retention_hold_name((enum retention_hold)(1 << i)), "text",
                                     s->plan.hold_text[i]),
                           err);
    for (size_t i = 0; i < s->point_count && rc == 0; i++) {
        const struct prune_point *p = &s->points[i];
        rc = json_push(points,
                       json_pack("{s:s, s:I, s:o, s:I, s:s, s:s, s:s*}", "id", p->id, "log_seq", (json_int_t)p->seq,
                                 "time", point_time_json(p->time_ns), "bytes", (json_int_t)p->bytes, "decision",
                                 decision_name(p->verdict.decision), "reason", p->verdict.reason, "set",
                                 p->set ? p->set_id : NULL),
                       err);
    }
    if (rc < 0) return rc;
    json_t *keeps = s->keeps ? json_pack("{s:I, s:I, s:s}", "points", (json_int_t)s->keeps, "bytes",
                                         (json_int_t)s->keeps_bytes, "text", s->keeps_text)
                             : NULL;
    *ret = json_pack("{s:s, s:i, s:i, s:i, s:i, s:O, s:O, s:o*}", "surface", s->name, "kept", (int)s->plan.kept,
                     "forgotten", (int)s->plan.forgotten, "deferred", (int)s->plan.deferred, "proven",
                     (int)s->plan.proven, "holds", holds, "points", points, "keeps", keeps);
    return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a plan");
}

int prune_plan_json(const struct prune_plan *p, json_t **ret, struct error *err) {
    json_auto_t *surfaces = json_array();
    int rc = surfaces ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a plan");
    for (size_t i = 0; i < p->count && rc == 0; i++) {
        json_t *one = NULL;
        rc = surface_json(&p->list[i], &one, err);
        if (rc == 0) rc = json_push(surfaces, one, err);
    }
    json_t *wal = NULL;
    if (rc == 0) rc = prune_wal_json(p, &wal, err);
    if (rc < 0) return rc;
    *ret = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:b, s:s?, s:b, s:I, s:i, s:I, s:o, s:O, s:o}", "act",
                     "prune", "id", p->id, "digest", p->digest, "environment", p->environment, "surfaces", p->surfaces,
                     "repository", p->repository, "url", p->url, "log_size", (json_int_t)p->log_size, "protected",
                     p->protected, "phrase", p->protected ? p->phrase : NULL, "collect_only", p->options.collect_only,
                     "grace_s", (json_int_t)(p->options.grace_ns / NS_PER_S), "forgotten", (int)p->forgotten,
                     "forgotten_bytes", (json_int_t)p->forgotten_bytes, "unused_bytes",
                     p->unused_known ? json_integer((json_int_t)p->unused_bytes) : json_null(), "plan", surfaces, "wal",
                     wal);
    return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a plan");
}

static int plan_path(const struct work *w, const char *id, char *out, size_t cap, struct error *err) {
    char folder[4200];
    if (strncmp(id, "pln-", 4) != 0 || strlen(id) > 30 || strspn(id + 4, "0123456789abcdef") != strlen(id + 4))
        return error_set(err, ERR_USAGE, "'%.40s' is no plan's id; one is pln-1f2e3d4c5b6a", id);
    snprintf(folder, sizeof folder, "%s/plans", w->cache_dir);
    if (snprintf(out, cap, "%s/%s.json", folder, id) >= (int)cap)
        return error_set(err, ERR_USAGE, "the cache folder's name is too long");
    return io_mkdirs(folder, 0700, err);
}

int prune_plan_store(struct work *w, const struct prune_plan *p, struct error *err) {
    char path[4300];
    struct buf b = BUF_INIT(PLAN_BYTES_MAX);
    json_t *j = NULL;
    int rc = plan_path(w, p->id, path, sizeof path, err);
    if (rc == 0) rc = prune_plan_json(p, &j, err);
    if (rc == 0) rc = json_write_pretty(j, &b, err);
    if (rc == 0) rc = buf_append_str(&b, "\n", err);
    if (rc == 0) rc = io_replace_file(AT_FDCWD, path, buf_bytes(&b), 0600, err);
    json_decref(j);
    buf_free(&b);
    return rc;
}

static int stale(struct error *err, const char *id, const char *why) {
    error_set(err, ERR_PLAN_STALE, "plan %s %s", id, why);
    return error_state(err, "nothing was removed");
}

int prune_plan_load(struct work *w, const char *id, struct prune_plan *ret, struct error *err) {
    char path[4300], text[600];
    struct buf b = BUF_INIT(PLAN_BYTES_MAX);
    json_t *j = NULL;
    struct selection s;
    const char *act, *environment, *surfaces, *digest;
    int rc = plan_path(w, id, path, sizeof path, err);
    if (rc == 0) rc = io_read_file(AT_FDCWD, path, b.max_bytes, &b, err);
    if (rc == -ERR_IO_NOT_FOUND) {
        error_clear(err);
        rc = stale(err, id, "is not in the cache folder: it was carried out, or made elsewhere");
    }
    if (rc == 0) rc = json_parse(buf_bytes(&b), b.max_bytes, path, &j, err);
    if (rc == 0) rc = json_need_str(j, "act", path, &act, err);
    if (rc == 0 && strcmp(act, "prune") != 0) rc = stale(err, id, "is not one of prune");
    if (rc == 0) rc = json_need_str(j, "environment", path, &environment, err);
    if (rc == 0) rc = json_need_str(j, "surfaces", path, &surfaces, err);
    if (rc == 0) rc = json_need_str(j, "digest", path, &digest, err);
    if (rc == 0) {
        struct prune_options o = {
            .collect_only = json_is_true(json_object_get(j, "collect_only")),
            .grace_ns = json_integer_value(json_object_get(j, "grace_s")) * NS_PER_S,
        };
        snprintf(text, sizeof text, "%s/%s", environment, surfaces);
        rc = selection_parse(text, false, &s, err);
        if (rc == 0) rc = prune_plan_make(w, &s, &o, ret, err);
        if (rc == 0 && strcmp(ret->digest, digest) != 0) {
            prune_plan_free(ret);
            rc = stale(err, id, "does not hold any more: the repository or the decisions have changed");
            (void)!error_next(err, "proofkeep prune %s --dry-run", text);
        }
    }
    json_decref(j);
    buf_free(&b);
    return rc;
}
