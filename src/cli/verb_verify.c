#include "base/seam.h"
#include "base/time.h"
#include "cli/verb.h"
#include "work/counted.h"
#include "work/set.h"
#include "work/verify.h"

#include <stdio.h>

#define PATHS_SHOWN 10

/* Each path once, in however many of the snapshots it is harmed. */
static void harmed_paths(struct output *o, const struct verify_finding *f) {
    const char *shown[PATHS_SHOWN];
    const json_t *v;
    size_t i, k, n = 0;
    json_array_foreach(f->paths, i, v) {
        const char *path = json_string_value(v);
        for (k = 0; k < n && strcmp(shown[k], path) != 0;) k++;
        if (k < n) continue;
        if (n == PATHS_SHOWN) {
            output_print(o, "  and more: %llu paths, each counted in every snapshot that has it\n",
                         (unsigned long long)f->paths_total);
            return;
        }
        shown[n++] = path;
        output_print(o, "  harms path %s\n", path);
    }
}

static void finding(void *ctx, const struct verify_finding *f) {
    struct cli *c = ctx;
    if (output_is_json(c->output)) {
        output_event(c->output, "warning",
                     json_pack("{s:s, s:s, s:s, s:s, s:O, s:O, s:I}", "kind", "finding", "object", f->object, "result",
                               check_result_name(f->result), "text", f->text, "snapshots", f->snapshots, "paths",
                               f->paths, "paths_total", (json_int_t)f->paths_total));
        return;
    }
    const json_t *v;
    size_t i;
    output_styled(c->output, STYLE_BAD, "DAMAGE  %s  %s\n", check_result_name(f->result), f->object);
    output_print(c->output, "  %s\n", f->text);
    json_array_foreach(f->snapshots, i, v) output_print(c->output, "  harms snapshot %s\n", json_string_value(v));
    harmed_paths(c->output, f);
}

static enum verify_level level_of(const char *name) {
    if (strcmp(name, "present") == 0) return VERIFY_PRESENT;
    if (strcmp(name, "checksum") == 0) return VERIFY_CHECKSUM;
    if (strcmp(name, "decode") == 0) return VERIFY_DECODE;
    return VERIFY_FULL;
}

struct chosen {
    const struct snapshot_info **list;
    size_t n, cap;
    json_t *gone; /* members of sets that were named and are forgotten: [{"set", "surface", "id"}] */
};

static int choose(struct chosen *s, const struct snapshot_info *info, struct error *err) {
    for (size_t i = 0; i < s->n; i++)
        if (s->list[i] == info) return 0;
    int rc = mem_grow((void **)&s->list, &s->cap, s->n + 1, sizeof *s->list, err);
    if (rc == 0) s->list[s->n++] = info;
    return rc;
}

/* A set that lacks a member is never whole again, however well the others are. */
static int choose_set(struct work *w, const struct set_info *set, struct chosen *s, struct error *err) {
    char label[1300];
    int rc = 0;
    snprintf(label, sizeof label, "%.120s/%.1023s@%s", set->environment, set->name, set->id);
    const struct work_events *e = &w->options.events;
    if (!set->complete && e->warning)
        e->warning(e->ctx, label, "this set was partial when it was taken; what it has is checked, and nothing else");
    for (size_t i = 0; rc == 0 && i < set->member_count; i++) {
        const struct snapshot_info *info = repo_snapshot_at(w->repo, set->members[i]);
        if (info && !info->forgotten)
            rc = choose(s, info, err);
        else
            rc = json_push(s->gone,
                           json_pack("{s:s, s:s, s:s}", "set", label, "surface", info ? info->surface : "", "id",
                                     info ? info->id : ""),
                           err);
    }
    return rc;
}

/* Addresses are "env/surface[,surface][@point]" or "env/all"; without a configuration the repository says what there
 * is. */
static int choose_address(struct work *w, const char *text, struct chosen *s, struct error *err) {
    struct address a;
    int rc = address_parse(text, &a, err);
    if (rc == 0) rc = work_open_repo(w, a.environment, err);
    if (rc < 0) return rc;
    const struct set_info *set = NULL;
    struct error none = ERROR_INIT;
    const bool named = !a.all && !a.class && a.surface_count == 1;
    if (named || a.point.kind != POINT_UNSAID) rc = set_find(w, text, &set, &none);
    if (rc == 0 && set) return choose_set(w, set, s, err);
    if (named && rc < 0) {
        *err = none;
        return rc;
    }
    rc = 0; /* no such set: the surfaces, each by itself */
    if (!a.all && !a.class) {
        for (size_t i = 0; i < a.surface_count && rc == 0; i++) {
            const struct snapshot_info *info;
            rc = work_point_of(w, a.environment, a.surfaces[i], &a.point, &info, err);
            if (rc == 0) rc = choose(s, info, err);
        }
        return rc;
    }
    const struct config *config;
    struct address_target t;
    if ((rc = work_need_config(w, &config, err)) < 0) return rc;
    if ((rc = address_resolve(config, &a, &t, err)) < 0) return rc;
    for (size_t i = 0; i < t.surface_count && rc == 0; i++) {
        const struct snapshot_info *info;
        rc = work_point_of(w, a.environment, t.surfaces[i]->head.name, &a.point, &info, err);
        if (rc == 0) rc = choose(s, info, err);
    }
    return rc;
}

static void gone_print(struct cli *c, const json_t *gone) {
    const json_t *g;
    size_t i;
    json_array_foreach(gone, i, g) {
        output_styled(c->output, STYLE_BAD, "MISSING  %s of the set %s: its recovery point %s was forgotten\n",
                      json_text(g, "surface", ""), json_text(g, "set", ""), json_text(g, "id", ""));
        if (output_is_json(c->output))
            output_event(c->output, "warning",
                         json_pack("{s:s, s:O, s:O, s:O}", "kind", "set_incomplete", "set", json_object_get(g, "set"),
                                   "surface", json_object_get(g, "surface"), "id", json_object_get(g, "id")));
    }
}

static int gone_error(const json_t *gone, struct error *err) {
    const json_t *g = json_array_get(gone, 0);
    error_set(err, ERR_VERIFY_FAILED, "the set %s is not whole: %s of %s was forgotten%s", json_text(g, "set", ""),
              json_text(g, "id", ""), json_text(g, "surface", ""), json_array_size(gone) > 1 ? ", and more" : "");
    return error_state(err, "what is left of it was checked by itself, and each recovery point has its result");
}

static void archived_print(struct cli *c, const struct verify_result *r) {
    char size[32];
    size_format(r->bytes_archived, size);
    if (r->packs_archived)
        output_styled(c->output, STYLE_WARN, "not read: %s (%s) that lie in an archive class of the bucket\n",
                      COUNTED(r->packs_archived, "pack"), size);
}

/* What others than this program said of a restored copy. */
static void checks_print(struct cli *c, const json_t *checks) {
    const json_t *one;
    size_t i;
    json_array_foreach(checks, i, one) {
        const char *result = json_text(one, "result", ""), *why = json_text(one, "why", "");
        const bool passed = !strcmp(result, "PASSED"), made = strcmp(result, "NOT_CHECKED") != 0;
        output_styled(c->output,
                      passed ? STYLE_GOOD
                      : made ? STYLE_BAD
                             : STYLE_WARN,
                      "%s", made ? result : "NOT CHECKED");
        output_print(c->output, "  %s@%s: %s%s%s%s%s\n", json_text(one, "surface", ""), json_text(one, "snapshot", ""),
                     json_text(one, "check", ""), made ? " of PostgreSQL " : "", json_text(one, "version", ""),
                     *why ? ": " : "", why);
    }
}

/* Nothing is damaged, and yet nothing can be vouched for. */
static int unread_error(const struct verify_result *r, struct error *err) {
    error_set(err, ERR_UNVERIFIABLE, "%s could not be read, as they lie in an archive class; %s got no result",
              COUNTED(r->packs_archived, "pack"), COUNTED(r->unread, "recovery point"));
    return error_next(err, "Look only whether they are there with --level present, or bring them back first: 'proofkeep "
                           "restore ADDRESS --dry-run' says what that takes.");
}

static int aside_error(const struct verify_result *r, struct error *err) {
    error_set(err, ERR_VERIFY_PARTIAL, "%s could not be verified: nothing is said of %s",
              COUNTED(json_array_size(r->unverified), "recovery point"),
              json_array_size(r->unverified) == 1 ? "it" : "them");
    return error_state(err, "%s checked, and each has its result", COUNTED(r->points, "other recovery point"));
}

/* A check that had a budget never says VERIFIED: it says what it saw, and how far that reaches. */
static int budget_print(struct cli *c, const struct verify_result *r, const json_t *gone, const char *level,
                        struct error *err) {
    char size[32], took[32], oldest[48] = "never", when[32] = "";
    double share = r->pack_bytes ? 100.0 * (double)r->bytes_covered / (double)r->pack_bytes : 100.0;
    size_format(r->bytes, size);
    duration_format(r->duration_ns, took);
    if (r->oldest_ns) {
        verb_age(r->oldest_ns, time_now_ns(), oldest);
        time_format(r->oldest_ns, when);
    }
    gone_print(c, gone);
    output_progress_end(c->output, "repository", r->passed ? STYLE_GOOD : STYLE_BAD,
                        "%s  level %s: %llu of %s, %s, in %s", r->passed ? "CHECKED" : "DAMAGED", level,
                        (unsigned long long)(r->packs - r->packs_left), COUNTED(r->packs, "pack"), size, took);
    output_print(c->output, "coverage at level %s: %.1f %% of the bytes within 30 d; the oldest check of a pack: %s\n",
                 level, share, oldest);
    archived_print(c, r);
    if (r->vouched)
        output_print(c->output, "%s checked in full within that time\n", COUNTED(r->vouched, "recovery point"));
    output_set_result(
        c->output, json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:s?, s:I}", "level",
                             level, "result",
                             !r->passed || json_array_size(gone) ? "FAILED"
                             : r->packs_left                     ? "INCOMPLETE"
                                                                 : "PASSED",
                             "snapshots", (json_int_t)r->points, "objects", (json_int_t)r->objects, "bytes",
                             (json_int_t)r->bytes, "findings", (json_int_t)r->findings, "packs", (json_int_t)r->packs,
                             "packs_left", (json_int_t)r->packs_left, "pack_bytes", (json_int_t)r->pack_bytes,
                             "bytes_left", (json_int_t)r->bytes_left, "bytes_covered", (json_int_t)r->bytes_covered,
                             "vouched", (json_int_t)r->vouched, "coverage", share / 100, "oldest", *when ? when : NULL,
                             "duration_ms", (json_int_t)(r->duration_ns / 1000000)));
    if (!r->passed) return error_set(err, ERR_VERIFY_FAILED, "%s", COUNTED(r->findings, "damaged object"));
    return json_array_size(gone) ? gone_error(gone, err) : 0;
}

int verb_run_verify(struct cli *c, struct error *err) {
    struct check_budget b = {.window_ns = VERIFY_WINDOW_NS};
    struct work *w = NULL;
    struct chosen s = {.gone = json_array()};
    struct verify_result r = {0};
    const char *name = options_text(c->options, OPT_LEVEL);
    enum verify_level level = name ? level_of(name) : VERIFY_DECODE;
    size_t n;
    const char *const *addresses = options_operands(c->options, &n);
    output_set_job(c->output, "verify");
    int rc = s.gone ? verb_budget(c, &b.ns, &b.bytes, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    bool budget = b.ns || b.bytes;
    if (rc == 0 && budget && (level < VERIFY_CHECKSUM || level > VERIFY_DECODE))
        rc = error_set(err, ERR_USAGE, "--budget is for --level checksum and --level decode");
    if (rc == 0) rc = verb_work(c, &w, err);
    if (rc == 0 && options_flag(c->options, OPT_ALL)) {
        rc = work_open_repo(w, NULL, err);
        for (size_t i = 0; rc == 0 && i < repo_snapshot_count(w->repo); i++)
            if (!repo_snapshot(w->repo, i)->forgotten) rc = choose(&s, repo_snapshot(w->repo, i), err);
        if (rc == 0 && s.n == 0) rc = error_set(err, ERR_NO_POINT, "the repository holds no recovery point");
    }
    for (size_t i = 0; i < n && rc == 0; i++) rc = choose_address(w, addresses[i], &s, err);
    const bool lacks = json_array_size(s.gone) > 0;
    if (rc == 0 && lacks && s.n == 0) {
        gone_print(c, s.gone);
        rc = gone_error(s.gone, err);
    } else if (rc == 0 && budget) {
        rc = verify_budget(w, s.list, s.n, level, &b, finding, c, &r, err);
        if (rc == 0) rc = budget_print(c, &r, s.gone, name ? name : "decode", err);
    } else if (rc == 0)
        rc = verify_snapshots(w, s.list, s.n, level, finding, c, &r, err);
    if (rc == 0 && !budget && r.differences) {
        char size[32], took[32], rate[40];
        const json_t *d;
        size_t i;
        const bool aside = r.unverified, whole = !r.findings && !json_array_size(r.differences);
        const bool undecided = !r.passed && whole && (r.packs_archived || aside);
        size_format(r.bytes, size);
        duration_format(r.duration_ns, took);
        verb_rate(r.bytes, r.duration_ns, rate);
        gone_print(c, s.gone);
        output_progress_end(c->output, "repository", r.passed && !lacks ? STYLE_GOOD : STYLE_BAD,
                            "%s  level %s: %s, %s, %s, in %s (%s)",
                            r.passed && lacks ? "INCOMPLETE"
                            : r.passed        ? "VERIFIED"
                            : undecided       ? aside ? "INCOMPLETE" : "NOT READ"
                                              : "DAMAGED",
                            name ? name : "decode", COUNTED(r.points, "recovery point"), COUNTED(r.objects, "object"),
                            size, took, rate);
        archived_print(c, &r);
        checks_print(c, r.checks);
        json_array_foreach(r.differences, i, d) output_print(
            c->output, "DIFFERS  %s: %s\n", json_string_value(json_object_get(d, "invariant")),
            json_string_value(json_object_get(d, "found")) ? json_string_value(json_object_get(d, "found"))
                                                           : "the restored copy does not match what was captured");
        output_set_result(c->output, json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:O, s:O*, s:O*, s:I}", "level",
                                               name ? name : "decode", "result",
                                               r.passed && !lacks    ? "PASSED"
                                               : undecided && !lacks ? "INCOMPLETE"
                                                                     : "FAILED",
                                               "snapshots", (json_int_t)r.points, "objects", (json_int_t)r.objects,
                                               "bytes", (json_int_t)r.bytes, "findings", (json_int_t)r.findings,
                                               "duration_ms", (json_int_t)(r.duration_ns / 1000000), "differences",
                                               r.differences, "unverified", r.unverified, "checks", r.checks,
                                               "checks_not_made", (json_int_t)r.checks_not_made));
        if (undecided && !lacks)
            rc = aside ? aside_error(&r, err) : unread_error(&r, err);
        else if (!r.passed && !undecided)
            rc = error_set(err, ERR_VERIFY_FAILED, "%s, %s", COUNTED(r.findings, "damaged object"),
                           COUNTED(json_array_size(r.differences), "differing invariant"));
        else if (lacks)
            rc = gone_error(s.gone, err);
    }
    json_decref(r.differences);
    json_decref(r.unverified);
    json_decref(r.checks);
    json_decref(s.gone);
    seam_free(s.list);
    work_close(w);
    return rc;
}
