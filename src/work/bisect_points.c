#include "work/bisect.h"

#include "base/seam.h"
#include "base/time.h"
#include "work/past.h"
#include "work/point.h"

#include <stdio.h>
#include <stdlib.h>

#define TABLES_MAX 256

struct asking {
    struct work *w;
    const struct bisect_options *o;
    const struct snapshot_info **points; /* oldest first */
    size_t count;
    struct bisect_result *r;
    struct past_instance *instance;
    void (*each)(void *ctx, const struct bisect_try *t);
    void *ctx;
};

/* ---- the candidates ---- */
static int by_time(const void *a, const void *b) {
    const struct snapshot_info *x = *(const struct snapshot_info *const *)a,
                               *y = *(const struct snapshot_info *const *)b;
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

static int candidates(struct asking *a, struct error *err) {
    struct address where;
    struct edge since = {INT64_MIN, 0}, until = {INT64_MAX, UINT64_MAX};
    size_t n = 0, kept = 0;
    int rc = address_parse(a->o->address, &where, err);
    if (rc == 0 && (where.surface_count != 1 || where.point.kind != POINT_UNSAID))
        rc = error_set(err, ERR_USAGE, "'%.100s' is not one surface", a->o->address);
    if (rc == 0) rc = work_open_repo(a->w, where.environment, err);
    if (rc == 0) rc = bound(a, &where, a->o->since, &since, err);
    if (rc == 0) rc = bound(a, &where, a->o->until, &until, err);
    if (rc == 0) rc = work_points(a->w, where.environment, where.surfaces[0], &a->points, &n, err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < n; i++) {
        struct edge t = {point_time(a->points[i]), a->points[i]->seq};
        if (a->points[i]->complete && !edge_after(since, t) && !edge_after(t, until)) a->points[kept++] = a->points[i];
    }
    a->count = kept;
    if (kept == 0) return error_set(err, ERR_NO_POINT, "%.100s has no whole recovery point there", a->o->address);
    qsort(a->points, kept, sizeof *a->points, by_time);
    return 0;
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

static int restore_and_ask(const struct asking *a, const struct snapshot_info *info, struct bisect_try *t,
                           struct error *err) {
    struct work_reading in;
    struct past_point p = {0};
    const struct rows_driver *rows;
    const json_t *scratch = NULL;
    const char *database;
    struct scopes s = {0};
    int rc = work_reading_open(a->w, info, &in, err);
    if (rc == 0) past_of_point(a->w, info, &in, &p);
    p.instance = a->instance;
    if (rc == 0) rc = past_rows(&in, &rows, err);
    if (rc == 0) rc = past_database(in.facts, a->o->database, &database, err);
    if (rc == 0) rc = scopes_of(a, &in, rows, database, &s, err);
    if (rc == 0) rc = p.past.open(&p.past, s.list, &scratch, err);
    if (rc == 0) rc = judge(a, &in, rows, scratch, database, t, err);
    if (p.past.close) p.past.close(&p.past);
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
        return true;
    default:
        return false;
    }
}

static int try_point(void *ctx, size_t i, enum bisect_answer *ret, struct error *err) {
    struct asking *a = ctx;
    struct bisect_try *t = &a->r->tries[a->r->count];
    const struct snapshot_info *info = a->points[i];
    int64_t began = time_monotonic_ns();
    *t = (struct bisect_try){.time_ns = point_time(info)};
    snprintf(t->id, sizeof t->id, "%s", info->id);
    int rc = restore_and_ask(a, info, t, err);
    if (a->o->pick && (rc == -ERR_NO_POINT || rc == -ERR_ROWS_TABLE)) { /* where there is no table there is no row */
        error_clear(err);
        t->answer = BISECT_NOT;
        snprintf(t->text, sizeof t->text, "it has no such table");
        rc = 0;
    } else if (rc < 0 && is_unknown(rc)) {
        t->answer = BISECT_UNKNOWN;
        snprintf(t->text, sizeof t->text, "%.299s", err->text);
        error_clear(err);
        rc = 0;
    }
    if (rc < 0) return error_wrap(err, "%s", info->id);
    t->took_ns = time_monotonic_ns() - began;
    *ret = t->answer;
    a->r->count++;
    if (a->each) a->each(a->ctx, t);
    return 0;
}

/* ---- all ---- */
static void find_try(const struct bisect_result *r, const struct snapshot_info *info, struct bisect_try *ret) {
    for (size_t i = 0; i < r->count; i++)
        if (!strcmp(r->tries[i].id, info->id)) *ret = r->tries[i];
}

static int search(struct asking *a, struct error *err) {
    struct bisect_search s = {.count = a->count, .every = a->o->every, .ctx = a, .try = try_point};
    struct bisect_result *r = a->r;
    int rc = mem_alloc(a->count * sizeof *s.answers, (void **)&s.answers, err);
    if (rc == 0) rc = mem_alloc(a->count * sizeof *r->tries, (void **)&r->tries, err);
    if (rc == 0) rc = bisect_run(&s, &r->found, err);
    if (rc == 0 && r->found.has_clean) find_try(r, a->points[r->found.last_clean], &r->clean);
    if (rc == 0 && r->found.has_not) find_try(r, a->points[r->found.first_not], &r->not_clean);
    if (rc == 0 && r->found.has_clean && r->found.has_not) r->between = r->found.first_not - r->found.last_clean - 1;
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
    ret->points = a.count;
    if (rc == 0) rc = search(&a, err);
    past_instance_stop(w, &instance);
    ret->duration_ns = time_monotonic_ns() - began;
    seam_free(a.points);
    if (rc < 0) bisect_free(ret);
    return rc;
}

void bisect_free(struct bisect_result *r) {
    for (size_t i = 0; i < r->count; i++) json_decref(r->tries[i].value);
    seam_free(r->tries);
    *r = (struct bisect_result){0};
}
