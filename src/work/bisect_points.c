#include "work/bisect_internal.h"

#include "base/time.h"
#include "work/pitr_reach.h"
#include "work/point.h"

#include <stdio.h>
#include <stdlib.h>

#define TABLES_MAX 256

/* ---- the candidates ---- */
static int by_time(const void *a, const void *b) {
    const struct snapshot_info *x = ((const struct bisect_candidate *)a)->info,
                               *y = ((const struct bisect_candidate *)b)->info;
    int64_t s = point_time(x), t = point_time(y);
    return s != t ? (s > t) - (s < t) : (x->seq > y->seq) - (x->seq < y->seq);
}

/* In the order of recovery points: of two of one instant, the log's. */
struct edge {
    int64_t ns;
    uint64_t seq;
};

static bool edge_after(struct edge a, struct edge b) {
    return a.ns > b.ns || (a.ns == b.ns && a.seq > b.seq);
}

static int bound(struct asking *a, const struct address *where, const char *text, struct edge *ret, struct error *err) {
    struct point_spec spec;
    const struct snapshot_info *info;
    if (!text) return 0;
    int rc = point_parse(text, &spec, err);
    /* A time is a bound whether or not there is a point at or before it. */
    if (rc == 0 && spec.kind == POINT_TIME) {
        ret->ns = spec.time_ns;
        return 0;
    }
    if (rc == 0) rc = work_point_of(a->w, where->environment, where->surfaces[0], &spec, &info, err);
    if (rc == 0) *ret = (struct edge){point_time(info), info->seq};
    return rc;
}

/* A physical backup before a time is the way to that time. */
static void lower(const struct snapshot_info *const *points, size_t n, struct edge *since) {
    struct edge best = {0};
    bool has = false;
    for (size_t i = 0; i < n; i++) {
        struct edge t = {point_time(points[i]), points[i]->seq};
        if (!points[i]->complete || !past_is_physical(points[i]) || edge_after(t, *since)) continue;
        if (!has || edge_after(t, best)) best = t;
        has = true;
    }
    if (has) *since = best;
}

/* How far WAL leads from the newest, where it does. */
static int add_end(struct asking *a, const struct edge *until, struct error *err) {
    const struct snapshot_info *info = a->points[a->count - 1].info;
    struct restore_recovery q = {.restore_command = past_feed_command};
    struct work_reading in;
    json_t *reach = NULL;
    int64_t ns;
    const char *time = a->o->until && time_parse(a->o->until, &ns) ? a->o->until : NULL;
    if (a->o->points_only || !past_is_physical(info) || (a->o->until && !time) || until->ns <= point_time(info))
        return 0;
    int rc = work_reading_open(a->w, info, &in, err);
    if (rc == 0) rc = pitr_reach(a->w, info, in.facts, &q, &reach, err);
    const char *from = json_string_value(json_object_get(reach, "from")),
               *to = json_string_value(json_object_get(reach, "to")),
               *newest = json_string_value(json_object_get(reach, "newest"));
    if (rc == 0 && from && to && strcmp(from, to) != 0) {
        int64_t end_ns;
        /* A time that lies behind the end of the WAL bounds nothing. */
        if (time && newest && time_parse(newest, &end_ns) && ns >= end_ns) time = NULL;
        a->points[a->count++] = (struct bisect_candidate){.info = info, .end = true, .time = time};
    }
    if (rc == -ERR_PG_TARGET) {
        snprintf(a->r->why_none, sizeof a->r->why_none, "%.399s", err->text);
        error_clear(err);
        rc = 0;
    }
    json_decref(reach);
    work_reading_close(&in);
    return rc;
}

static int candidates(struct asking *a, struct error *err) {
    const struct snapshot_info **points = NULL;
    struct address where;
    struct edge since = {INT64_MIN, 0}, until = {INT64_MAX, UINT64_MAX};
    size_t n = 0;
    int64_t ns;
    int rc = address_parse(a->o->address, &where, err);
    if (rc == 0 && (where.surface_count != 1 || where.point.kind != POINT_UNSAID))
        rc = error_set(err, ERR_USAGE, "'%.100s' is not one surface", a->o->address);
    if (rc == 0) rc = work_open_repo(a->w, where.environment, err);
    if (rc == 0) rc = bound(a, &where, a->o->since, &since, err);
    if (rc == 0) rc = bound(a, &where, a->o->until, &until, err);
    if (rc == 0) rc = work_points(a->w, where.environment, where.surfaces[0], &points, &n, err);
    if (rc == 0) rc = mem_alloc((n + 1) * sizeof *a->points, (void **)&a->points, err);
    if (rc < 0) goto out;
    if (a->o->since && time_parse(a->o->since, &ns) && !a->o->points_only) lower(points, n, &since);
    for (size_t i = 0; i < n; i++) {
        struct edge t = {point_time(points[i]), points[i]->seq};
        if (points[i]->complete && !edge_after(since, t) && !edge_after(t, until))
            a->points[a->count++].info = points[i];
    }
    if (a->count == 0) {
        rc = error_set(err, ERR_NO_POINT, "%.100s has no whole recovery point there", a->o->address);
        goto out;
    }
    qsort(a->points, a->count, sizeof *a->points, by_time);
    rc = add_end(a, &until, err);
out:
    seam_free(points);
    return rc;
}

/* ---- one point ---- */
struct scopes {
    struct buf texts[TABLES_MAX];
    const char *list[TABLES_MAX + 1];
    size_t n;
};

static void scopes_free(struct scopes *s) {
    for (size_t i = 0; i < s->n; i++) buf_free(&s->texts[i]);
}

static int scopes_of(const struct asking *a, const struct work_reading *in, const struct rows_driver *rows,
                     const char *database, struct scopes *s, struct error *err) {
    const char *const one[] = {a->o->pick, NULL};
    const char *const *picks = a->o->pick ? one : a->o->tables;
    int rc = 0;
    for (; rc == 0 && picks && picks[s->n]; s->n++) {
        if (s->n == TABLES_MAX) return error_set(err, ERR_USAGE, "more than %d tables", TABLES_MAX);
        s->texts[s->n] = BUF_INIT(8192);
        rc = past_scope(in->facts, rows, database, picks[s->n], &s->texts[s->n], err);
        s->list[s->n] = (const char *)s->texts[s->n].ptr;
    }
    if (rc < 0 || s->n > 0) return rc;
    s->texts[0] = BUF_INIT(8192);
    s->n = 1;
    /* Only the database that is asked. */
    rc = rows->scope(database, "x", &s->texts[0], err);
    while (s->texts[0].len && s->texts[0].ptr[s->texts[0].len - 1] != '/') s->texts[0].len--;
    if (rc == 0) rc = buf_append_str(&s->texts[0], "contents", err);
    if (rc == 0) rc = buf_terminate(&s->texts[0], err);
    s->list[0] = (const char *)s->texts[0].ptr;
    return rc;
}

static int judge(const struct asking *a, const struct work_reading *in, const struct rows_driver *rows,
                 const json_t *scratch, const char *database, struct bisect_try *t, struct error *err) {
    uint64_t n = 0;
    if (a->o->pick) {
        int rc = rows->count(&in->ctx, scratch, database, a->o->pick, &n, err);
        if (rc < 0) return rc;
        t->answer = n ? BISECT_CLEAN : BISECT_NOT;
        t->value = json_integer((json_int_t)n);
    } else {
        int rc = rows->ask(&in->ctx, scratch, database, a->o->query, &t->value, err);
        if (rc < 0) return rc;
        const char *value = json_string_value(t->value);
        bool clean =
            value && (a->o->expect ? !strcmp(value, a->o->expect) : !strcmp(value, "t") || !strcmp(value, "true"));
        t->answer = clean ? BISECT_CLEAN : BISECT_NOT;
    }
    return t->value ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for an answer");
}

/* The database, and what its table lies in; of a table that is partitioned, all its parts. */
static int files_of(const struct work_reading *in, const struct rows_driver *rows, const json_t *scratch,
                    const char *database, const char *pick, struct bisect_try *t, struct error *err) {
    CLEANUP(buf_free) struct buf name = BUF_INIT(8192);
    CLEANUP(buf_free) struct buf sql = BUF_INIT(32768);
    struct error ignored = ERROR_INIT;
    int rc = rows->scope(database, pick, &name, err);
    const char *table = rc == 0 ? strrchr((const char *)name.ptr, '/') : NULL;
    /* A name that cannot stand between these marks, or is a pattern, is not looked for: then all commits are looked at.
     */
    if (rc < 0 || !strchr(table, '.') || strchr(table, '$')) return rc;
    rc = buf_append_str(
        &sql,
        "WITH RECURSIVE t (oid) AS (SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
        " ON n.oid = c.relnamespace WHERE n.nspname || '.' || c.relname = $pick$",
        err);
    if (rc == 0) rc = buf_append_str(&sql, table + 1, err);
    if (rc == 0)
        rc = buf_append_str(
            &sql,
            "$pick$ UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN t ON i.inhparent = t.oid)"
            " SELECT d.oid || ' ' || pg_catalog.string_agg(pg_catalog.pg_relation_filenode(t.oid)::text, ' ')"
            " FROM t, pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database() GROUP BY d.oid",
            err);
    if (rc == 0) rc = buf_terminate(&sql, err);
    if (rc == 0 && rows->ask(&in->ctx, scratch, database, (const char *)sql.ptr, &t->files, &ignored) < 0)
        t->files = NULL;
    return rc;
}

static int restore_and_ask(const struct asking *a, const struct snapshot_info *info, const struct restore_recovery *q,
                           struct bisect_try *t, struct error *err) {
    struct work_reading in;
    struct past_either p = {0};
    const struct rows_driver *rows;
    const json_t *scratch = NULL;
    const char *database;
    char called[192];
    struct scopes s = {0};
    int rc = work_reading_open(a->w, info, &in, err);
    if (rc == 0) past_of(a->w, info, &in, q, &p);
    p.point.instance = p.recovery.instance = a->instance;
    if (rc == 0) rc = past_rows(&in, &rows, err);
    if (rc == 0 && past_is_physical(info) && *a->database)
        database = a->database;
    else if (rc == 0)
        rc = past_database(in.facts, a->o->database, &database, err);
    if (rc == 0 && !past_is_physical(info)) rc = scopes_of(a, &in, rows, database, &s, err);
    if (rc == 0) rc = p.past->open(p.past, s.list, &scratch, err);
    if (rc == 0 && q) t->time_ns = p.past->instant_ns;
    if (rc == 0 && past_is_physical(info)) rc = bisect_database_at(a, &in, rows, scratch, called, &database, t, err);
    if (rc == 0) rc = judge(a, &in, rows, scratch, database, t, err);
    if (rc == 0 && a->o->pick && past_is_physical(info))
        rc = files_of(&in, rows, scratch, database, a->o->pick, t, err);
    /* Of a whole cluster that is up, a database that is there and cannot be entered is no answer. */
    if (rc == -ERR_PG_CONNECT && scratch && past_is_physical(info)) err->code = ERR_PG_RECOVERY, rc = -ERR_PG_RECOVERY;
    if (p.past) p.past->close(p.past);
    scopes_free(&s);
    work_reading_close(&in);
    return known_secrets_error(&a->w->known, rc, err);
}

/* A point that cannot be asked is no answer; a host on which nothing can be asked is an error. */
static bool is_unknown(int rc) {
    switch (-rc) {
    case ERR_NO_POINT:
    case ERR_PG_QUERY:
    case ERR_OBJECT_MISSING:
    case ERR_OBJECT_CORRUPT:
    case ERR_RESTORE_DIFFERS:
    case ERR_PG_INVARIANT:
    case ERR_PG_ARCHIVE:
    case ERR_PG_EXTENSION:
    case ERR_PG_VERSION:
    case ERR_PG_TARGET:
    case ERR_PG_RECOVERY:
        return true;
    default:
        return false;
    }
}

int bisect_ask(struct asking *a, const struct snapshot_info *info, const struct restore_recovery *q, size_t candidate,
               const struct bisect_try **ret, struct error *err) {
    struct bisect_result *r = a->r;
    int64_t began = time_monotonic_ns();
    int rc = mem_grow((void **)&r->tries, &a->tries_cap, r->count + 1, sizeof *r->tries, err);
    if (rc < 0) return rc;
    struct bisect_try *t = &r->tries[r->count];
    *t = (struct bisect_try){.time_ns = point_time(info), .candidate = candidate};
    snprintf(t->id, sizeof t->id, "%s", info->id);
    snprintf(t->lsn, sizeof t->lsn, "%s", q && q->lsn ? q->lsn : "");
    t->before = q && q->exclusive;
    t->end = q && !q->lsn;
    rc = restore_and_ask(a, info, q, t, err);
    if (a->o->pick && (rc == -ERR_NO_POINT || rc == -ERR_ROWS_TABLE)) { /* where there is no table there is no row */
        error_clear(err);
        t->answer = BISECT_NOT;
        if (!*t->text) snprintf(t->text, sizeof t->text, "it has no such table");
        rc = 0;
    } else if (rc < 0 && is_unknown(rc)) {
        t->answer = BISECT_UNKNOWN;
        snprintf(t->text, sizeof t->text, "%.299s", err->text);
        error_clear(err);
        rc = 0;
    }
    if (rc < 0) {
        json_decref(t->value);
        json_decref(t->files);
        return error_wrap(err, "%s", info->id);
    }
    t->took_ns = time_monotonic_ns() - began;
    r->count++;
    if (a->each) a->each(a->ctx, t);
    *ret = t;
    return 0;
}

static int try_point(void *ctx, size_t i, enum bisect_answer *ret, struct error *err) {
    struct asking *a = ctx;
    const struct bisect_candidate *c = &a->points[i];
    const struct bisect_try *t = NULL;
    struct restore_recovery end = {.time = c->time, .restore_command = past_feed_command};
    int rc = bisect_ask(a, c->info, c->end ? &end : NULL, i, &t, err);
    if (rc == 0) *ret = t->answer;
    return rc;
}

/* ---- all ---- */
static void find_try(const struct bisect_result *r, size_t candidate, struct bisect_try *ret) {
    for (size_t i = 0; i < r->count; i++)
        if (r->tries[i].candidate == candidate) *ret = r->tries[i];
}

static int search(struct asking *a, struct error *err) {
    struct bisect_search s = {.count = a->count, .every = a->o->every, .ctx = a, .try = try_point};
    struct bisect_result *r = a->r;
    struct bisect_found *f = &r->found;
    int rc = mem_alloc(a->count * sizeof *s.answers, (void **)&s.answers, err);
    if (rc == 0) rc = bisect_run(&s, f, err);
    if (rc == 0 && f->has_clean) find_try(r, f->last_clean, &r->clean);
    if (rc == 0 && f->has_not) find_try(r, f->first_not, &r->not_clean);
    if (rc == 0 && f->has_clean && f->has_not) {
        r->between = f->first_not - f->last_clean - 1;
        const struct bisect_candidate *clean = &a->points[f->last_clean];
        if (!a->o->points_only && past_is_physical(clean->info))
            rc = bisect_instants(a, clean, true, &a->points[f->first_not], err);
    }
    /* It may have come and gone since the newest backup. */
    if (rc == 0 && !f->has_clean && f->has_not && a->count > 1 && a->points[a->count - 1].end) {
        find_try(r, a->count - 1, &r->not_clean); /* the newest knows the table's present files */
        rc = bisect_instants(a, &a->points[a->count - 2], false, &a->points[a->count - 1], err);
        for (size_t i = 0; rc == 0 && r->transaction.xid && i < r->count; i++)
            if (r->tries[i].answer == BISECT_CLEAN) r->clean = r->tries[i];
    }
    seam_free(s.answers);
    return rc;
}

int bisect_points(struct work *w, const struct bisect_options *o, void (*each)(void *ctx, const struct bisect_try *t),
                  void *ctx, struct bisect_result *ret, struct error *err) {
    struct past_instance instance = {0};
    struct asking a = {.w = w, .o = o, .r = ret, .instance = &instance, .each = each, .ctx = ctx};
    int64_t began = time_monotonic_ns();
    *ret = (struct bisect_result){0};
    int rc = candidates(&a, err);
    if (rc == 0 && !repo_keys(w->repo)->read_secret)
        rc = error_set(err, ERR_KEY_ROLE, "restoring needs a restore or admin key, and this one is a %s key",
                       key_role_name(repo_keys(w->repo)->role));
    if (rc == 0) rc = bisect_database_learn(&a, err);
    ret->points = a.count;
    if (rc == 0) rc = search(&a, err);
    past_instance_stop(w, &instance);
    ret->duration_ns = time_monotonic_ns() - began;
    seam_free(a.points);
    if (rc < 0) bisect_free(ret);
    return rc;
}

void bisect_free(struct bisect_result *r) {
    for (size_t i = 0; i < r->count; i++) {
        json_decref(r->tries[i].value);
        json_decref(r->tries[i].files);
    }
    seam_free(r->tries);
    *r = (struct bisect_result){0};
}
