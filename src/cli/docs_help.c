#include "cli/docs.h"

#define COLUMNS 100
#define OPTION_INDENT 30

static int usage_lines(enum verb_id verb, struct buf *out, struct error *err) {
    const char *forms = verb_table[verb].operands, *form;
    const char *lead = "usage:";
    size_t len;
    int r = 0;
    while (r == 0 && words_next(&forms, '\n', &form, &len)) {
        r = buf_printf(out, err, "%-6s proofkeep %s %.*s\n", lead, verb_table[verb].name, (int)len, form);
        lead = "";
    }
    return r;
}

static int option_line(enum option_id id, enum verb_id verb, struct buf *out, struct error *err) {
    size_t begin = out->len;
    /* Options without a letter line up with those that have one. */
    int r = buf_append_str(out, option_table[id].short_name ? "  " : "      ", err);
    if (r == 0) r = docs_option_head(id, out, err);
    if (r < 0) return r;
    unsigned at = (unsigned)(out->len - begin);
    if (at + 2 > OPTION_INDENT) {
        r = buf_append_str(out, "\n", err);
        at = 0;
    }
    if (r == 0) r = buf_printf(out, err, "%*s", (int)(OPTION_INDENT - at), "");
    return r == 0 ? docs_wrap(out, option_text(id, verb), OPTION_INDENT, OPTION_INDENT, COLUMNS, err) : r;
}

static int option_lines(enum verb_id verb, bool global, const char *title, struct buf *out, struct error *err) {
    bool begun = false;
    int r = 0;
    for (int i = 0; i < OPT_COUNT && r == 0; i++) {
        enum option_id id = (enum option_id)i;
        if (option_is_global(id) != global || (verb != VERB_NONE && !option_applies(id, verb))) continue;
        if (!begun) r = buf_printf(out, err, "\n%s:\n", title);
        begun = true;
        if (r == 0) r = option_line(id, verb, out, err);
    }
    return r;
}

int docs_help_program(struct buf *out, struct error *err) {
    int r = buf_append_str(out,
                           "usage: proofkeep [options] VERB ...\n\n"
                           "Keeps a platform restorable, and proves it.\n\n"
                           "Verbs:\n",
                           err);
    for (int i = 0; i < VERB_COUNT && r == 0; i++)
        r = buf_printf(out, err, "  %-13s %s\n", verb_table[i].name, verb_table[i].summary);
    if (r == 0) r = option_lines(VERB_NONE, true, "Options of every verb", out, err);
    if (r == 0)
        r = buf_append_str(
            out,
            "\nAddresses are ENV/SURFACE or ENV/SURFACE@POINT; a point is latest, a backup's id or a time in RFC "
            "3339.\n"
            "'proofkeep help VERB' explains a verb, 'proofkeep help CODE' an error such as PK-REP-001.\n",
            err);
    return r;
}

int docs_help_verb(enum verb_id verb, struct buf *out, struct error *err) {
    const struct verb_info *v = &verb_table[verb];
    int r = usage_lines(verb, out, err);
    if (r == 0) r = buf_printf(out, err, "\nproofkeep %s: %s.\n", v->name, v->summary);
    if (r == 0) r = docs_wrap(out, v->description, 0, 0, COLUMNS, err);
    if (r == 0 && verb_has_actions(verb)) r = buf_append_str(out, "\nActions:\n", err);
    for (const struct action_info *a = action_table; a->name && r == 0; a++)
        if (a->verb == verb) {
            r = buf_printf(out, err, "  %s%s%-*s %s\n", a->name, *a->operands ? " " : "",
                           (int)(20 - strlen(a->name) - (*a->operands ? 1 : 0)), a->operands, a->summary);
        }
    if (r == 0) r = option_lines(verb, false, "Options", out, err);
    if (r == 0) r = option_lines(verb, true, "Options of every verb", out, err);
    bool begun = false;
    for (const struct example_info *e = example_table; e->command && r == 0; e++) {
        if (e->verb != verb) continue;
        if (!begun) r = buf_append_str(out, "\nExamples:\n", err);
        begun = true;
        if (r == 0) r = buf_printf(out, err, "  %s\n      %s\n", e->command, e->text);
    }
    return r;
}

static const char *exit_text(enum exit_status status) {
    switch (status) {
#define EXIT_STATUS(name, number, text)                                                                                \
    case EXIT_##name:                                                                                                  \
        return text;
#include "base/exit_table.def"
#undef EXIT_STATUS
    }
    return "";
}

int docs_help_error(const struct error_info *info, struct buf *out, struct error *err) {
    return buf_printf(out, err,
                      "%s\n"
                      "  what:  %s\n"
                      "  next:  %s\n"
                      "  exit:  %d, %s\n"
                      "  name:  %s\n",
                      info->code, info->what, info->next, (int)info->status, exit_text(info->status), info->name);
}

/* ---- for programs */

static int option_json(enum option_id id, enum verb_id verb, json_t *list, struct error *err) {
    static const char *const kinds[] = {
        [KIND_FLAG] = "flag",         [KIND_SWITCHES] = "switches", [KIND_TEXT] = "text",
        [KIND_FILE] = "file",         [KIND_FOLDER] = "folder",     [KIND_PLACE] = "place",
        [KIND_DURATION] = "duration", [KIND_COUNT] = "count",       [KIND_CHOICE] = "choice",
    };
    const struct option_info *o = &option_table[id];
    char letter[2] = {o->short_name, 0};
    json_t *j = json_object();
    int r = j ? json_put_str(j, "name", o->name, err) : error_set(err, ERR_NO_MEMORY, "an option's JSON");
    if (r == 0 && letter[0]) r = json_put_str(j, "short", letter, err);
    if (r == 0) r = json_put_str(j, "kind", kinds[o->kind], err);
    if (r == 0 && option_has_value(id)) r = json_put_str(j, "placeholder", o->placeholder, err);
    if (r == 0) r = json_put(j, "repeatable", json_boolean(o->times != TIMES_ONCE), err);
    if (r == 0) r = json_put_str(j, "text", option_text(id, verb), err);
    if (r < 0) {
        json_decref(j);
        return r;
    }
    return json_push(list, j, err);
}

static int options_json(enum verb_id verb, json_t *object, struct error *err) {
    json_t *list = json_array();
    int r = list ? 0 : error_set(err, ERR_NO_MEMORY, "the options' JSON");
    for (int i = 0; i < OPT_COUNT && r == 0; i++)
        if (verb == VERB_NONE ? option_is_global((enum option_id)i) : option_applies((enum option_id)i, verb))
            r = option_json((enum option_id)i, verb, list, err);
    if (r == 0) return json_put(object, "options", list, err);
    json_decref(list);
    return r;
}

static int object_end(int r, json_t *j, json_t **ret) {
    if (r < 0)
        json_decref(j);
    else
        *ret = j;
    return r;
}

int docs_json_program(json_t **ret, struct error *err) {
    json_t *j = json_object(), *verbs = json_object();
    int r = j && verbs ? 0 : error_set(err, ERR_NO_MEMORY, "the help's JSON");
    for (int i = 0; i < VERB_COUNT && r == 0; i++)
        r = json_put_str(verbs, verb_table[i].name, verb_table[i].summary, err);
    if (r == 0) {
        r = json_put(j, "verbs", verbs, err);
        verbs = NULL;
    }
    if (r == 0) r = options_json(VERB_NONE, j, err);
    json_decref(verbs);
    return object_end(r, j, ret);
}

int docs_json_verb(enum verb_id verb, json_t **ret, struct error *err) {
    const struct verb_info *v = &verb_table[verb];
    json_t *j = json_object();
    int r = j ? json_put_str(j, "verb", v->name, err) : error_set(err, ERR_NO_MEMORY, "the help's JSON");
    if (r == 0) r = json_put_str(j, "operands", v->operands, err);
    if (r == 0) r = json_put_str(j, "summary", v->summary, err);
    if (r == 0) r = json_put_str(j, "description", v->description, err);
    if (r == 0) r = json_put(j, "job", json_boolean(v->job), err);
    if (r == 0) r = options_json(verb, j, err);
    return object_end(r, j, ret);
}

int docs_json_error(const struct error_info *info, json_t **ret, struct error *err) {
    json_t *j = json_object();
    int r = j ? json_put_str(j, "code", info->code, err) : error_set(err, ERR_NO_MEMORY, "the help's JSON");
    if (r == 0) r = json_put_str(j, "name", info->name, err);
    if (r == 0) r = json_put_str(j, "what", info->what, err);
    if (r == 0) r = json_put_str(j, "next", info->next, err);
    if (r == 0) r = json_put_int(j, "exit", info->status, err);
    return object_end(r, j, ret);
}
