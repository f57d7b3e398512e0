#include "work/bisect_internal.h"

#include "base/time.h"
#include "surface/pgphys/commits.h"
#include "work/pitr_reach.h"
#include "work/wal_walk.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Commits are candidates. As many as the list holds are kept, evenly: every one at first, then every second, and so on;
 * what the search leaves between two neighbours of a thinned list is listed again. So memory is bounded and the end is
 * a single transaction. */
#define LISTED_MAX 4096
#define FILES_MAX 1024
#define ROUNDS_MAX 64
#define HUNT_EVERY 4 /* of the newest, each is tried */

struct instants {
    struct asking *a;
    const struct snapshot_info *base;
    struct wal_walk walk;
    uint64_t until;    /* what is not clean lies there or before */
    int64_t until_ns;  /* nor was it committed later than that */
    char timeline[16]; /* that recovery follows */
    uint32_t database, files[FILES_MAX];
    size_t file_count;
    enum { ALL, TOUCHED, DELETED } only; /* commits that updated or deleted rows of the table, or changed a catalog */
    struct wal_commit listed[LISTED_MAX];
    size_t n;
    uint64_t stride, passed, commits; /* commits: all that lie between */
};

static int none(struct instants *s, const char *fmt, ...) PK_PRINTF(2, 3);
static int none(struct instants *s, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(s->a->r->why_none, sizeof s->a->r->why_none, fmt, ap);
    va_end(ap);
    return 1;
}

/* ---- what leads from the one to the other ---- */

static uint64_t lsn_fact(const json_t *o, const char *key) {
    uint64_t lsn = 0;
    const char *text = json_string_value(json_object_get(o, key));
    return text && wal_lsn_parse(text, &lsn) ? lsn : 0;
}

/* 1: it does not, and why_none says why. */
static int find_way(struct instants *s, const struct bisect_candidate *not_clean, struct error *err) {
    struct restore_recovery q = {.restore_command = past_feed_command};
    struct work_reading other;
    json_t *reach = NULL;
    int rc = 0;
    s->until_ns = INT64_MAX;
    if (not_clean->time && !time_parse(not_clean->time, &s->until_ns))
        return error_set(err, ERR_USAGE, "'%.40s' is no time", not_clean->time);
    if (!not_clean->end) {
        rc = work_reading_open(s->a->w, not_clean->info, &other, err);
        const char *system = rc == 0 ? json_string_value(json_object_get(other.facts, "system_identifier")) : NULL;
        uint32_t timeline = (uint32_t)json_integer_value(json_object_get(other.facts, "timeline"));
        s->until = lsn_fact(other.facts, "stop_lsn");
        snprintf(s->timeline, sizeof s->timeline, "%" PRIu32, timeline);
        q.timeline = s->timeline;
        if (rc == 0 && (!system || strtoull(system, NULL, 10) != s->walk.system || !timeline || !s->until))
            rc = none(s, "%s is not of the same cluster", not_clean->info->id);
        work_reading_close(&other);
    }
    if (rc == 0) rc = pitr_reach(s->a->w, s->base, s->walk.in.facts, &q, &reach, err);
    if (rc == -ERR_PG_TARGET) {
        rc = none(s, "%s", err->text);
        error_clear(err);
    }
    uint64_t from = lsn_fact(reach, "from"), to = lsn_fact(reach, "to");
    uint32_t target = (uint32_t)json_integer_value(json_object_get(reach, "timeline"));
    if (rc == 0 && not_clean->end) s->until = to;
    if (rc == 0 && s->until > to)
        rc = none(s, "WAL is missing from %s on", json_string_value(json_object_get(reach, "to")));
    snprintf(s->timeline, sizeof s->timeline, "%" PRIu32, target);
    json_decref(reach);
    return rc == 0 ? wal_walk_path(&s->walk, target, from, err) : rc;
}

static void take_files(struct instants *s, const json_t *files) {
    const char *text = json_string_value(files);
    char *end;
    if (!text) return;
    uint32_t database = (uint32_t)strtoul(text, &end, 10);
    if (s->database && database != s->database) return;
    s->database = database;
    while (*end == ' ' && s->file_count < FILES_MAX) {
        uint32_t file = (uint32_t)strtoul(end, &end, 10);
        if (file) s->files[s->file_count++] = file;
    }
    s->only = s->file_count > 0 && s->file_count < FILES_MAX ? DELETED : ALL;
}

/* ---- the list ---- */

struct between {
    struct instants *s;
    uint64_t after, until;
};

static int add(void *ctx, const struct wal_commit *c, struct error *err) {
    struct between *b = ctx;
    struct instants *s = b->s;
    (void)err;
    if (c->lsn <= b->after || c->lsn > b->until || c->time_ns > s->until_ns) return 0;
    s->commits++;
    if (s->only && !c->touched && !c->ddl) return 0;
    if (s->passed++ % s->stride) return 0;
    if (s->n == LISTED_MAX) {
        s->stride *= 2;
        for (size_t i = 0; i < LISTED_MAX / 2; i++) s->listed[i] = s->listed[2 * i];
        s->n = LISTED_MAX / 2;
        if ((s->passed - 1) % s->stride) return 0;
    }
    s->listed[s->n++] = *c;
    return 0;
}

static int list_between(struct instants *s, uint64_t after, uint64_t until, struct error *err) {
    struct wal_commits c = {.database = s->database,
                            .files = s->files,
                            .file_count = s->only ? s->file_count : 0,
                            .deletes_only = s->only == DELETED};
    struct between b = {s, after, until};
    s->n = 0;
    s->stride = 1;
    s->passed = s->commits = 0;
    int rc = wal_walk_records(&s->walk, &c, after, until, s->until, add, &b, err);
    wal_commits_free(&c);
    return rc;
}

/* ---- the search ---- */

static int ask(struct instants *s, const struct wal_commit *c, bool before, enum bisect_answer *ret,
               struct error *err) {
    const struct bisect_try *t = NULL;
    char lsn[24];
    wal_lsn_format(c->lsn, lsn);
    struct restore_recovery q = {.lsn = lsn, .exclusive = before, .timeline = s->timeline};
    int rc = bisect_ask(s->a, s->base, &q, SIZE_MAX, &t, err);
    if (rc == 0) *ret = t->answer;
    return rc;
}

/* The first listed commit after which it is not clean, the one before it being clean; *ret == n: none of them is. */
static int halve(struct instants *s, size_t clean, size_t *ret, struct error *err) {
    size_t bad = s->n; /* clean: how many are known to leave it clean */
    while (clean < bad) {
        size_t mid = clean + (bad - clean) / 2;
        enum bisect_answer answer = BISECT_UNKNOWN;
        int rc = ask(s, &s->listed[mid], false, &answer, err);
        if (rc < 0) return rc;
        if (answer == BISECT_UNKNOWN) {
            *ret = SIZE_MAX;
            return 0;
        }
        if (answer == BISECT_CLEAN)
            clean = mid + 1;
        else
            bad = mid;
    }
    *ret = bad;
    return 0;
}

/* Where both ends are not clean: the newest listed commit before which it is, in steps that grow. *ret == n: none that
 * was tried. */
static int hunt(struct instants *s, size_t *ret, struct error *err) {
    *ret = s->n;
    for (size_t back = 1, step = 1; back <= s->n; back += step) {
        enum bisect_answer answer = BISECT_UNKNOWN;
        int rc = ask(s, &s->listed[s->n - back], true, &answer, err);
        if (rc < 0) return rc;
        if (answer == BISECT_CLEAN) {
            *ret = s->n - back;
            return 0;
        }
        if (back >= HUNT_EVERY) step *= 2;
    }
    return 0;
}

static int found(struct instants *s, const struct wal_commit *c) {
    struct bisect_transaction *t = &s->a->r->transaction;
    *t = (struct bisect_transaction){.xid = c->xid, .timeline = c->timeline, .time_ns = c->time_ns};
    wal_lsn_format(c->lsn, t->lsn);
    snprintf(t->base, sizeof t->base, "%s", s->base->id);
    return 0;
}

static int narrow(struct instants *s, bool is_clean, struct error *err) {
    uint64_t after = 0, until = s->until, all = 0;
    int rc = 0;
    for (unsigned round = 0; round < ROUNDS_MAX; round++) {
        size_t at = 0, from = 0;
        if ((rc = list_between(s, after, until, err)) < 0) return rc;
        if (round == 0) all = s->commits;
        const bool hunted = !is_clean;
        if (hunted && (rc = hunt(s, &from, err)) < 0) return rc;
        if (hunted && from == s->n && s->only == DELETED) { /* a predicate may have ceased to hold */
            s->only = TOUCHED;
            continue;
        }
        if (hunted && from == s->n) {
            none(s, "it was not seen in the WAL behind the newest backup either");
            return 0;
        }
        is_clean = true;
        if ((rc = halve(s, from, &at, err)) < 0) return rc;
        if (at == SIZE_MAX) {
            none(s, "an instant between them gave no answer; see the tries");
            return 0;
        }
        uint64_t left = at > 0 ? s->listed[at - 1].lsn : after, right = at < s->n ? s->listed[at].lsn : until;
        bool exact = !s->only && s->stride == 1;
        if (at < s->n) {
            /* Every commit in between is in an exact list; else the instant just before it tells. */
            enum bisect_answer answer = BISECT_CLEAN;
            if (!exact && !(hunted && at == from)) rc = ask(s, &s->listed[at], true, &answer, err);
            if (rc == 0 && answer == BISECT_CLEAN) rc = found(s, &s->listed[at]);
            s->a->r->transaction.looked_at = all;
            if (rc < 0 || answer == BISECT_CLEAN) return rc;
        } else if (exact) {
            none(s, "no transaction in the WAL between them makes the difference");
            return 0;
        }
        if (s->only && (s->stride == 1 || at == s->n)) s->only--;
        after = left;
        until = at < s->n ? right - 1 : until;
    }
    none(s, "the search did not come to an end");
    return 0;
}

int bisect_instants(struct asking *a, const struct bisect_candidate *first, bool is_clean,
                    const struct bisect_candidate *not_clean, struct error *err) {
    struct instants *s;
    int rc = mem_alloc(sizeof *s, (void **)&s, err);
    if (rc < 0) return rc;
    s->a = a;
    s->base = first->info;
    rc = wal_walk_open(a->w, s->base, &s->walk, err);
    if (rc == 0) rc = find_way(s, not_clean, err);
    if (rc == 0 && a->o->pick) {
        take_files(s, a->r->clean.files);
        take_files(s, a->r->not_clean.files);
    }
    if (rc == 0) rc = narrow(s, is_clean, err);
    wal_walk_close(&s->walk);
    seam_free(s);
    return rc < 0 ? known_secrets_error(&a->w->known, error_wrap(err, "between the points"), err) : 0;
}
