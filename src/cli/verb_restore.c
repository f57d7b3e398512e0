#include "cli/verb_restore.h"

#include "base/time.h"
#include "cli/prompt.h"
#include "cli/verb.h"
#include "work/counted.h"
#include "work/restore.h"

#include <stdio.h>

static const char *text(const json_t *j, const char *key) {
    const char *s = json_string_value(json_object_get(j, key));
    return s ? s : "-";
}

static void warnings_print(struct cli *c, const json_t *list) {
    const json_t *one;
    size_t i;
    json_array_foreach(list, i, one)
        output_styled(c->output, STYLE_WARN, "  warning   %s\n", json_string_value(one) ? json_string_value(one) : "-");
}

static void plan_print(struct cli *c, const struct restore_plan *p) {
    const json_t *d = p->doc, *t = json_object_get(d, "target"), *step;
    char size[32], loss[32], estimate[64] = "unknown: no restore of this surface is on record yet";
    size_t i;
    size_format((uint64_t)json_integer_value(json_object_get(d, "bytes")), size);
    duration_format(json_integer_value(json_object_get(d, "loss_seconds")) * NS_PER_S, loss);
    if (json_is_integer(json_object_get(d, "estimated_seconds")))
        duration_format(json_integer_value(json_object_get(d, "estimated_seconds")) * NS_PER_S, estimate);
    output_styled(c->output, STYLE_BOLD, "Plan %s\n", p->id);
    output_print(c->output, "  restore   %s  from %s\n", p->label, p->snapshot_id);
    output_print(c->output, "  point     %s\n", text(d, "point"));
    output_print(c->output, "  you lose  everything written since: %s\n", loss);
    output_print(c->output, "  size      %s in %lld items\n", size,
                 (long long)json_integer_value(json_object_get(d, "items")));
    output_print(c->output, "  target    %s\n",
                 json_string_value(json_object_get(t, "target")) ? text(t, "target") : text(d, "into"));
    output_print(c->output, "  time      %s\n", estimate);
    json_array_foreach(json_object_get(t, "steps"), i, step)
        output_print(c->output, "  step %zu    %s\n", i + 1, json_string_value(step) ? json_string_value(step) : "-");
    warnings_print(c, json_object_get(d, "warnings"));
    warnings_print(c, json_object_get(t, "warnings"));
    if (!output_is_json(c->output)) return;
    json_t *copy = json_deep_copy(p->doc); /* the event has a sequence number of its own */
    if (copy) {
        json_object_set(copy, "log_seq", json_object_get(copy, "seq"));
        json_object_del(copy, "seq");
    }
    output_event(c->output, "plan", copy);
}

/* The phrase by option, or typed by a person. */
static int confirm_get(struct cli *c, const struct restore_plan *p, struct buf *typed, const char **ret,
                       struct error *err) {
    *ret = options_text(c->options, OPT_CONFIRM);
    if (*ret || !p->protected) return 0;
    char question[700];
    snprintf(question, sizeof question, "This environment is protected. Type '%s' to go on", p->phrase);
    char instead[600];
    snprintf(instead, sizeof instead, "--confirm '%s'", p->phrase);
    struct prompt q = {question, instead, ERR_CONFIRM};
    int rc = prompt_line(c, &q, typed, err);
    if (rc == 0) *ret = (const char *)typed->ptr;
    return rc;
}

static int run(struct cli *c, struct work *w, const struct restore_plan *p, struct error *err) {
    struct buf typed = BUF_INIT(4096);
    const char *confirm = NULL;
    struct restore_done done = {0};
    char took[32], size[32], rate[40];
    int rc = confirm_get(c, p, &typed, &confirm, err);
    if (rc == 0) rc = restore_run(w, p, confirm, &done, err);
    buf_free(&typed);
    if (rc < 0) {
        if (err->code != ERR_CONFIRM) output_progress_end(c->output, p->label, STYLE_BAD, "FAILED");
        json_decref(done.facts);
        return rc;
    }
    duration_format(done.duration_ns, took);
    size_format(done.bytes, size);
    verb_rate(done.bytes, done.duration_ns, rate);
    output_progress_end(c->output, p->label, STYLE_GOOD, "RESTORED  to %s: %s, %s, in %s (%s)", done.target,
                        COUNTED(done.items, "item"), size, took, rate);
    output_set_result(c->output,
                      json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:o}", "plan", p->id, "snapshot", p->snapshot_id,
                                "target", done.target, "items", (json_int_t)done.items, "bytes", (json_int_t)done.bytes,
                                "duration_ms", (json_int_t)(done.duration_ns / 1000000), "facts",
                                done.facts ? done.facts : json_object()));
    return 0;
}

int verb_run_restore(struct cli *c, struct error *err) {
    struct work *w = NULL;
    struct restore_plan p = {0};
    const char *plan = options_text(c->options, OPT_PLAN);
    size_t n;
    struct restore_options o = {.into = options_text(c->options, OPT_INTO),
                                .paths = options_list(c->options, OPT_PATH, &n),
                                .in_place = options_flag(c->options, OPT_IN_PLACE),
                                .swap = options_flag(c->options, OPT_SWAP),
                                .terminate_connections = options_flag(c->options, OPT_TERMINATE),
                                .no_owner = options_flag(c->options, OPT_NO_OWNER)};
    bool dry = options_flag(c->options, OPT_DRY_RUN);
    if (verb_restore_is_rows(c)) return verb_restore_rows(c, err);
    output_set_job(c->output, "restore");
    int rc = verb_work(c, &w, err);
    if (rc == 0)
        rc = plan ? restore_plan_load(w, plan, &p, err)
                  : restore_plan_make(w, options_operand(c->options, 0), &o, &p, err);
    if (rc < 0) goto out;
    plan_print(c, &p);
    if (dry || (!plan && (p.protected || !p.fresh))) {
        output_set_result(c->output, json_pack("{s:s}", "plan", p.id));
        output_print(c->output, "\nTo carry it out:\n  proofkeep restore --plan %s", p.id);
        if (p.protected) output_print(c->output, " --confirm '%s'", p.phrase);
        output_print(c->output, "\n");
        if (!dry)
            rc = error_set(err, p.protected ? ERR_CONFIRM : ERR_TARGET_NOT_EMPTY,
                           "%s, so the plan %s must be carried out by name",
                           p.protected ? "the environment is protected" : "the target is not new and empty", p.id);
    } else
        rc = run(c, w, &p, err);
out:
    restore_plan_free(&p);
    work_close(w);
    return rc;
}
