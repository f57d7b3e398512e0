#include "work/pitr_find.h"

#include "base/time.h"
#include "work/wal_walk.h"

#include <stdio.h>
#include <stdlib.h>

struct search {
    struct pitr_find *f;
    const struct restore_recovery *q;
    uint32_t xid;
    uint64_t from, until;
    int64_t last_ns; /* of the last transaction's end */
    unsigned hits;
    struct pitr_place hit, second; /* the first, and the last of several */
    struct pitr_place names[PITR_FIND_NAMES];
};

bool pitr_find_is(const struct restore_recovery *q) {
    return q && (q->xid || q->name);
}

static void nearest(struct pitr_find *f, uint32_t want, const struct pitr_place *p) {
    const int32_t by = (int32_t)(p->xid - want); /* numbers go round */
    struct pitr_place *best = by < 0 ? &f->below : &f->above;
    const int32_t was = (int32_t)(best->xid - want);
    if (!best->lsn || (by < 0 ? by > was : by < was)) *best = *p;
}

static int on_record(void *ctx, const struct wal_commit *c, struct error *err) {
    struct search *s = ctx;
    (void)err;
    if (c->lsn < s->from || c->lsn >= s->until) return 0;
    struct pitr_place p = {
        .lsn = c->lsn, .timeline = c->timeline, .xid = c->xid, .time_ns = c->time_ns, .aborted = c->aborted};
    if (!c->name.len) {
        s->last_ns = c->time_ns;
        if (s->q->name) return 0;
        if (c->xid != s->xid) nearest(s->f, s->xid, &p);
        if (c->xid != s->xid) return 0;
        s->hits = 1;
        s->hit = p;
        return 1; /* the server ends there as well */
    }
    if (!s->q->name) return 0;
    p.time_ns = s->last_ns;
    snprintf(p.name, sizeof p.name, "%.*s", (int)c->name.len, (const char *)c->name.ptr);
    if (strcmp(p.name, s->q->name) == 0) {
        if (s->hits++ == 0)
            s->hit = p;
        else
            s->second = p;
    } else {
        memmove(s->names + 1, s->names, sizeof s->names - sizeof *s->names); /* the newest first */
        s->names[0] = p;
    }
    return 0;
}

static uint64_t lsn_of(const json_t *reach, const char *key) {
    const char *text = json_string_value(json_object_get(reach, key));
    uint64_t lsn = 0;
    return text && wal_lsn_parse(text, &lsn) ? lsn : 0;
}

/* WAL that is missing ends it from `lost_after` on. From the backup's beginning where s->from is 0. */
static int walk(struct work *w, const struct snapshot_info *base, uint64_t lost_after, struct search *s,
                struct error *err) {
    struct wal_walk k;
    struct wal_commits c = {.aborts = s->q->xid != NULL, .points = s->q->name != NULL};
    int rc = wal_walk_open(w, base, &k, err);
    if (rc == 0 && !s->from) s->from = lsn_of(k.in.facts, "start_lsn");
    if (rc == 0) rc = wal_walk_path(&k, s->f->timeline, s->from, err);
    if (rc == 0 && s->until > s->from)
        rc = wal_walk_records(&k, &c, s->from, s->until - 1, lost_after, on_record, s, err);
    wal_commits_free(&c);
    wal_walk_close(&k);
    return rc < 0 ? known_secrets_error(&w->known, error_wrap(err, "looking for the target in the WAL"), err) : 0;
}

/* "0/5000000 (behind the transaction of 2026-…)" */
static void place_text(const struct pitr_place *p, char out[120]) {
    char lsn[24], when[32];
    wal_lsn_format(p->lsn, lsn);
    time_format(p->time_ns, when);
    if (!p->time_ns)
        snprintf(out, 120, "%s", lsn);
    else
        snprintf(out, 120, "%s (%s %s)", lsn,
                 p->name[0]   ? "behind the transaction of"
                 : p->aborted ? "rolled back at"
                              : "committed at",
                 when);
}

static int twice(const struct search *s, const char *base, struct error *err) {
    char one[120], two[120], lsn[24], last[24];
    s->f->ended = true;
    place_text(&s->hit, one);
    place_text(&s->second, two);
    wal_lsn_format(s->hit.lsn, lsn);
    wal_lsn_format(s->second.lsn, last);
    error_set(err, ERR_PG_TARGET, "%u restore points behind %s are called '%s': the first at %s, the last at %s",
              s->hits, base, s->q->name, one, two);
    return error_next(err, "Name the one that is meant by its place: --target-lsn %s for the first, %s for the last.",
                      lsn, last);
}

/* A server ends at the first restore point of the name that it replays: where one was given while the backup was taken,
 * too, that is before the copy is consistent. What of that WAL is not stored for itself cannot be looked at. */
static int during(const struct search *s, struct work *w, const struct snapshot_info *base, struct error *err) {
    struct search before = {.f = s->f, .q = s->q, .until = s->from};
    char one[120], two[120], lsn[24];
    int rc = walk(w, base, 0, &before, err);
    if (rc < 0 || before.hits == 0) return rc;
    s->f->ended = true;
    place_text(&before.hit, one);
    place_text(&s->hit, two);
    wal_lsn_format(s->hit.lsn, lsn);
    error_set(err, ERR_PG_TARGET,
              "two restore points are called '%s': one at %s, given while %s was taken, where a recovery from it would "
              "end before it is consistent, and one at %s",
              s->q->name, one, base->id, two);
    return error_next(err, "Name the one behind the backup by its place: --target-lsn %s", lsn);
}

int pitr_find_look(struct pitr_find *f, struct work *w, const struct snapshot_info *base,
                   const struct restore_recovery *q, const json_t *reach, bool only, struct error *err) {
    const uint32_t timeline = (uint32_t)json_integer_value(json_object_get(reach, "timeline"));
    const char *missing = json_string_value(json_object_get(reach, "missing_from"));
    struct search s = {.f = f,
                       .q = q,
                       .xid = q->xid ? (uint32_t)strtoull(q->xid, NULL, 10) : 0, /* without its epoch, as the server */
                       .from = lsn_of(reach, "from"),
                       .until = lsn_of(reach, "to")};
    if (f->backups && f->timeline == timeline && f->from < s.until) s.until = f->from;
    f->timeline = timeline;
    int rc = walk(w, base, lsn_of(reach, "to"), &s, err);
    if (rc == -ERR_PG_SCRATCH && only) {
        f->unsought = true;
        snprintf(f->why_unsought, sizeof f->why_unsought, "%.390s", err->text);
        error_clear(err);
        return 0;
    }
    if (rc == -ERR_PG_SCRATCH) {
        f->ended = true;
        (void)!error_wrap(err, "there are several backups, and only the WAL tells which of them leads to the target");
        return error_next(err,
                          "Name the backup, as in ENVIRONMENT/SURFACE@POINT, or do it where the server is installed.");
    }
    if (rc < 0) return rc;
    f->backups++;
    f->from = s.from;
    if (missing) snprintf(f->gap, sizeof f->gap, "%s", missing);
    for (size_t i = 0; i < PITR_FIND_NAMES && s.names[i].lsn && f->name_count < PITR_FIND_NAMES; i++)
        f->names[f->name_count++] = s.names[i];
    if (s.hits > 1) return twice(&s, base->id, err);
    if (s.hits == 1 && q->name && (rc = during(&s, w, base, err)) < 0) return rc;
    if (s.hits == 0)
        return error_set(err, ERR_PG_TARGET, "it is not in the WAL that was written since %s, as far as it is stored",
                         base->id);
    f->found = true;
    f->place = s.hit;
    snprintf(f->base, sizeof f->base, "%s", base->id);
    return 0;
}

int pitr_find_none(const struct pitr_find *f, const struct restore_recovery *q, struct error *err) {
    char gap[80] = "", one[120], from[24], near[400] = "";
    size_t at = 0;
    if (f->gap[0]) snprintf(gap, sizeof gap, ", and WAL is missing from %s on", f->gap);
    wal_lsn_format(f->from, from);
    if (q->name) {
        for (unsigned i = 0; i < f->name_count; i++) {
            place_text(&f->names[i], one);
            at += (size_t)snprintf(near + at, sizeof near - at, "%s'%s' at %s", at ? ", " : "", f->names[i].name, one);
            if (at >= sizeof near) break;
        }
        error_set(err, ERR_PG_TARGET,
                  "no restore point '%.63s' is in the WAL that leads from a backup, which is stored from %s on%s",
                  q->name, from, gap);
        return error_next(err, "The newest restore points in it: %s. Or choose a time, or --target latest.",
                          near[0] ? near : "none");
    }
    const struct pitr_place *const both[] = {&f->below, &f->above};
    for (size_t i = 0; i < 2; i++) {
        if (!both[i]->lsn) continue;
        place_text(both[i], one);
        at += (size_t)snprintf(near + at, sizeof near - at, "%s%u at %s", at ? ", " : "", both[i]->xid, one);
    }
    error_set(err, ERR_PG_TARGET,
              "the transaction %.40s did not end in the WAL that leads from a backup, which is stored from %s on%s",
              q->xid, from, gap);
    return error_next(err, "The nearest transactions in it: %s. Or choose a time, or --target latest.",
                      near[0] ? near : "none");
}

int pitr_find_put(const struct pitr_find *f, json_t *recovery, json_t *warnings, struct error *err) {
    char lsn[24], when[32], line[600];
    if (!json_is_object(recovery)) return 0;
    int rc = f->chosen ? json_put(recovery, "base_chosen", json_true(), err) : 0;
    if (rc == 0 && f->unsought) {
        snprintf(line, sizeof line, "whether the WAL behind this backup has the target is not known: %s",
                 f->why_unsought);
        return json_push(warnings, json_string(line), err);
    }
    if (rc < 0 || !f->found) return rc;
    wal_lsn_format(f->place.lsn, lsn);
    time_format(f->place.time_ns, when);
    json_t *o =
        json_pack("{s:s, s:I, s:s*, s:b, s:b}", "lsn", lsn, "timeline", (json_int_t)f->place.timeline, "time",
                  f->place.time_ns ? when : NULL, "point", f->place.name[0] != 0, "rolled_back", (int)f->place.aborted);
    return json_put(recovery, "found", o, err);
}
