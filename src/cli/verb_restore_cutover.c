#include "cli/verb_restore.h"

#include "base/seam.h"
#include "base/time.h"
#include "cli/prompt.h"
#include "cli/verb.h"
#include "work/cutover.h"

#include <stdio.h>
#include <stdlib.h>

#define CHECKS_DETAIL "checks"

bool verb_restore_is_cutover(struct cli *c) {
    const char *plan = options_text(c->options, OPT_PLAN);
    return options_flag(c->options, OPT_CUTOVER) || (plan && cutover_plan_is(plan));
}

/* ---- the plan ---- */

static bool is_rehearsal(const struct cutover_plan *p) {
    return json_is_true(json_object_get(p->doc, "rehearsal"));
}

static void plan_print(struct cli *c, const struct cutover_plan *p) {
    const json_t *d = p->doc, *copy = json_object_get(d, "restore"), *s;
    const json_t *seconds = json_object_get(copy, "loss_seconds"), *all = json_object_get(d, "estimated_seconds");
    char loss[32] = "everything written after it", took[32];
    size_t i;
    output_styled(c->output, STYLE_BOLD, "Plan %s\n", p->id);
    output_print(c->output,
                 is_rehearsal(p) ? "  rehearse  the restore of %s from %s\n"
                                 : "  switch    %s over to what is restored from %s\n",
                 p->label, p->snapshot_id);
    output_print(c->output, "  point     %s\n",
                 !json_is_true(json_object_get(d, "latest")) ? json_text(copy, "point", "-")
                 : is_rehearsal(p)                           ? "the last that is stored"
                                                             : "the last that is written before the freeze");
    if (json_is_integer(seconds)) duration_format(json_integer_value(seconds) * NS_PER_S, loss);
    if (!json_is_true(json_object_get(d, "latest")) && !is_rehearsal(p))
        output_print(c->output, "  you lose  what was written since: %s\n", loss);
    output_print(c->output, "  target    %s\n", json_text(d, "folder", "-"));
    output_print(c->output, "  freeze    %s\n", json_text(d, "freeze", "-"));
    if (json_is_number(all)) {
        duration_format((int64_t)(json_number_value(all) * 1e9), took);
        output_print(c->output, "  time      about %s\n", took);
    } else
        output_print(c->output, "  time      unknown: not every step was taken for this surface before\n");
    json_array_foreach(json_object_get(d, "steps"), i, s) {
        const json_t *e = json_object_get(s, "estimated_seconds");
        snprintf(took, sizeof took, "time unknown");
        if (json_is_number(e)) {
            char one[32];
            duration_format((int64_t)(json_number_value(e) * 1e9), one);
            snprintf(took, sizeof took, "about %.20s", one);
        }
        output_print(c->output, "  step %-2zu   %-9s %s (%s)\n", i + 1, json_text(s, "name", "-"),
                     json_text(s, "text", "-"), took);
    }
    const json_t *lists[] = {json_object_get(d, "warnings"), json_object_get(copy, "warnings")};
    for (size_t l = 0; l < 2; l++)
        json_array_foreach(lists[l], i, s)
            output_styled(c->output, STYLE_WARN, "  warning   %s\n", json_string_value(s) ? json_string_value(s) : "-");
    verb_restore_plan_event(c, d);
}

/* ---- steps as they are taken ---- */

static void checks_print(struct cli *c, const json_t *list) {
    const json_t *one;
    size_t i;
    json_array_foreach(list, i, one) {
        const char *result = json_text(one, "result", "-");
        enum style style = !strcmp(result, "passed") ? STYLE_GOOD : !strcmp(result, "failed") ? STYLE_BAD : STYLE_WARN;
        output_styled(c->output, style, "    %-11s %s: %s\n", !strcmp(result, "not_checked") ? "not checked" : result,
                      json_text(one, "name", "-"), json_text(one, "detail", "-"));
    }
}

static void on_step(void *ctx, const char *name, const char *state, int64_t ms, const json_t *detail) {
    struct cli *c = ctx;
    char took[32];
    if (ms < 0) {
        output_event(c->output, "step", json_pack("{s:s, s:s}", "name", name, "state", state));
        output_detail(c->output, "step %s begins", name);
        return;
    }
    output_event(
        c->output, "step",
        json_pack("{s:s, s:s, s:I, s:O?}", "name", name, "state", state, "ms", (json_int_t)ms, "detail", detail));
    duration_format(ms * 1000000, took);
    output_styled(c->output, !strcmp(state, "done") ? STYLE_GOOD : STYLE_BAD, "  %-9s %-6s in %s\n", name, state, took);
    checks_print(c, json_object_get(detail, CHECKS_DETAIL));
    if (json_object_get(detail, "warning")) output_warning(c->output, NULL, "%s", json_text(detail, "warning", "-"));
}

static void result(struct cli *c, const struct cutover_plan *p, struct cutover_done *d) {
    output_set_result(c->output,
                      json_pack("{s:s, s:s, s:s, s:b, s:O?, s:O?}", "plan", p->id, "snapshot", p->snapshot_id, "target",
                                d->folder, "already", d->already, "steps", d->steps, "connection", d->connection));
}

static int run(struct cli *c, struct work *w, const struct cutover_plan *p, struct error *err) {
    CLEANUP(buf_free) struct buf typed = BUF_INIT(4096);
    const struct cutover_events events = {c, on_step};
    struct cutover_done d = {0};
    const char *confirm = NULL;
    int rc = prompt_phrase(c, p->protected ? p->phrase : NULL, &typed, &confirm, err);
    if (rc == 0) rc = cutover_run(w, p, confirm, &events, &d, err);
    if (d.steps) result(c, p, &d);
    if (rc == 0 && d.already)
        output_print(c->output, "%s was carried out before: nothing was done.\n", p->id);
    else if (rc == 0 && is_rehearsal(p))
        output_styled(c->output, STYLE_GOOD,
                      "%s has been restored into %s, started and checked; it is stopped again.\n", p->label, d.folder);
    else if (rc == 0)
        output_styled(c->output, STYLE_GOOD, "%s has been switched over to %s (host %s, port %lld).\n", p->label,
                      d.folder, json_text(d.connection, "host", "-"),
                      (long long)json_integer_value(json_object_get(d.connection, "port")));
    cutover_done_free(&d);
    return rc;
}

static int undo(struct cli *c, struct work *w, const struct cutover_plan *p, struct error *err) {
    const struct cutover_events events = {c, on_step};
    struct cutover_done d = {0};
    int rc = cutover_abort(w, p, options_text(c->options, OPT_CONFIRM), &events, &d, err);
    if (d.steps) result(c, p, &d);
    if (rc == 0)
        output_print(c->output,
                     d.already ? "Nothing of %s was left to be undone.\n"
                               : "%s was undone: the old server takes writes as before.\n",
                     p->id);
    cutover_done_free(&d);
    return rc;
}

/* ---- the request ---- */

static bool any_given(struct cli *c) {
    static const enum option_id own[] = {OPT_REHEARSE, OPT_PORT,    OPT_FREEZE, OPT_WAIT,
                                         OPT_WATCH,    OPT_AMCHECK, OPT_ACCEPT};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (options_given(c->options, own[i])) return true;
    return false;
}

int verb_restore_no_cutover(struct cli *c, struct error *err) {
    return any_given(c)
               ? error_set(err, ERR_USAGE,
                           "--rehearse, --port, --freeze, --wait, --watch, --amcheck and --accept are of --cutover, "
                           "which is not given")
               : 0;
}

static int options_read(struct cli *c, struct cutover_options *o, struct error *err) {
    const char *amcheck = options_text(c->options, OPT_AMCHECK), *freeze = options_text(c->options, OPT_FREEZE),
               *port = options_text(c->options, OPT_PORT);
    char *end = NULL;
    size_t n;
    *o = (struct cutover_options){.restore = verb_restore_options(c),
                                  .port = port ? (unsigned)strtoul(port, &end, 10) : 0,
                                  .rehearse = options_flag(c->options, OPT_REHEARSE),
                                  .no_freeze = freeze && !strcmp(freeze, "none"),
                                  .terminate = options_flag(c->options, OPT_TERMINATE),
                                  .wait_ns = options_duration(c->options, OPT_WAIT, CUTOVER_WAIT_NS),
                                  .watch_ns = options_duration(c->options, OPT_WATCH, 0),
                                  .amcheck = !amcheck || !strcmp(amcheck, "installed") ? CUTOVER_AMCHECK_INSTALLED
                                             : !strcmp(amcheck, "install")             ? CUTOVER_AMCHECK_INSTALL
                                                                                       : CUTOVER_AMCHECK_NONE,
                                  .accept = options_list(c->options, OPT_ACCEPT, &n)};
    o->restore.terminate_connections = false; /* they are the freeze's to end */
    if (options_given(c->options, OPT_PLAN) && any_given(c))
        return error_set(err, ERR_USAGE, "the plan says how; make another one with other options");
    if (options_given(c->options, OPT_ROWS))
        return error_set(err, ERR_USAGE, "--rows brings single rows back, and --cutover a whole server; choose one");
    if (port && (*end || *port == '-' || o->port < 1 || o->port > 65535))
        return error_set(err, ERR_USAGE, "--port wants a number from 1 to 65535, not '%.40s'", port);
    return 0;
}

int verb_restore_cutover(struct cli *c, struct error *err) {
    struct work *w = NULL;
    struct cutover_plan p = {0};
    struct cutover_options o;
    const char *plan = options_text(c->options, OPT_PLAN);
    const bool dry = options_flag(c->options, OPT_DRY_RUN), aborting = options_flag(c->options, OPT_ABORT);
    output_set_job(c->output, "restore");
    int rc = options_read(c, &o, err);
    if (rc == 0 && aborting && !plan) rc = error_set(err, ERR_USAGE, "--abort undoes a plan; name it with --plan");
    if (rc == 0) rc = verb_work_reading(c, &w, err);
    if (rc == 0)
        rc = plan ? cutover_plan_load(w, plan, &p, err)
                  : cutover_plan_make(w, options_operand(c->options, 0), &o, &p, err);
    if (rc < 0) goto out;
    if (aborting) {
        rc = undo(c, w, &p, err);
        goto out;
    }
    if (dry || !plan) {
        plan_print(c, &p);
        output_set_result(c->output, json_pack("{s:s}", "plan", p.id));
    }
    if (dry || (!plan && !is_rehearsal(&p))) {
        output_print(c->output,
                     "\nTo carry it out, or to go on with it when it was interrupted:\n  proofkeep restore --plan %s",
                     p.id);
        if (p.protected) output_print(c->output, " --confirm '%s'", p.phrase);
        output_print(c->output, "\nTo undo it, while it has not switched:\n  proofkeep restore --plan %s --abort\n",
                     p.id);
    }
    /* It takes the place of something live, so looking at the plan comes before acting on it. */
    if (!dry && !plan && !is_rehearsal(&p))
        rc = error_set(err, p.protected ? ERR_CONFIRM : ERR_CUTOVER_PLAN,
                       "it takes the place of the live server, so the plan %s must be carried out by name", p.id);
    else if (!dry)
        rc = run(c, w, &p, err);
out:
    cutover_plan_free(&p);
    work_close(w);
    return rc;
}
