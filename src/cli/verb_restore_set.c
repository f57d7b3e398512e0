#include "base/time.h"
#include "cli/prompt.h"
#include "cli/verb.h"
#include "cli/verb_restore.h"
#include "work/counted.h"
#include "work/set_restore.h"

#include <stdio.h>

static void lines(struct cli *c, enum style style, const char *what, const json_t *list) {
    const json_t *one;
    size_t i;
    json_array_foreach(list, i, one)
        output_styled(c->output, style, "    %s%s\n", what, json_string_value(one) ? json_string_value(one) : "");
}

static void plan_print(struct cli *c, const struct set_plan *p) {
    const json_t *d = p->doc, *m, *name;
    char loss[32], size[32], took[64] = "unknown: no restore of this set is on record yet";
    size_t i, k;
    size_format((uint64_t)json_integer_value(json_object_get(d, "bytes")), size);
    duration_format(json_integer_value(json_object_get(d, "loss_seconds")) * NS_PER_S, loss);
    if (json_is_integer(json_object_get(d, "estimated_seconds")))
        duration_format(json_integer_value(json_object_get(d, "estimated_seconds")) * NS_PER_S, took);
    output_styled(c->output, STYLE_BOLD, "Plan %s\n", p->id);
    output_print(c->output, "  restore   %s  from %s\n", p->label, p->set_id);
    output_print(c->output, "  point     %s, %s\n", json_text(d, "point", ""), json_text(d, "consistency", ""));
    output_print(c->output, "  you lose  everything written since: %s\n", loss);
    output_print(c->output, "  size      %s in %s\n", size,
                 COUNTED(json_array_size(json_object_get(d, "members")), "surface"));
    output_print(c->output, "  time      %s\n", took);
    json_array_foreach(json_object_get(d, "members"), i, m) {
        output_print(c->output, "  %zu. %s from %s to %s%s", i + 1, json_text(m, "surface", ""),
                     json_text(m, "backup_id", ""), *json_text(m, "target", "") ? json_text(m, "target", "") : "-",
                     json_is_true(json_object_get(m, "swap"))       ? ", swapped in"
                     : json_is_true(json_object_get(m, "in_place")) ? ", in place"
                                                                    : "");
        json_array_foreach(json_object_get(m, "depends_on"), k, name) output_print(
            c->output, "%s%s", k ? ", " : "; after ", json_string_value(name) ? json_string_value(name) : "");
        output_print(c->output, "\n");
        char label[260];
        snprintf(label, sizeof label, "%.120s/%.130s", json_text(d, "environment", ""), json_text(m, "surface", ""));
        verb_restore_first_print(c, m, label, "    first: ");
        lines(c, STYLE_PLAIN, "", json_object_get(m, "steps"));
        lines(c, STYLE_WARN, "warning: ", json_object_get(m, "warnings"));
    }
    output_print(c->output, "  then      compare what was restored, start services, ask for health, run the checks\n");
    lines(c, STYLE_WARN, "warning: ", json_object_get(d, "warnings"));
    verb_restore_plan_event(c, p->doc);
}

struct watch {
    struct cli *c;
    const struct set_plan *plan;
    json_t *members, *checks;
};

static void on_member(void *ctx, const struct set_restored *m) {
    struct watch *w = ctx;
    char label[260], took[32], size[32];
    snprintf(label, sizeof label, "%.120s/%.130s", json_text(w->plan->doc, "environment", ""), m->surface);
    duration_format(m->duration_ns, took);
    size_format(m->bytes, size);
    if (m->step == SET_RESTORED)
        output_progress_end(w->c->output, label, STYLE_GOOD, "RESTORED  to %s: %s, %s, in %s", m->target,
                            COUNTED(m->items, "item"), size, took);
    else if (m->step == SET_ALREADY)
        output_progress_end(w->c->output, label, STYLE_GOOD, "ALREADY RESTORED  to %s by an earlier run of this plan",
                            m->target);
    else
        output_progress_end(w->c->output, label, STYLE_BAD, "%s  %s", m->step == SET_FAILED ? "FAILED" : "NOT BEGUN",
                            m->why.text);
    if (*m->before) output_print(w->c->output, "  what was there before is %s@%s\n", label, m->before);
    json_t *row = json_pack("{s:s, s:s, s:s?, s:o, s:I, s:I, s:I}", "surface", m->surface, "result",
                            set_step_name(m->step), "before", *m->before ? m->before : NULL, "target",
                            json_name(BYTES_STR(m->target)), "items", (json_int_t)m->items, "bytes",
                            (json_int_t)m->bytes, "duration_ms", (json_int_t)(m->duration_ns / 1000000));
    json_t *event = json_copy(row);
    if (event) json_object_set_new(event, "surface", json_string(label));
    output_event(w->c->output, "member", event);
    json_array_append_new(w->members, row);
}

static void on_check(void *ctx, const struct set_check_done *d) {
    struct watch *w = ctx;
    char took[32];
    const bool passed = d->result == CHECK_VERIFIED, made = d->result != CHECK_NOT_CHECKED;
    const char *word = passed ? "PASSED" : made ? "FAILED" : "NOT CHECKED";
    duration_format(d->duration_ns, took);
    output_styled(w->c->output, passed ? STYLE_GOOD : made ? STYLE_BAD : STYLE_WARN, "%s", word);
    output_print(w->c->output, "  %s%s%s%s%s, in %s%s%s\n", d->surface, *d->surface ? ": " : "", d->name,
                 *d->how ? ", " : "", d->how, took, d->why.code ? ": " : "", d->why.text);
    json_array_append_new(w->checks,
                          json_pack("{s:s, s:s, s:s, s:s, s:I}", "check", d->name, "surface", d->surface, "result",
                                    passed ? "PASSED"
                                    : made ? "FAILED"
                                           : "NOT_CHECKED",
                                    "how", d->how, "duration_ms", (json_int_t)(d->duration_ns / 1000000)));
}

static int run(struct cli *c, struct work *w, const struct set_plan *p, struct error *err) {
    struct buf typed = BUF_INIT(4096);
    struct watch watch = {c, p, json_array(), json_array()};
    const struct set_restore_watch on = {&watch, on_member, on_check};
    struct set_restore_done d = {0};
    const char *confirm = NULL;
    char took[32];
    int rc = prompt_phrase(c, p->protected ? p->phrase : NULL, &typed, &confirm, err);
    if (rc == 0) rc = set_restore_run(w, p, confirm, &on, &d, err);
    buf_free(&typed);
    duration_format(d.took_ns, took);
    if (rc == 0) {
        output_styled(c->output, STYLE_GOOD, "RESTORED");
        output_print(c->output, "  %s: %s, %s passed", p->label, COUNTED(d.restored + d.already, "surface"),
                     COUNTED(d.checks, "check"));
        if (d.checks_not_made) output_print(c->output, ", %u could not be made", d.checks_not_made);
        output_print(c->output, ", in %s\n", took);
    }
    output_set_result(
        c->output, json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:O, s:O}", "plan", p->id,
                             "set_id", p->set_id, "restored", (json_int_t)d.restored, "already", (json_int_t)d.already,
                             "failed", (json_int_t)d.failed, "not_begun", (json_int_t)d.not_begun, "checks_failed",
                             (json_int_t)d.checks_failed, "checks_not_made", (json_int_t)d.checks_not_made, "bytes",
                             (json_int_t)d.bytes, "duration_ms", (json_int_t)(d.duration_ns / 1000000), "took_ms",
                             (json_int_t)(d.took_ns / 1000000), "seq", (json_int_t)d.seq, "members", watch.members,
                             "checks_run", watch.checks));
    json_decref(watch.members);
    json_decref(watch.checks);
    return rc;
}

int verb_restore_set(struct cli *c, struct work *w, const struct set_info *s, struct error *err) {
    struct set_plan p = {0};
    const char *plan = options_text(c->options, OPT_PLAN);
    const struct set_restore_options o = {.into = options_text(c->options, OPT_INTO),
                                          .replace = options_flag(c->options, OPT_IN_PLACE) ||
                                                     options_flag(c->options, OPT_SWAP),
                                          .terminate_connections = options_flag(c->options, OPT_TERMINATE),
                                          .no_owner = options_flag(c->options, OPT_NO_OWNER),
                                          .no_backup_first = options_flag(c->options, OPT_NO_BACKUP_FIRST)};
    static const enum option_id of_one[] = {
        OPT_PATH,       OPT_DELTA,       OPT_TABLESPACE,      OPT_TARGET,        OPT_TARGET_TIME,      OPT_TARGET_LSN,
        OPT_TARGET_XID, OPT_TARGET_NAME, OPT_TARGET_TIMELINE, OPT_TARGET_ACTION, OPT_TARGET_EXCLUSIVE, OPT_STANDBY,
        OPT_THAW};
    for (size_t i = 0; s && i < sizeof of_one / sizeof *of_one; i++)
        if (options_given(c->options, of_one[i]))
            return error_set(err, ERR_USAGE, "--%s is of one surface; restore that one by itself",
                             option_table[of_one[i]].name);
    int rc = s ? set_plan_make(w, s, &o, &p, err) : set_plan_load(w, plan, &p, err);
    if (rc < 0) return rc;
    p.no_backup_first = o.no_backup_first;
    plan_print(c, &p);
    const bool dry = options_flag(c->options, OPT_DRY_RUN);
    if (dry || (s && (p.protected || !p.fresh))) {
        output_set_result(c->output, json_pack("{s:s}", "plan", p.id));
        output_print(c->output, "\nTo carry it out:\n  proofkeep restore --plan %s", p.id);
        if (p.protected) output_print(c->output, " --confirm '%s'", p.phrase);
        output_print(c->output, "\n");
        if (!dry)
            rc = verb_restore_by_name(p.protected ? p.phrase : NULL, "not every target is new and empty", p.id, err);
    } else
        rc = run(c, w, &p, err);
    set_plan_free(&p);
    return rc;
}

static void on_undone(void *ctx, const struct set_restored *m) {
    struct watch *w = ctx;
    static const char *const words[] = {"", "STAYS", "FAILED", "NOT RESTORED"};
    output_styled(w->c->output, m->step == SET_FAILED ? STYLE_BAD : STYLE_PLAIN, "%s", words[m->step]);
    output_print(w->c->output, "  %s  %s%s%s\n", m->surface, m->target, m->why.code ? ": " : "", m->why.text);
    json_array_append_new(w->members, json_pack("{s:s, s:s, s:o}", "surface", m->surface, "result",
                                                set_step_name(m->step), "target", json_name(BYTES_STR(m->target))));
}

int verb_restore_set_abort(struct cli *c, struct work *w, const char *plan, struct error *err) {
    struct watch watch = {.c = c, .members = json_array()};
    const struct set_restore_watch on = {.ctx = &watch, .member = on_undone};
    unsigned undone = 0;
    int rc = set_restore_abort(w, plan, &on, &undone, err);
    if (rc == 0)
        output_print(c->output,
                     undone ? "%s: what a killed run had left was undone.\n" : "%s: nothing was left to be undone.\n",
                     plan);
    output_set_result(
        c->output, json_pack("{s:s, s:I, s:O}", "plan", plan, "undone", (json_int_t)undone, "members", watch.members));
    json_decref(watch.members);
    return rc;
}
