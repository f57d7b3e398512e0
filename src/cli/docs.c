#include "cli/docs.h"

const struct docs_kind docs_kinds[] = {
    {"man", "doc/proofkeep.1", docs_man},
    {"cli", "doc/reference/cli.md", docs_cli_md},
    {"errors", "doc/reference/errors.md", docs_errors_md},
    {"exit-status", "doc/reference/exit-status.md", docs_exit_md},
    {"metrics", "doc/reference/metrics.md", docs_metrics_md},
    {"bash", NULL, docs_bash},
    {"zsh", NULL, docs_zsh},
    {"fish", NULL, docs_fish},
    {NULL, NULL, NULL},
};

int docs_option_head(enum option_id id, struct buf *out, struct error *err) {
    const struct option_info *o = &option_table[id];
    int r = o->short_name ? buf_printf(out, err, "-%c, ", o->short_name) : 0;
    if (r == 0) r = buf_printf(out, err, "--%s", o->name);
    if (r == 0 && option_has_value(id)) r = buf_printf(out, err, " %s", o->placeholder);
    if (r == 0 && option_has_value(id) && o->times != TIMES_ONCE) r = buf_append_str(out, "...", err);
    return r;
}

int docs_wrap(struct buf *out, const char *text, unsigned indent, unsigned at, unsigned columns, struct error *err) {
    const char *word;
    size_t len;
    bool begun = false;
    int r = 0;
    while (r == 0 && words_next(&text, ' ', &word, &len)) {
        if (begun && at + 1 + len > columns) {
            r = buf_printf(out, err, "\n%*s", (int)indent, "");
            at = indent;
        } else if (begun) {
            r = buf_append_str(out, " ", err);
            at++;
        }
        if (r == 0) r = buf_append(out, word, len, err);
        at += (unsigned)len;
        begun = true;
    }
    return r == 0 ? buf_append_str(out, "\n", err) : r;
}
