#include "cli/verb.h"

#include "base/seam.h"
#include "work/counted.h"
#include "work/doctor.h"

struct doctor {
    struct cli *c;
    json_t *findings, *surfaces;
};

static json_t *text_json(const char *s) {
    return s ? json_name(BYTES_STR(s)) : json_null();
}

static int finding(void *ctx, const struct finding *f, struct error *err) {
    struct doctor *d = ctx;
    static const enum style styles[] = {STYLE_GOOD, STYLE_WARN, STYLE_BAD};
    output_styled(d->c->output, styles[f->level], "%-8s",
                  f->level == FINDING_FACT ? "ok" : finding_level_name(f->level));
    output_print(d->c->output, " %-13s  %s: %s", f->check, f->subject, f->text);
    if (f->code) output_print(d->c->output, " (%s)", f->code);
    output_print(d->c->output, "\n");
    if (f->next && f->level != FINDING_FACT) output_print(d->c->output, "                         next: %s\n", f->next);
    return json_push(d->findings,
                     json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "level", finding_level_name(f->level), "check",
                               f->check, "subject", text_json(f->subject), "code", text_json(f->code), "text",
                               text_json(f->text), "next", text_json(f->next)),
                     err);
}

static int facts(void *ctx, const char *environment, const char *surface, const json_t *facts, struct error *err) {
    struct doctor *d = ctx;
    return json_push(d->surfaces,
                     json_pack("{s:s, s:s, s:O}", "environment", environment, "surface", surface, "facts", facts), err);
}

int verb_run_doctor(struct cli *c, struct error *err) {
    CLEANUP(verb_work_close) struct work *w = NULL;
    json_auto_t *findings = json_array();
    json_auto_t *surfaces = json_array();
    struct doctor d = {c, findings, surfaces};
    struct selection s;
    struct doctor_totals t;
    if (!findings || !surfaces) return error_set(err, ERR_NO_MEMORY, "no memory for the findings");
    int rc = selection_parse(options_operand(c->options, 0), false, &s, err);
    if (rc == 0) rc = verb_work(c, &w, err);
    if (rc == 0) rc = work_doctor(w, &s, finding, facts, &d, &t, err);
    if (rc < 0) return rc;
    output_print(c->output, "%s, %s\n", COUNTED(t.problems, "problem"), COUNTED(t.warnings, "warning"));
    output_document(c->output,
                    json_pack("{s:b, s:i, s:i, s:O, s:O}", "ok", t.problems == 0, "problems", (int)t.problems,
                              "warnings", (int)t.warnings, "findings", findings, "surfaces", surfaces));
    if (t.problems == 0) return 0;
    return error_set(err, ERR_DOCTOR, "%u problem%s found", t.problems, t.problems == 1 ? " was" : "s were");
}
