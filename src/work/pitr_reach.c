#include "work/pitr_reach.h"

#include "base/seam.h"
#include "base/time.h"
#include "work/wal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* What a server replays of a busy workload on an ordinary disk; no restore on record says it, since none replays. */
#define REPLAY_BYTES_PER_S (UINT64_C(48) << 20)
#define LIST_BYTES 224
#define LIST_MAX 2

struct reach {
    struct wal_source *source;
    const struct restore_recovery *q;
    const char *surface, *stop_time;
    uint64_t system, stop;
    uint32_t base, target, segment_bytes; /* base, target: timelines */
    struct wal_range *ranges;
    size_t n;
    struct wal_switch *path; /* of the target timeline */
    size_t path_n;
    /* found */
    uint64_t to, missing_to; /* missing_to: what is stored goes on there after a gap, or 0 */
    uint32_t to_timeline, missing_timeline;
    int64_t newest_ns;
    bool covered; /* the backup's own end is in the archive */
};

static int facts_read(const json_t *facts, struct reach *r, struct error *err) {
    const char *system = json_string_value(json_object_get(facts, "system_identifier")),
               *stop = json_string_value(json_object_get(facts, "stop_lsn"));
    char *end = NULL;
    r->stop_time = json_string_value(json_object_get(facts, "stop_time"));
    r->base = (uint32_t)json_integer_value(json_object_get(facts, "timeline"));
    r->segment_bytes = (uint32_t)json_integer_value(json_object_get(facts, "wal_segment_bytes"));
    r->system = system ? strtoull(system, &end, 10) : 0;
    if (r->system && !*end && stop && wal_lsn_parse(stop, &r->stop) && r->base && r->stop_time &&
        r->segment_bytes >= WAL_SEGMENT_MIN && !(r->segment_bytes & (r->segment_bytes - 1)))
        return 0;
    return error_set(err, ERR_PG_TARGET, "its facts do not say where in the WAL the backup ended");
}

static void when(int64_t ns, char out[32]) {
    if (ns)
        time_format(ns, out);
    else
        snprintf(out, 32, "an unknown time");
}

/* "timeline 2 to 0/5000000 (2026-…), timeline 1 to …": the newest of what there is, as much as an error has room for.
 */
static void list_timelines(const struct reach *r, char out[LIST_BYTES]) {
    size_t at = 0;
    unsigned said = 0;
    out[0] = 0;
    for (size_t i = r->n; i-- > 0;) {
        char to[24], stored[32];
        if (i + 1 < r->n && r->ranges[i + 1].timeline == r->ranges[i].timeline) continue;
        if (said++ == LIST_MAX) {
            snprintf(out + at, LIST_BYTES - at, ", and older");
            return;
        }
        wal_lsn_format(r->ranges[i].to, to);
        when(r->ranges[i].last_ns, stored);
        at += (size_t)snprintf(out + at, LIST_BYTES - at, "%stimeline %" PRIu32 " to %s (%s)", at ? ", " : "",
                               r->ranges[i].timeline, to, stored);
    }
}

static int no_wal(struct work *w, const struct reach *r, struct error *err) {
    const struct config_surface *s = w->config ? config_surface(w->config, r->surface) : NULL;
    if (s && !s->wal)
        error_set(err, ERR_PG_TARGET,
                  "the surface %s has no wal: in the configuration, and no WAL of its cluster is stored: this backup "
                  "leads to its own end, %s, and no further",
                  r->surface, r->stop_time);
    else
        error_set(err, ERR_PG_TARGET,
                  "no WAL of the cluster %" PRIu64 " is stored: this backup leads to its own end, %s, and no further",
                  r->system, r->stop_time);
    return error_next(err, "Restore it without a target or with --target immediate. To reach instants from now on, "
                           "give the surface a wal: and store its WAL.");
}

static int history(struct reach *r, uint32_t timeline, struct wal_switch **ret, size_t *ret_n, struct error *err) {
    struct wal_name n = {.kind = WAL_HISTORY, .timeline = timeline};
    struct buf b = BUF_INIT(WAL_HISTORY_BYTES_MAX);
    int rc = r->source->ops->get(r->source, r->system, &n, &b, err);
    if (rc == 0) rc = wal_history_parse(buf_bytes(&b), timeline, ret, ret_n, err);
    buf_free(&b);
    return rc;
}

/* The newest timeline is found as the server finds it: one after the other, until a history is not there. */
static int find_newest(struct reach *r, struct error *err) {
    for (r->target = r->base;; r->target++) {
        struct wal_switch *list = NULL;
        size_t n = 0;
        int rc = history(r, r->target + 1, &list, &n, err);
        if (rc == -ERR_WAL_ABSENT) {
            error_clear(err);
            return 0;
        }
        if (rc < 0) return rc;
        seam_free(r->path);
        r->path = list;
        r->path_n = n;
    }
}

static int find_target(struct reach *r, struct error *err) {
    const char *t = r->q->timeline;
    char list[LIST_BYTES], *end;
    if (!t || strcmp(t, "latest") == 0) return find_newest(r, err);
    r->target = r->base;
    if (strcmp(t, "current") == 0) return 0;
    unsigned long long number = strtoull(t, &end, 10);
    r->target = number > UINT32_MAX ? UINT32_MAX : (uint32_t)number;
    if (r->target == r->base || r->target == 1) return 0; /* the first has no history */
    int rc = history(r, r->target, &r->path, &r->path_n, err);
    if (rc != -ERR_WAL_ABSENT) return rc;
    error_clear(err);
    list_timelines(r, list);
    error_set(err, ERR_PG_TARGET, "no history of the timeline %s is stored", t);
    return error_next(err, "Stored: %s.", list);
}

/* Where a timeline of the path was left; false: it is the last. */
static bool left_at(const struct reach *r, uint32_t timeline, uint64_t *ret_lsn, uint32_t *ret_next) {
    for (size_t i = 0; i < r->path_n; i++)
        if (r->path[i].timeline == timeline) {
            *ret_lsn = r->path[i].lsn;
            *ret_next = i + 1 < r->path_n ? r->path[i + 1].timeline : r->target;
            return true;
        }
    return false;
}

static int check_ancestry(const struct reach *r, struct error *err) {
    uint64_t fork;
    uint32_t next;
    char at[24], stop[24], list[LIST_BYTES];
    if (r->target == r->base) return 0;
    bool ancestor = left_at(r, r->base, &fork, &next);
    if (ancestor && fork >= r->stop) return 0;
    list_timelines(r, list);
    wal_lsn_format(r->stop, stop);
    if (ancestor) {
        wal_lsn_format(fork, at);
        error_set(err, ERR_PG_TARGET,
                  "the timeline %" PRIu32 " left the timeline %" PRIu32 " at %s, before this backup of it ended at %s",
                  r->target, r->base, at, stop);
    } else
        error_set(err, ERR_PG_TARGET,
                  "the timeline %" PRIu32 " did not come from the timeline %" PRIu32 " of this backup", r->target,
                  r->base);
    return error_next(err, "Restore from another backup, or with --target-timeline current. Stored: %s.", list);
}

static const struct wal_range *range_with(const struct reach *r, uint32_t timeline, uint64_t at) {
    for (size_t i = 0; i < r->n; i++)
        if (r->ranges[i].timeline == timeline && r->ranges[i].from <= at && r->ranges[i].to > at) return &r->ranges[i];
    return NULL;
}

/* Where WAL of a timeline goes on behind a place; 0: nowhere. */
static uint64_t goes_on(const struct reach *r, uint32_t timeline, uint64_t at) {
    for (size_t i = 0; i < r->n; i++)
        if (r->ranges[i].timeline == timeline && r->ranges[i].from > at) return r->ranges[i].from;
    return 0;
}

static void walk(struct reach *r) {
    uint64_t at = r->stop, fork = 0;
    uint32_t timeline = r->base, next = 0;
    r->to = r->stop;
    r->to_timeline = r->base;
    for (;;) {
        bool leaves = left_at(r, timeline, &fork, &next);
        /* Of the segment in which it was left, the next timeline has a copy. */
        uint64_t need = leaves ? fork - fork % r->segment_bytes : UINT64_MAX;
        const struct wal_range *g = at < need ? range_with(r, timeline, at) : NULL;
        if (g) {
            r->covered = true;
            r->to = leaves && g->to > fork ? fork : g->to;
            r->to_timeline = timeline;
            r->newest_ns = g->last_ns;
        }
        if (at < need && (!g || g->to < need)) {
            r->missing_to = goes_on(r, timeline, g ? g->to : at);
            if (!r->missing_to && leaves) r->missing_to = need;
            r->missing_timeline = timeline;
            return;
        }
        if (at < need) at = need;
        timeline = next;
    }
}

static int uncovered(const struct reach *r, struct error *err) {
    char stop[24], on[24], list[LIST_BYTES];
    wal_lsn_format(r->stop, stop);
    list_timelines(r, list);
    if (r->missing_to) {
        wal_lsn_format(r->missing_to, on);
        error_set(err, ERR_PG_TARGET,
                  "the WAL of timeline %" PRIu32
                  " from this backup's end at %s to %s is not stored: nothing leads from "
                  "it to the target",
                  r->base, stop, on);
    } else
        error_set(err, ERR_PG_TARGET,
                  "no WAL is stored yet that goes on from this backup's end at %s on timeline %" PRIu32
                  ": it leads to %s, and no further",
                  stop, r->base, r->stop_time);
    return error_next(err, "Restore it with --target immediate, or from another backup. Stored: %s.", list);
}

/* "; the WAL of timeline 1 from … to … is missing", or nothing */
static void missing(const struct reach *r, char out[160]) {
    char from[24], to[24];
    out[0] = 0;
    if (!r->missing_to) return;
    wal_lsn_format(r->to, from);
    wal_lsn_format(r->missing_to, to);
    snprintf(out, 160, "; the WAL of timeline %" PRIu32 " from %s to %s is missing", r->missing_timeline, from, to);
}

static int check_target(const struct reach *r, struct error *err) {
    char to[24], stored[32], gap[160], list[LIST_BYTES];
    uint64_t lsn;
    int64_t ns;
    missing(r, gap);
    wal_lsn_format(r->to, to);
    when(r->newest_ns, stored);
    list_timelines(r, list);
    if (r->q->lsn && wal_lsn_parse(r->q->lsn, &lsn) && lsn >= r->to) {
        error_set(err, ERR_PG_TARGET,
                  "the place %s lies behind the WAL that leads from this backup, which ends at %s on timeline %" PRIu32
                  "%s",
                  r->q->lsn, to, r->to_timeline, gap);
        return error_next(err, "Choose a place before %s, or --target latest. Stored: %s.", to, list);
    }
    if (r->q->time && time_parse(r->q->time, &ns) && r->newest_ns && ns > r->newest_ns) {
        error_set(err, ERR_PG_TARGET,
                  "the time %s lies behind the newest WAL that leads from this backup, which was stored at about %s%s",
                  r->q->time, stored, gap);
        return error_next(err,
                          "Choose a time before that (by when WAL was stored, so approximate), or --target latest. "
                          "Stored: %s.",
                          list);
    }
    return 0;
}

/* What is replayed until the target, where that can be told; by time, as if it had been written evenly. */
static uint64_t replay_bytes(const struct reach *r) {
    uint64_t lsn, all = r->to - r->stop;
    int64_t ns, from;
    if (r->q->lsn && wal_lsn_parse(r->q->lsn, &lsn)) return lsn - r->stop;
    if (!r->q->time || !time_parse(r->q->time, &ns) || !time_parse(r->stop_time, &from) || r->newest_ns <= from)
        return all;
    double part = (double)(ns - from) / (double)(r->newest_ns - from);
    return (uint64_t)((double)all * (part < 0 ? 0 : part > 1 ? 1 : part));
}

static int describe(const struct reach *r, json_t **ret, struct error *err) {
    char from[24], to[24], newest[32], last[WAL_NAME_BYTES];
    struct wal_name n = wal_name_at(r->to_timeline, r->to > r->stop ? r->to - 1 : r->stop, r->segment_bytes);
    uint64_t bytes = replay_bytes(r), first = r->stop / r->segment_bytes;
    wal_lsn_format(r->stop, from);
    wal_lsn_format(r->to, to);
    when(r->newest_ns, newest);
    wal_name_format(&n, last);
    json_t *o = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:s, s:I}", "from", from, "to", to, "timeline",
                          (json_int_t)r->target, "to_timeline", (json_int_t)r->to_timeline, "bytes", (json_int_t)bytes,
                          "segments", (json_int_t)((r->stop + bytes) / r->segment_bytes - first + 1), "last", last,
                          "replay_seconds", (json_int_t)((bytes + REPLAY_BYTES_PER_S - 1) / REPLAY_BYTES_PER_S));
    if (!o) return error_set(err, ERR_NO_MEMORY, "no memory for a plan");
    int rc = json_put(o, "newest", r->newest_ns ? json_string(newest) : json_null(), err);
    if (rc == 0) rc = json_put(o, "missing_from", r->missing_to ? json_string(to) : json_null(), err);
    if (rc < 0)
        json_decref(o);
    else
        *ret = o;
    return rc;
}

int pitr_reach(struct work *w, const struct snapshot_info *info, const json_t *facts, const struct restore_recovery *q,
               json_t **ret, struct error *err) {
    struct work_wal *h = NULL;
    struct reach r = {.q = q, .surface = info->surface};
    *ret = NULL;
    if (q->immediate || q->standby) return 0;
    int rc = facts_read(facts, &r, err);
    if (rc == 0) rc = work_wal_open_all(w, info->environment, info->surface, &h, err);
    if (rc < 0) return rc;
    r.source = work_wal_source(h);
    rc = r.source->ops->ranges(r.source, r.system, &r.ranges, &r.n, err);
    if (rc == 0 && r.n == 0) rc = no_wal(w, &r, err);
    if (rc == 0) rc = find_target(&r, err);
    if (rc == 0) rc = check_ancestry(&r, err);
    if (rc == 0) {
        walk(&r);
        bool any = !q->time && !q->lsn && !q->xid && !q->name;
        /* As far as there is WAL: as far as the backup's own, while there is no other. */
        if (!r.covered && any && !r.missing_to && time_parse(r.stop_time, &r.newest_ns)) r.covered = true;
        rc = r.covered ? check_target(&r, err) : uncovered(&r, err);
    }
    if (rc == 0) rc = describe(&r, ret, err);
    seam_free(r.ranges);
    seam_free(r.path);
    work_wal_close(h);
    return rc;
}
