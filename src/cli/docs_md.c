#include "cli/docs.h"
#include "work/metrics.h"

#define MADE "<!-- Made by proofkeep-docgen from %s; do not edit. -->\n"

/* Cells of a table may hold no bar. */
static int md_cell(const char *text, struct buf *out, struct error *err) {
    int r = buf_append_str(out, " ", err);
    for (; *text && r == 0; text++) r = *text == '|' ? buf_append_str(out, "\\|", err) : buf_append(out, text, 1, err);
    return r == 0 ? buf_append_str(out, " |", err) : r;
}

static int md_option(enum option_id id, enum verb_id verb, struct buf *out, struct error *err) {
    size_t begin = out->len;
    char head[128];
    int r = docs_option_head(id, out, err);
    if (r < 0) return r;
    size_t len = out->len - begin < sizeof head - 1 ? out->len - begin : sizeof head - 1;
    memcpy(head, out->ptr + begin, len);
    head[len] = 0;
    out->len = begin;
    r = buf_append_str(out, "| `", err);
    for (const char *c = head; *c && r == 0; c++)
        r = *c == '|' ? buf_append_str(out, "\\|", err) : buf_append(out, c, 1, err);
    if (r == 0) r = buf_append_str(out, "` |", err);
    if (r == 0) r = md_cell(option_text(id, verb), out, err);
    return r == 0 ? buf_append_str(out, "\n", err) : r;
}

static int md_options(enum verb_id verb, bool global, struct buf *out, struct error *err) {
    bool begun = false;
    int r = 0;
    for (int i = 0; i < OPT_COUNT && r == 0; i++) {
        enum option_id id = (enum option_id)i;
        if (option_is_global(id) != global || (verb != VERB_NONE && !option_applies(id, verb))) continue;
        if (!begun) r = buf_append_str(out, "\n| option | meaning |\n|---|---|\n", err);
        begun = true;
        if (r == 0) r = md_option(id, verb, out, err);
    }
    return r;
}

static int md_verb(enum verb_id verb, struct buf *out, struct error *err) {
    const struct verb_info *v = &verb_table[verb];
    const char *forms = v->operands, *form;
    size_t len;
    int r = buf_printf(out, err, "\n## %s\n\n%c%s. %s\n\n```\n", v->name, v->summary[0] - 'a' + 'A', v->summary + 1,
                       v->description);
    while (r == 0 && words_next(&forms, '\n', &form, &len))
        r = buf_printf(out, err, "proofkeep %s %.*s\n", v->name, (int)len, form);
    if (r == 0) r = buf_append_str(out, "```\n", err);
    if (r == 0 && verb_has_actions(verb)) r = buf_append_str(out, "\n| action | meaning |\n|---|---|\n", err);
    for (const struct action_info *a = action_table; a->name && r == 0; a++)
        if (a->verb == verb)
            r = buf_printf(out, err, "| `%s%s%s` | %s |\n", a->name, *a->operands ? " " : "", a->operands, a->summary);
    if (r == 0) r = md_options(verb, false, out, err);
    for (const struct example_info *e = example_table; e->command && r == 0; e++)
        if (e->verb == verb) r = buf_printf(out, err, "\n%s\n\n```\n%s\n```\n", e->text, e->command);
    return r;
}

int docs_cli_md(struct buf *out, struct error *err) {
    int r = buf_printf(out, err, MADE, "src/cli/options_table.def");
    if (r == 0)
        r = buf_append_str(
            out,
            "# Command line\n\n"
            "`proofkeep [options] VERB ...`\n\n"
            "Addresses are `ENV/SURFACE` or `ENV/SURFACE@POINT`; a point is `latest`, the id of a backup, or a time "
            "in\n"
            "RFC 3339. Options may stand before or after the verb, are never abbreviated, and take values as `--option "
            "value`\n"
            "or `--option=value`; `--` ends them. Data goes to standard output, remarks and errors to standard error.\n"
            "[Exit statuses](exit-status.md) and [error codes](errors.md) are stable.\n\n"
            "With `--json` queries print one document, and jobs one event a line: "
            "`{\"v\":1,\"seq\":7,\"t\":\"...\",\"type\":\"...\"}`\n"
            "with the types `plan`, `phase`, `progress`, `warning`, `receipt`, `mounted` and `result`. The last line of a job, "
            "and of\n"
            "anything that fails, is the `result` with the exit status. Types that a reader does not know are to be "
            "ignored.\n\n"
            "## Options of every verb\n",
            err);
    if (r == 0) r = md_options(VERB_NONE, true, out, err);
    for (int i = 0; i < VERB_COUNT && r == 0; i++) r = md_verb((enum verb_id)i, out, err);
    return r;
}

int docs_errors_md(struct buf *out, struct error *err) {
    int r = buf_printf(out, err, MADE, "src/base/error_table.def");
    if (r == 0)
        r = buf_append_str(out,
                           "# Error codes\n\n"
                           "Codes never change their meaning. `proofkeep help CODE` prints the same without a network. "
                           "[Exit statuses](exit-status.md) are explained on their own page.\n",
                           err);
    for (int i = 1; i < ERR_COUNT && r == 0; i++) {
        const struct error_info *info = error_info(i);
        r = buf_printf(out, err, "\n### %s\n\n%s\n\n- Next: %s\n- Exit status: %d\n- Name: `%s`\n", info->code,
                       info->what, info->next, (int)info->status, info->name);
    }
    return r;
}

int docs_exit_md(struct buf *out, struct error *err) {
    int r = buf_printf(out, err, MADE, "src/base/exit_table.def");
    if (r == 0)
        r = buf_append_str(
            out,
            "# Exit statuses\n\nNumbers never change their meaning. A number that is not listed means failure.\n\n"
            "| status | meaning | name |\n|---|---|---|\n",
            err);
#define EXIT_STATUS(name, number, text)                                                                                \
    if (r == 0) r = buf_printf(out, err, "| %d | %s | `%s` |\n", number, text, #name);
#include "base/exit_table.def"
#undef EXIT_STATUS
    return r;
}

int docs_metrics_md(struct buf *out, struct error *err) {
    int r = buf_printf(out, err, MADE, "src/work/metrics_table.def");
    if (r == 0)
        r = buf_append_str(
            out,
            "# Metrics\n\n"
            "`proofkeep status --metrics` prints them in the text format of Prometheus. They are points in time, not "
            "ages;\n"
            "an age is `time()` minus a timestamp. What is not known is not printed, so alert on absence as well.\n\n"
            "| metric | type | unit | labels | meaning |\n|---|---|---|---|---|\n",
            err);
    for (int i = 0; i < METRIC_COUNT && r == 0; i++) {
        const struct metric_info *m = &metric_table[i];
        r = buf_printf(out, err, "| `%s` | %s | %s | %s | %s |\n", m->name, m->type, m->unit, m->labels, m->help);
    }
    return r;
}
