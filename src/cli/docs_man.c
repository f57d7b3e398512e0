/* mdoc(7): mandoc's manual, section "MACRO OVERVIEW". Text from the tables goes on text lines, where only a leading dot
 * or quote and backslashes have meaning; what goes into macro lines is quoted. */
#include "cli/docs.h"

#include <stdio.h>

/* Of the last change of meaning, not of the build: builds must be reproducible. */
#define MAN_DATE "November 21, 2026"

static int man_text(const char *text, struct buf *out, struct error *err) {
    int r = 0;
    bool line_begins = true;
    for (const char *c = text; *c && r == 0; c++) {
        if (line_begins && (*c == '.' || *c == '\'')) r = buf_append_str(out, "\\&", err);
        line_begins = false;
        if (r < 0) break;
        if (*c == '\\') {
            r = buf_append_str(out, "\\e", err);
        } else if (*c == '-' && c[1] == '-') {
            r = buf_append_str(out, "\\-\\-", err);
            c++;
        } else if (*c == '.' && c[1] == ' ' && c[2] >= 'A' && c[2] <= 'Z') {
            /* A new sentence, a new line: mdoc then spaces it rightly. */
            r = buf_append_str(out, ".\n", err);
            line_begins = true;
            c++;
        } else {
            r = buf_append(out, c, 1, err);
        }
    }
    return r == 0 ? buf_append_str(out, "\n", err) : r;
}

/* As arguments of a macro: each word is quoted, so that none is taken for a macro or a delimiter. */
static int man_words(const char *text, size_t len, struct buf *out, struct error *err) {
    int r = buf_append_str(out, "\"", err);
    for (size_t i = 0; i < len && r == 0; i++) {
        if (text[i] == '"' || text[i] == '\\')
            r = buf_append_str(out, text[i] == '"' ? "\"\"" : "\\e", err);
        else if (text[i] == '-')
            r = buf_append_str(out, "\\-", err);
        else
            r = buf_append(out, text + i, 1, err);
    }
    return r == 0 ? buf_append_str(out, "\"", err) : r;
}

static int man_option(enum option_id id, enum verb_id verb, struct buf *out, struct error *err) {
    const struct option_info *o = &option_table[id];
    int r = buf_append_str(out, ".It ", err);
    if (r == 0 && o->short_name) r = buf_printf(out, err, "Fl %c , ", o->short_name);
    if (r == 0) r = buf_printf(out, err, "Fl \\-%s", o->name);
    if (r == 0 && option_has_value(id)) {
        r = buf_append_str(out, " Ar ", err);
        if (r == 0) r = man_words(o->placeholder, strlen(o->placeholder), out, err);
        if (r == 0 && o->times != TIMES_ONCE) r = buf_append_str(out, " ...", err);
    }
    if (r == 0) r = buf_append_str(out, "\n", err);
    return r == 0 ? man_text(option_text(id, verb), out, err) : r;
}

static int man_options(enum verb_id verb, bool global, struct buf *out, struct error *err) {
    bool begun = false;
    int r = 0;
    for (int i = 0; i < OPT_COUNT && r == 0; i++) {
        enum option_id id = (enum option_id)i;
        if (option_is_global(id) != global || (verb != VERB_NONE && !option_applies(id, verb))) continue;
        if (!begun) r = buf_append_str(out, ".Bl -tag -width Ds\n", err);
        begun = true;
        if (r == 0) r = man_option(id, verb, out, err);
    }
    if (r == 0 && begun) r = buf_append_str(out, ".El\n", err);
    return r;
}

static int man_verb(enum verb_id verb, struct buf *out, struct error *err) {
    const struct verb_info *v = &verb_table[verb];
    const char *forms = v->operands, *form;
    size_t len;
    int r = buf_printf(out, err, ".Ss proofkeep %s\n", v->name);
    while (r == 0 && words_next(&forms, '\n', &form, &len)) {
        r = buf_printf(out, err, ".Dl proofkeep %s ", v->name);
        if (r == 0) r = man_words(form, len, out, err);
        if (r == 0) r = buf_append_str(out, "\n", err);
    }
    if (r == 0) r = buf_append_str(out, ".Pp\n", err);
    if (r == 0) {
        char first[160];
        snprintf(first, sizeof first, "%c%s. ", v->summary[0] - 'a' + 'A', v->summary + 1);
        r = buf_append_str(out, first, err);
        out->len -= r == 0;
        if (r == 0) r = buf_append_str(out, "\n", err);
    }
    if (r == 0) r = man_text(v->description, out, err);
    if (r == 0 && verb_has_actions(verb)) {
        r = buf_append_str(out, ".Bl -tag -width Ds\n", err);
        for (const struct action_info *a = action_table; a->name && r == 0; a++) {
            if (a->verb != verb) continue;
            r = buf_printf(out, err, ".It Cm %s", a->name);
            if (r == 0 && *a->operands) {
                r = buf_append_str(out, " ", err);
                if (r == 0) r = man_words(a->operands, strlen(a->operands), out, err);
            }
            if (r == 0) r = buf_append_str(out, "\n", err);
            if (r == 0) r = man_text(a->summary, out, err);
        }
        if (r == 0) r = buf_append_str(out, ".El\n", err);
    }
    return r == 0 ? man_options(verb, false, out, err) : r;
}

static int man_head(struct buf *out, struct error *err) {
    return buf_append_str(
        out,
        ".\\\" Made by proofkeep-docgen from src/cli/options_table.def; do not edit.\n"
        ".Dd " MAN_DATE "\n"
        ".Dt PROOFKEEP 1\n"
        ".Os proofkeep\n"
        ".Sh NAME\n"
        ".Nm proofkeep\n"
        ".Nd keep a platform restorable, and prove it\n"
        ".Sh SYNOPSIS\n"
        ".Nm\n"
        ".Op Ar options\n"
        ".Ar verb\n"
        ".Op Ar operands\n"
        ".Sh DESCRIPTION\n"
        "Takes backups of what holds state, restores them, verifies them, and leaves a signed receipt of\n"
        "every job, good or bad, in the log of the repository.\n"
        "Nothing is called valid unless a check that ran says so.\n"
        "Recovery needs the repository, a key and this program, and nothing else.\n"
        ".Pp\n"
        "Addresses are\n"
        ".Ar env Ns / Ns Ar surface\n"
        "or\n"
        ".Ar env Ns / Ns Ar surface Ns @ Ns Ar point ;\n"
        "a point is\n"
        ".Cm latest ,\n"
        "the id of a backup, or a time in RFC 3339.\n"
        "Options may stand before or after the verb and are never abbreviated;\n"
        ".Fl \\-\n"
        "ends them.\n"
        ".Sh OPTIONS\n"
        "Every verb takes these options.\n",
        err);
}

static int man_exits(struct buf *out, struct error *err) {
    int r =
        buf_append_str(out, ".Sh EXIT STATUS\nA number that is not listed means failure.\n.Bl -tag -width Ds\n", err);
#define EXIT_STATUS(name, number, text)                                                                                \
    if (r == 0) r = buf_printf(out, err, ".It %d\n", number);                                                          \
    if (r == 0) r = man_text(text ".", out, err);
#include "base/exit_table.def"
#undef EXIT_STATUS
    return r == 0 ? buf_append_str(out, ".El\n", err) : r;
}

static int man_examples(struct buf *out, struct error *err) {
    int r = buf_append_str(out, ".Sh EXAMPLES\n", err);
    for (const struct example_info *e = example_table; e->command && r == 0; e++) {
        r = man_text(e->text, out, err);
        if (r == 0) r = buf_append_str(out, ".Pp\n.Dl ", err);
        if (r == 0) r = man_words(e->command, strlen(e->command), out, err);
        if (r == 0) r = buf_append_str(out, e[1].command ? "\n.Pp\n" : "\n", err);
    }
    return r;
}

int docs_man(struct buf *out, struct error *err) {
    int r = man_head(out, err);
    if (r == 0) r = man_options(VERB_NONE, true, out, err);
    if (r == 0) r = buf_append_str(out, ".Sh VERBS\n", err);
    for (int i = 0; i < VERB_COUNT && r == 0; i++) r = man_verb((enum verb_id)i, out, err);
    if (r == 0)
        r = buf_append_str(out,
                           ".Sh ENVIRONMENT\n"
                           ".Bl -tag -width NO_COLOR\n"
                           ".It Ev NO_COLOR\n"
                           "If it is set and not empty, nothing is coloured, unless\n"
                           ".Fl \\-color\n"
                           "says so.\n"
                           ".It Ev TERM\n"
                           "If it is\n"
                           ".Cm dumb\n"
                           "or not set, nothing is coloured and no line is redrawn.\n"
                           ".El\n"
                           ".Sh FILES\n"
                           ".Bl -tag -width Ds\n"
                           ".It Pa ./proofkeep.yaml\n"
                           "The configuration.\n"
                           ".It Pa /etc/proofkeep/proofkeep.yaml\n"
                           "The configuration where there is none in the working folder.\n"
                           ".El\n",
                           err);
    if (r == 0) r = man_exits(out, err);
    if (r == 0) r = man_examples(out, err);
    if (r == 0)
        r = buf_append_str(out,
                           ".Sh DIAGNOSTICS\n"
                           "Errors say what happened, why, what state the data is in, and what to do next, under a "
                           "stable code such as\n"
                           ".Sq PK\\-REP\\-001 ;\n"
                           ".Ic proofkeep help Ar code\n"
                           "explains it.\n",
                           err);
    return r;
}
