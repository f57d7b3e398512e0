#include "cli/verb.h"

#include "base/seam.h"
#include "base/time.h"
#include "cli/listing.h"
#include "cli/prompt.h"
#include "work/counted.h"
#include "work/prune.h"

#include <stdio.h>

static const struct listing_column columns[] = {
    {"", false}, {"POINT", false}, {"TIME", false}, {"SIZE", true}, {"WHY", false}};
#define COLUMNS (sizeof columns / sizeof *columns)

static int point_row(struct listing *l, const struct prune_point *p, struct error *err) {
    static const char *const words[] = {"keep", "defer", "forget"};
    static const enum style styles[] = {STYLE_PLAIN, STYLE_WARN, STYLE_BAD};
    char when[32], size[32];
    time_format(p->time_ns, when);
    size_format(p->bytes, size);
    const char *cells[COLUMNS] = {words[p->verdict.decision], p->id, when, size, p->verdict.reason};
    int rc = listing_row(l, cells, err);
    if (rc == 0) listing_style(l, 0, styles[p->verdict.decision]);
    return rc;
}

static int surface_print(struct cli *c, const struct prune_plan *p, const struct prune_surface *s, struct error *err) {
    struct listing *l = NULL;
    output_styled(c->output, STYLE_BOLD, "%s/%s", p->environment, s->name);
    output_print(c->output, ": %zu stay, %zu go\n", s->plan.kept + s->plan.deferred, s->plan.forgotten);
    for (int i = 0; i < RETENTION_HOLD_COUNT; i++)
        if (s->plan.deferred && *s->plan.hold_text[i])
            output_styled(c->output, STYLE_WARN, "held: %s\n", s->plan.hold_text[i]);
    if (s->keeps) output_styled(c->output, STYLE_WARN, "keeps: %s\n", s->keeps_text);
    int rc = listing_new(columns, COLUMNS, &l, err);
    for (size_t i = 0; i < s->point_count && rc == 0; i++) rc = point_row(l, &s->points[i], err);
    if (rc == 0) listing_print(l, c->output);
    listing_free(l);
    return rc;
}

static int plan_print(struct cli *c, const struct prune_plan *p, struct error *err) {
    json_t *j = NULL;
    char size[32];
    int rc = 0;
    if (output_is_json(c->output)) {
        if ((rc = prune_plan_json(p, &j, err)) == 0) output_event(c->output, "plan", j);
        return rc;
    }
    for (size_t i = 0; i < p->count && rc == 0; i++) rc = surface_print(c, p, &p->list[i], err);
    if (rc < 0) return rc;
    size_format(p->forgotten_bytes, size);
    output_print(c->output, "plan %s: forget %s (%s before deduplication)", p->id,
                 COUNTED(p->forgotten, "recovery point"), size);
    size_format(p->unused_bytes, size);
    if (p->unused_known && p->unused_packs) output_print(c->output, "; %s are unused already", size);
    size_format(p->wal_bytes, size);
    if (p->wal_objects)
        output_print(c->output, "; remove %s of WAL (%s) that no backup needs", COUNTED(p->wal_objects, "file"), size);
    output_print(c->output, "\n");
    for (size_t i = 0; i < p->wal_count; i++)
        if (*p->wal[i].why)
            output_print(c->output, "WAL of the cluster %llu stays: %s\n", (unsigned long long)p->wal[i].system,
                         p->wal[i].why);
    return 0;
}

static int act(struct cli *c, struct work *w, const struct prune_plan *p, struct error *err) {
    struct buf typed = BUF_INIT(4096);
    struct prune_done d;
    const char *phrase;
    char freed[32], took[32];
    int rc = prompt_phrase(c, p->protected ? p->phrase : NULL, &typed, &phrase, err);
    if (rc == 0) rc = prune_run(w, p, phrase, &d, err);
    buf_free(&typed);
    if (rc < 0) return rc;
    size_format(d.freed_bytes, freed);
    duration_format(d.duration_ns, took);
    output_progress_end(c->output, "repository", STYLE_GOOD, "%zu forgotten, %s freed in %s", d.forgotten, freed, took);
    if (d.young_bytes) {
        size_format(d.young_bytes, freed);
        output_remark(c->output, "%s are unused but too young to be freed; --grace says how young.", freed);
    }
    if (d.locked) {
        char until[80] = "by a legal hold, or not to be erased by these credentials", time[32];
        size_format(d.locked_bytes, freed);
        if (d.locked_until_ns != INT64_MAX) {
            time_format(d.locked_until_ns, time);
            snprintf(until, sizeof until, "until %s", time);
        }
        output_remark(c->output, "%s (%s) locked %s; a later prune frees them.", COUNTED(d.locked, "unused object"),
                      freed, until);
    }
    output_set_result(c->output,
                      json_pack("{s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "plan", p->id,
                                "forgotten", (int)d.forgotten, "freed_packs", (json_int_t)d.freed_packs, "freed_bytes",
                                (json_int_t)d.freed_bytes, "repacked_packs", (json_int_t)d.repacked_packs,
                                "repacked_live_bytes", (json_int_t)d.repacked_live_bytes, "young_bytes",
                                (json_int_t)d.young_bytes, "locked_objects", (json_int_t)d.locked, "locked_bytes",
                                (json_int_t)d.locked_bytes, "wal_objects", (json_int_t)d.wal_objects, "wal_bytes",
                                (json_int_t)d.wal_bytes, "duration_ms", (json_int_t)(d.duration_ns / 1000000)));
    return 0;
}

static int plan_or_act(struct cli *c, struct work *w, const struct prune_plan *p, struct error *err) {
    int rc = plan_print(c, p, err);
    if (rc == 0) rc = prune_plan_check(p, err);
    if (rc < 0 || !options_flag(c->options, OPT_DRY_RUN)) return rc < 0 ? rc : act(c, w, p, err);
    if ((rc = prune_plan_store(w, p, err)) < 0) return rc;
    output_print(c->output, "nothing was removed; next: proofkeep prune --plan %s%s%s%s\n", p->id,
                 p->protected ? " --confirm '" : "", p->phrase, p->protected ? "'" : "");
    output_set_result(c->output, json_pack("{s:s, s:b, s:i}", "plan", p->id, "dry_run", 1, "forgotten", 0));
    return 0;
}

int verb_run_prune(struct cli *c, struct error *err) {
    CLEANUP(verb_work_close) struct work *w = NULL;
    const char *id = options_text(c->options, OPT_PLAN);
    struct prune_options o = {
        .collect_only = options_flag(c->options, OPT_COLLECT_ONLY),
        .grace_ns = options_duration(c->options, OPT_GRACE, PRUNE_GRACE_NS),
        .estimate = true,
    };
    struct prune_plan p = {0};
    struct selection s;
    output_set_job(c->output, "prune");
    if (id && (o.collect_only || options_given(c->options, OPT_GRACE) || options_flag(c->options, OPT_DRY_RUN)))
        return error_set(err, ERR_USAGE, "--plan carries out what was planned; it takes no other option of planning");
    int rc = id ? 0 : selection_parse(options_operand(c->options, 0), false, &s, err);
    if (rc == 0) rc = verb_work(c, &w, err);
    if (rc == 0) rc = id ? prune_plan_load(w, id, &p, err) : prune_plan_make(w, &s, &o, &p, err);
    if (rc == 0) rc = plan_or_act(c, w, &p, err);
    prune_plan_free(&p);
    return rc;
}
