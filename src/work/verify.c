#include "work/verify.h"

#include "base/seam.h"
#include "base/time.h"
#include "evidence/levels.h"
#include "repo/coverage.h"
#include "work/reading.h"
#include "work/receipt.h"

#include <stdio.h>

#define CHECKS 4 /* times that a collection may come in between before we give up */

struct covered {
    uint64_t seq;
    int64_t oldest_ns;
};
struct run {
    struct work *w;
    json_t *harmed, *archived;       /* {id: true} */
    struct verify_finding *findings; /* kept back until the check stands: one that was overtaken proves nothing */
    size_t count, cap;
    int64_t started_ns;
    struct covered *covered; /* with a budget */
    size_t covered_count, covered_cap;
    int64_t parts[COVERAGE_PARTS];
};

static int covered(void *ctx, const struct snapshot_info *s, int64_t oldest_ns, struct error *err) {
    struct run *r = ctx;
    int rc = mem_grow((void **)&r->covered, &r->covered_cap, r->covered_count + 1, sizeof *r->covered, err);
    if (rc == 0) r->covered[r->covered_count++] = (struct covered){s->seq, oldest_ns};
    return rc;
}

static void findings_clear(struct run *r) {
    r->covered_count = 0;
    for (size_t i = 0; i < r->count; i++) {
        json_decref(r->findings[i].snapshots);
        json_decref(r->findings[i].paths);
    }
    r->count = 0;
    json_object_clear(r->harmed);
    json_object_clear(r->archived);
}

static int archived(void *ctx, const struct snapshot_info *s, struct error *err) {
    return json_put(((struct run *)ctx)->archived, s->id, json_true(), err);
}

static int finding(void *ctx, const struct check_finding *f, struct error *err) {
    struct run *r = ctx;
    struct verify_finding v = {
        .result = f->result, .paths_total = f->paths_total, .snapshots = json_array(), .paths = json_array()};
    int rc = mem_grow((void **)&r->findings, &r->cap, r->count + 1, sizeof v, err);
    snprintf(v.object, sizeof v.object, "%s", f->object);
    snprintf(v.text, sizeof v.text, "%s", f->text);
    for (size_t i = 0; f->snapshots[i] && rc == 0; i++) {
        rc = json_push(v.snapshots, json_string(f->snapshots[i]), err);
        if (rc == 0) rc = json_put(r->harmed, f->snapshots[i], json_true(), err);
    }
    /* damage that names no snapshot (the log, an index run, a key slot) counts against every one */
    if (!f->snapshots[0] && strncmp(f->object, "packs/", 6) != 0 && rc == 0)
        rc = json_put(r->harmed, "*", json_true(), err);
    for (size_t i = 0; i < f->path_count && rc == 0; i++) rc = json_push(v.paths, json_name(f->paths[i]), err);
    if (rc == 0) {
        r->findings[r->count++] = v;
        return 0;
    }
    json_decref(v.snapshots);
    json_decref(v.paths);
    return rc;
}

static void progress(void *ctx, uint64_t done, uint64_t total) {
    struct run *r = ctx;
    const struct work_events *e = &r->w->options.events;
    if (e->progress) e->progress(e->ctx, "repository", "check", done, total, 0, 0);
}

static bool value_holds(const json_t *want, const json_t *got, const char *expect) {
    if (!got) return false;
    if (strcmp(expect, "not_shrunk") == 0 && json_is_number(want) && json_is_number(got))
        return json_number_value(got) >= json_number_value(want);
    return json_equal(want, got);
}

int verify_compare(const json_t *want, const json_t *got, json_t *differences, struct error *err) {
    const char *name;
    const json_t *w;
    int rc = 0;
    json_object_foreach((json_t *)want, name, w) {
        const json_t *g = json_object_get(got, name);
        const char *expect = json_string_value(json_object_get(w, "expect"));
        const json_t *wv = json_object_get(w, "value"), *gv = json_object_get(g, "value");
        if (value_holds(wv, gv, expect ? expect : "equal")) continue;
        json_t *d = json_pack("{s:s, s:O}", "invariant", name, "expected", wv);
        if (d && gv) json_object_set(d, "found", (json_t *)gv);
        rc = json_push(differences, d, err);
        if (rc < 0) break;
    }
    return rc;
}

static int full_one(struct work *w, const struct snapshot_info *info, json_t *checks, json_t *differences,
                    struct error *err) {
    struct work_reading in;
    json_t *scratch = NULL, *got = NULL;
    struct restore_result r = {0};
    int rc = work_reading_open(w, info, &in, err);
    const struct surface_driver *d = in.surface.driver;
    in.ctx.checks = checks;
    if (rc == 0) rc = d->scratch_start(&in.ctx, in.facts, &scratch, err);
    if (rc < 0) goto out;
    struct restore_request q = {.as_scratch = true, .scratch = scratch, .facts = in.facts, .invariants = in.invariants};
    rc = d->restore(&in.ctx, &in.source.source, &q, &r, err);
    if (rc == 0) rc = d->measure(&in.ctx, scratch, in.facts, &got, err);
    if (rc == 0) rc = verify_compare(in.invariants, got, differences, err);
    d->scratch_stop(&in.ctx, scratch);
out:
    json_decref(scratch);
    json_decref(got);
    json_decref(r.facts);
    work_reading_close(&in);
    return known_secrets_error(&w->known, rc, err);
}

/* Damage found on the way is a result; that the scratch could not be had is not. */
static bool is_damage(int rc) {
    switch (-rc) {
    case ERR_OBJECT_MISSING:
    case ERR_OBJECT_CORRUPT:
    case ERR_RESTORE_DIFFERS:
    case ERR_PG_INVARIANT:
    case ERR_PG_ARCHIVE:
    case ERR_NEO4J_CHECK:
    case ERR_ENGINE_RESTORE:
        return true;
    default:
        return false;
    }
}

/* What the items do not have is asked for where it is; of its bytes nothing is said but by a restore, so every rung
 * between being there and that one is only the lower. */
static int outside(struct run *r, const struct snapshot_info *info, enum verify_level *level, bool *good,
                   json_t *differences, struct error *err) {
    const struct surface_driver *d = surface_find(info->kind);
    struct work_reading in;
    struct error e = ERROR_INIT;
    bool is = false;
    if (!d || !d->outside) return 0;
    int rc = work_reading_open(r->w, info, &in, err);
    int one = rc == 0 ? known_secrets_error(&r->w->known, d->outside(&in.ctx, in.facts, &is, &e), &e) : 0;
    work_reading_close(&in);
    if (one == -ERR_ENGINE_GONE || one == -ERR_ENGINE_PARTIAL) {
        *good = false;
        *level = VERIFY_PRESENT;
        return json_push(differences, json_pack("{s:s, s:s}", "invariant", "outside", "found", e.text), err);
    }
    if (one < 0) {
        *err = e;
        return error_wrap(err, "what %s has outside of the repository could not be looked for", info->id);
    }
    if (rc < 0 || !is || *level == VERIFY_PRESENT || *level >= VERIFY_FULL) return rc;
    const struct work_events *v = &r->w->options.events;
    char label[260], line[300];
    work_label(info, label);
    snprintf(line, sizeof line,
             "its data are outside of this repository, and were found there: recorded as %s, since only --level full "
             "checks their bytes",
             level_name(VERIFY_PRESENT));
    if (v->warning) v->warning(v->ctx, label, line);
    *level = VERIFY_PRESENT;
    return 0;
}

static int sign(struct run *r, const struct snapshot_info *info, enum verify_level level, bool passed,
                int64_t started_ns, const json_t *detail, const json_t *checks, struct error *err) {
    enum key_role role = repo_keys(r->w->repo)->role;
    if (role == ROLE_ADMIN || role == ROLE_RESTORE)
        return receipt_verification(r->w, info, level, passed, started_ns, detail, checks, err);
    const struct work_events *e = &r->w->options.events;
    char label[260], line[160];
    work_label(info, label);
    snprintf(line, sizeof line, "a %s key may not vouch for a backup: this result is not recorded",
             key_role_name(role));
    if (e->warning) e->warning(e->ctx, label, line);
    return 0;
}

/* A point of the open repository by its place in the log; NULL when there is none, or it was forgotten. */
static const struct snapshot_info *point(struct work *w, uint64_t seq) {
    const struct snapshot_info *s = repo_snapshot_at(w->repo, seq);
    return s && !s->forgotten ? s : NULL;
}

/* What a collection moved while it was checked is looked for again by the log as it is then. */
static int check(struct run *r, const uint64_t *seqs, size_t n, enum verify_level level, const struct check_budget *b,
                 struct check_totals *ret, struct error *err) {
    void *mem;
    int rc = mem_alloc((n + 1) * sizeof(struct snapshot_info *), &mem, err);
    if (rc < 0) return rc;
    const struct snapshot_info **list = mem;
    struct check_options o = {.level = level > VERIFY_DECODE ? VERIFY_DECODE : level,
                              .snapshots = list,
                              .budget = b,
                              .covered = b ? covered : NULL,
                              .archived = archived,
                              .parts = b ? r->parts : NULL,
                              .threads = r->w->jobs,
                              .ctx = r,
                              .progress = progress,
                              .finding = finding};
    for (int tries = 1;; tries++) {
        size_t live = 0;
        for (size_t i = 0; i < n; i++)
            if ((list[live] = point(r->w, seqs[i]))) live++;
        list[live] = NULL;
        if (n && !live) {
            rc = error_set(err, ERR_NO_POINT, "what was to be verified was forgotten in the meantime");
            break;
        }
        findings_clear(r);
        rc = repo_check(r->w->repo, &o, ret, err);
        if ((rc != -ERR_REPO_BUSY && rc != -ERR_OBJECT_MISSING) || tries == CHECKS) break;
        uint64_t before = ledger_size(repo_ledger(r->w->repo));
        struct error e = ERROR_INIT;
        if (repo_sync(r->w->repo, &e) < 0 || ledger_size(repo_ledger(r->w->repo)) == before) break;
        error_clear(err);
    }
    seam_free(list);
    return rc < 0 ? error_wrap(err, "the verification could not be carried out") : 0;
}

static void warn_of_void_entries(struct work *w) {
    const struct work_events *e = &w->options.events;
    char line[400];
    if (e->warning && work_void_entries(w, line, sizeof line)) e->warning(e->ctx, "repository", line);
    if (e->warning && work_sights(w, line, sizeof line)) e->warning(e->ctx, "repository", line);
}

/* What is wrong with one point's surroundings is no matter of the others; with the repository, or with us, it is. */
static bool of_one_point(struct work *w, const struct error *why) {
    struct error e = ERROR_INIT;
    switch (why->code) { /* what is damaged is the repository's own */
    case ERR_INTERRUPTED:
    case ERR_TERMINATED:
    case ERR_NO_MEMORY:
        return false;
    default:
        return !is_damage(-(int)why->code) && (!repo_out_of_reach(-(int)why->code) || repo_sync(w->repo, &e) == 0);
    }
}

static int set_aside(struct work *w, const struct snapshot_info *info, const struct error *why,
                     struct verify_result *ret, struct error *err) {
    const struct work_events *e = &w->options.events;
    char label[260], line[1000];
    work_label(info, label);
    snprintf(line, sizeof line, "NOT VERIFIED: %s: %.700s", info->id, why->text);
    if (e->warning) e->warning(e->ctx, label, line);
    ret->passed = false;
    if (!ret->unverified && !(ret->unverified = json_array())) return error_set(err, ERR_NO_MEMORY, "no memory");
    return json_push(ret->unverified,
                     json_pack("{s:s, s:s, s:s, s:s}", "snapshot", info->id, "surface", label, "code",
                               error_info((int)why->code)->code, "text", why->text),
                     err);
}

/* What was said of one point, for the caller. */
static int tell(struct verify_result *ret, const struct snapshot_info *info, const json_t *checks, struct error *err) {
    const json_t *one;
    char label[260];
    size_t i;
    work_label(info, label);
    json_array_foreach(checks, i, one) {
        json_t *named = json_pack("{s:s, s:s}", "snapshot", info->id, "surface", label);
        if (named) json_object_update(named, (json_t *)one);
        if (!ret->checks && !(ret->checks = json_array())) return error_set(err, ERR_NO_MEMORY, "no memory");
        int rc = json_push(ret->checks, named, err);
        if (rc < 0) return rc;
    }
    ret->checks_not_made += receipt_not_made(checks);
    return 0;
}

int verify_snapshots(struct work *w, const struct snapshot_info *const *snapshots, size_t n, enum verify_level level,
                     verify_finding_cb cb, void *ctx, struct verify_result *ret, struct error *err) {
    struct run r = {.w = w, .harmed = json_object(), .archived = json_object(), .started_ns = time_now_ns()};
    *ret = (struct verify_result){.level = level, .differences = json_array()};
    uint64_t *seqs = NULL;
    void *mem;
    struct check_totals totals = {0};
    struct error first = ERROR_INIT;
    int rc = r.harmed && r.archived && ret->differences ? mem_alloc((n + 1) * sizeof *seqs, &mem, err)
                                                        : error_set(err, ERR_NO_MEMORY, "no memory for a verification");
    if (rc < 0) goto out;
    seqs = mem;
    for (size_t i = 0; i < n; i++) seqs[i] = snapshots[i]->seq;
    if ((rc = check(&r, seqs, n, level, NULL, &totals, err)) < 0) goto out;
    for (size_t i = 0; i < r.count && cb; i++) cb(ctx, &r.findings[i]);
    warn_of_void_entries(w);
    ret->objects = totals.objects;
    ret->bytes = totals.bytes;
    ret->findings = totals.findings;
    ret->passed = totals.result == CHECK_VERIFIED;
    ret->packs_archived = totals.packs_archived;
    ret->bytes_archived = totals.bytes_archived;
    for (size_t i = 0; i < n && rc == 0; i++) {
        /* appending may move the array that the pointers lead into, so each is looked up again */
        const struct snapshot_info *info = point(w, seqs[i]);
        if (!info) continue;
        bool good = !json_object_get(r.harmed, info->id) && !json_object_get(r.harmed, "*");
        if (good && json_object_get(r.archived, info->id)) {
            ret->unread++;
            continue;
        }
        enum verify_level reached = level;
        json_auto_t *checks = json_array();
        json_t *differences = json_array();
        struct error aside = ERROR_INIT; /* why it could not be verified */
        if (good && outside(&r, info, &reached, &good, differences, &aside) < 0) good = false;
        bool full = good && level >= VERIFY_FULL;
        /* restoring each takes its own time, while the check before was one for all of them */
        int64_t started_ns = full ? time_now_ns() : r.started_ns;
        if (full) {
            struct error e = ERROR_INIT;
            int one = full_one(w, info, checks, differences, &e);
            struct error lost = ERROR_INIT;
            if (one == -ERR_OBJECT_MISSING && repo_sync(w->repo, &lost) == 0 && !(info = point(w, seqs[i]))) {
                json_decref(differences); /* forgotten while it was restored: there is nothing to vouch for */
                continue;
            }
            if (one < 0 && !is_damage(one)) {
                aside = e;
                (void)!error_wrap(&aside, "full verification of %s could not be carried out", info->id);
            } else if (one < 0) {
                good = false;
                json_array_append_new(differences, json_pack("{s:s, s:s}", "invariant", "restore", "found", e.text));
            } else
                good = json_array_size(differences) == 0;
            rc = tell(ret, info, checks, err);
        }
        if (aside.code && !of_one_point(w, &aside)) {
            *err = aside;
            rc = -(int)aside.code;
        } else if (aside.code) {
            if (!first.code) first = aside;
            info = point(w, seqs[i]); /* the log may have been read again */
            if (info && rc == 0) rc = set_aside(w, info, &aside, ret, err);
            json_decref(differences);
            continue;
        }
        if (!good) ret->passed = false;
        if (rc == 0)
            rc = sign(&r, info, good || reached <= VERIFY_DECODE ? reached : VERIFY_FULL, good, started_ns, differences,
                      checks, err);
        ret->points += rc == 0;
        json_array_extend(ret->differences, differences);
        json_decref(differences);
    }
    if (rc == 0) {
        struct error e = ERROR_INIT;
        (void)!repo_publish(w->repo, &e);
    }
    ret->duration_ns = time_now_ns() - r.started_ns;
    if (rc == 0 && first.code && !ret->points && !ret->findings && !ret->unread) {
        *err = first;
        rc = -(int)first.code;
    }
out:
    seam_free(seqs);
    findings_clear(&r);
    seam_free(r.findings);
    json_decref(r.harmed);
    json_decref(r.archived);
    if (rc < 0) {
        json_decref(ret->differences);
        json_decref(ret->unverified);
        ret->unverified = NULL;
        json_decref(ret->checks);
        ret->checks = NULL;
        ret->differences = NULL;
        ret->passed = false;
    }
    return rc;
}

static int vouch(struct run *r, const uint64_t *seqs, size_t n, enum verify_level level, int64_t window_ns,
                 struct verify_result *ret, struct error *err) {
    struct error first = ERROR_INIT; /* of what could not be asked for outside, which is no reason to stop */
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        const struct snapshot_info *info = point(r->w, seqs[i]);
        int64_t oldest_ns = 0;
        if (!info) continue;
        ret->points++;
        if (json_object_get(r->harmed, info->id) || json_object_get(r->harmed, "*")) {
            /* said once, until it is whole again */
            if (!info->verify_failed) rc = sign(r, info, level, false, r->started_ns, NULL, NULL, err);
            continue;
        }
        for (size_t k = 0; k < r->covered_count; k++)
            if (r->covered[k].seq == seqs[i]) oldest_ns = r->covered[k].oldest_ns;
        if (!oldest_ns || oldest_ns < r->started_ns - window_ns || oldest_ns <= info->level_ns[level]) continue;
        enum verify_level reached = level;
        bool good = true;
        json_t *differences = json_array();
        struct error e = ERROR_INIT;
        bool asked = outside(r, info, &reached, &good, differences, &e) == 0;
        if (asked && (good || !info->verify_failed))
            rc = sign(r, info, reached, good, oldest_ns, good ? NULL : differences, NULL, err);
        json_decref(differences);
        ret->passed &= good;
        ret->vouched += rc == 0 && good && asked;
        if (!asked && !first.code) first = e;
    }
    if (rc < 0 || !first.code) return rc;
    *err = first;
    return -(int)first.code;
}

int verify_budget(struct work *w, const struct snapshot_info *const *snapshots, size_t n, enum verify_level level,
                  const struct check_budget *b, verify_finding_cb cb, void *ctx, struct verify_result *ret,
                  struct error *err) {
    struct run r = {.w = w, .harmed = json_object(), .archived = json_object(), .started_ns = time_now_ns()};
    struct check_totals t = {0};
    enum key_role role = repo_keys(w->repo)->role;
    uint64_t *seqs = NULL;
    void *mem;
    *ret = (struct verify_result){.level = level};
    if (level > VERIFY_DECODE) return error_set(err, ERR_USAGE, "a budget is for levels checksum and decode");
    int rc = r.harmed && r.archived ? mem_alloc((n + 1) * sizeof *seqs, &mem, err)
                                    : error_set(err, ERR_NO_MEMORY, "no memory for a verification");
    if (rc < 0) goto out;
    seqs = mem;
    for (size_t i = 0; i < n; i++) seqs[i] = snapshots[i]->seq;
    if ((rc = check(&r, seqs, n, level, b, &t, err)) < 0) goto out;
    for (size_t i = 0; i < r.count && cb; i++) cb(ctx, &r.findings[i]);
    warn_of_void_entries(w);
    ret->objects = t.objects;
    ret->bytes = t.bytes;
    ret->findings = t.findings;
    ret->passed = t.findings == 0;
    ret->packs = t.packs;
    ret->packs_left = t.packs_left;
    ret->packs_archived = t.packs_archived;
    ret->bytes_archived = t.bytes_archived;
    ret->pack_bytes = t.pack_bytes;
    ret->bytes_left = t.bytes_left;
    ret->bytes_covered = t.bytes_covered;
    ret->oldest_ns = t.oldest_ns;
    if (role == ROLE_ADMIN || role == ROLE_RESTORE) {
        rc = coverage_add(w->repo, level, r.parts, &t, r.started_ns, w->principal, err);
        if (rc == 0) rc = vouch(&r, seqs, n, level, b->window_ns, ret, err);
        struct error e = ERROR_INIT;
        if (rc == 0) (void)!repo_publish(w->repo, &e);
    }
    ret->duration_ns = time_now_ns() - r.started_ns;
out:
    seam_free(seqs);
    findings_clear(&r);
    seam_free(r.findings);
    seam_free(r.covered);
    json_decref(r.harmed);
    json_decref(r.archived);
    if (rc < 0) ret->passed = false;
    return rc;
}
