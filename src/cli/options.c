#include "cli/options.h"
#include "base/seam.h"
#include "base/time.h"

#include <stdlib.h>
#include <string.h>

#define COUNT_MAX 4096u

struct option_value {
    unsigned given;
    const char *text;
    uint64_t number; /* DURATION, COUNT */
};

struct options {
    enum verb_id verb;
    const struct action_info *action;
    struct option_value values[OPT_COUNT];
    /* Lists share one array of argc + 1 slots for each option that may repeat; allocated when first used. */
    const char **lists[OPT_COUNT];
    const char **operands;
    size_t operand_count;
    int argc;
};

static const char *const no_words[] = {NULL};

struct options_early options_peek(int argc, char *const *argv) {
    struct options_early early = {false, false, 0, "auto"};
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const char *color = NULL;
        if (strcmp(argv[i], "--json") == 0) early.json = true;
        if (strcmp(argv[i], "--quiet") == 0) early.quiet = true;
        if (strcmp(argv[i], "--verbose") == 0) early.verbose++;
        if (argv[i][0] == '-' && argv[i][1] != '-' && strspn(argv[i] + 1, "qvh") == strlen(argv[i] + 1))
            for (const char *c = argv[i] + 1; *c; c++) {
                early.quiet |= *c == 'q';
                early.verbose += *c == 'v';
            }
        if (strncmp(argv[i], "--color=", 8) == 0) color = argv[i] + 8;
        if (strcmp(argv[i], "--color") == 0 && i + 1 < argc) color = argv[i + 1];
        if (color && (strcmp(color, "always") == 0 || strcmp(color, "never") == 0)) early.color = color;
    }
    return early;
}

void options_free(struct options *o) {
    if (!o) return;
    for (int i = 0; i < OPT_COUNT; i++) seam_free((void *)o->lists[i]);
    seam_free((void *)o->operands);
    seam_free(o);
}

static void options_freep(struct options **o) {
    options_free(*o);
}

static int list_append(struct options *o, const char ***list, size_t at, const char *word, struct error *err) {
    if (!*list) {
        void *p;
        /* Every word of the command line can be in it but once. */
        int r = mem_alloc(((size_t)o->argc + 1) * sizeof **list, &p, err);
        if (r < 0) return r;
        *list = p;
    }
    (*list)[at] = word;
    return 0;
}

static int unknown_option(const struct options *o, const char *arg, size_t len, struct error *err) {
    const char *words[OPT_COUNT + 1], *near = NULL;
    char name[64];
    size_t n = 0;
    if (len < sizeof name) {
        memcpy(name, arg, len);
        name[len] = 0;
        for (int i = 0; i < OPT_COUNT; i++)
            if (o->verb == VERB_NONE || option_applies((enum option_id)i, o->verb)) words[n++] = option_table[i].name;
        words[n] = NULL;
        near = options_suggest(name, words);
    }
    if (near) return error_set(err, ERR_USAGE, "unknown option '--%.*s'; did you mean '--%s'?", (int)len, arg, near);
    return error_set(err, ERR_USAGE, "unknown option '--%.*s'", (int)(len > 200 ? 200 : len), arg);
}

static bool is_word_of(const char *value, const char *words) {
    const char *word;
    size_t len;
    while (words_next(&words, '|', &word, &len))
        if (strlen(value) == len && memcmp(word, value, len) == 0) return true;
    return false;
}

static int value_check(enum option_id id, const char *value, uint64_t *ret_number, struct error *err) {
    const struct option_info *info = &option_table[id];
    int64_t ns;
    char *end;
    if (!*value) return error_set(err, ERR_USAGE, "option '--%s' needs a value, not an empty one", info->name);
    switch (info->kind) {
    case KIND_DURATION:
        if (duration_parse(value, &ns)) return *ret_number = (uint64_t)ns, 0;
        return error_set(err, ERR_USAGE, "option '--%s' wants a duration such as 24h, not '%s'", info->name, value);
    case KIND_COUNT: {
        unsigned long n = value[0] >= '0' && value[0] <= '9' ? strtoul(value, &end, 10) : 0;
        if (n >= 1 && n <= COUNT_MAX && !*end) return *ret_number = n, 0;
        return error_set(err, ERR_USAGE, "option '--%s' wants a number from 1 to %u, not '%s'", info->name, COUNT_MAX,
                         value);
    }
    case KIND_CHOICE:
        if (is_word_of(value, info->placeholder)) return 0;
        return error_set(err, ERR_USAGE, "option '--%s' wants one of %s, not '%s'", info->name, info->placeholder,
                         value);
    default:
        return 0;
    }
}

/* value is NULL for options without one. */
static int option_take(struct options *o, enum option_id id, const char *value, struct error *err) {
    const struct option_info *info = &option_table[id];
    struct option_value *v = &o->values[id];
    if (v->given && info->times == TIMES_ONCE && option_has_value(id))
        return error_set(err, ERR_USAGE, "option '--%s' is given twice", info->name);
    int r = value ? value_check(id, value, &v->number, err) : 0;
    if (r == 0 && value && info->times != TIMES_ONCE) r = list_append(o, &o->lists[id], v->given, value, err);
    if (r < 0) return r;
    v->text = value;
    v->given++;
    return 0;
}

static int next_value(char *const *argv, int *i, const char *name, const char **ret, struct error *err) {
    const char *value = argv[*i + 1];
    if (!value) return error_set(err, ERR_USAGE, "option '--%s' needs a value", name);
    if (strncmp(value, "--", 2) == 0)
        return error_set(
            err, ERR_USAGE,
            "option '--%s' needs a value, and '%s' looks like an option; if it is the value, write '--%s=%s'", name,
            value, name, value);
    ++*i;
    *ret = value;
    return 0;
}

static int take_long(struct options *o, char *const *argv, int *i, struct error *err) {
    const char *arg = argv[*i] + 2, *equals = strchr(arg, '='), *value = NULL;
    size_t len = equals ? (size_t)(equals - arg) : strlen(arg);
    enum option_id id = option_find(arg, len);
    if (id == OPT_NONE) return unknown_option(o, arg, len, err);
    if (!option_has_value(id)) {
        if (equals) return error_set(err, ERR_USAGE, "option '--%s' takes no value", option_table[id].name);
    } else if (equals) {
        value = equals + 1;
    } else {
        int r = next_value(argv, i, option_table[id].name, &value, err);
        if (r < 0) return r;
    }
    return option_take(o, id, value, err);
}

static int take_short(struct options *o, char *const *argv, int *i, struct error *err) {
    for (const char *c = argv[*i] + 1; *c; c++) {
        enum option_id id = option_find_short(*c);
        const char *value = NULL;
        int r;
        if (id == OPT_NONE) return error_set(err, ERR_USAGE, "unknown option '-%c' in '%s'", *c, argv[*i]);
        if (!option_has_value(id)) {
            if ((r = option_take(o, id, NULL, err)) < 0) return r;
            continue;
        }
        if (c[1])
            value = c + 1;
        else if ((r = next_value(argv, i, option_table[id].name, &value, err)) < 0)
            return r;
        return option_take(o, id, value, err);
    }
    return 0;
}

static int verb_take(struct options *o, const char *word, struct error *err) {
    o->verb = verb_find(word);
    if (o->verb != VERB_NONE) return 0;
    const char *words[VERB_COUNT + 1] = {NULL};
    for (int i = 0; i < VERB_COUNT; i++) words[i] = verb_table[i].name;
    const char *near = options_suggest(word, words);
    if (near) return error_set(err, ERR_USAGE, "unknown verb '%s'; did you mean '%s'?", word, near);
    return error_set(err, ERR_USAGE, "unknown verb '%s'", word);
}

static int words_read(struct options *o, char *const *argv, struct error *err) {
    bool options_ended = false;
    int r = 0;
    for (int i = 1; i < o->argc && r == 0; i++) {
        const char *arg = argv[i];
        if (!options_ended && strcmp(arg, "--") == 0) {
            options_ended = true;
        } else if (!options_ended && strncmp(arg, "--", 2) == 0) {
            r = take_long(o, argv, &i, err);
        } else if (!options_ended && arg[0] == '-' && arg[1]) {
            r = take_short(o, argv, &i, err);
        } else if (o->verb == VERB_NONE && !o->values[OPT_HELP].given) {
            r = verb_take(o, arg, err);
        } else {
            r = list_append(o, &o->operands, o->operand_count, arg, err);
            o->operand_count += r == 0;
        }
    }
    return r;
}

static int applies_check(const struct options *o, struct error *err) {
    for (int i = 0; i < OPT_COUNT; i++) {
        enum option_id id = (enum option_id)i;
        if (!o->values[i].given || option_applies(id, o->verb)) continue;
        char verbs[160] = "";
        size_t n = 0;
        for (int v = 0; v < VERB_COUNT; v++)
            if (option_applies(id, (enum verb_id)v) && n + strlen(verb_table[v].name) + 3 < sizeof verbs) {
                if (n) n = (size_t)(stpcpy(verbs + n, ", ") - verbs);
                n = (size_t)(stpcpy(verbs + n, verb_table[v].name) - verbs);
            }
        return error_set(err, ERR_USAGE, "'%s' has no option '--%s'; it belongs to: %s", verb_table[o->verb].name,
                         option_table[i].name, verbs);
    }
    return 0;
}

static int action_take(struct options *o, struct error *err) {
    const char *words[16], *near = NULL, *verb = verb_table[o->verb].name;
    char listed[128] = "";
    size_t n = 0;
    for (const struct action_info *a = action_table; a->name; a++)
        if (a->verb == o->verb && n + 1 < sizeof words / sizeof *words) {
            words[n++] = a->name;
            if (strlen(listed) + strlen(a->name) + 3 < sizeof listed) {
                if (listed[0]) strcat(listed, ", ");
                strcat(listed, a->name);
            }
        }
    words[n] = NULL;
    if (o->operand_count == 0) return error_set(err, ERR_USAGE, "'%s' wants to know what to do: %s", verb, listed);
    o->action = action_find(o->verb, o->operands[0]);
    if (!o->action) {
        near = options_suggest(o->operands[0], words);
        if (near)
            return error_set(err, ERR_USAGE, "'%s' has no action '%s'; did you mean '%s'?", verb, o->operands[0], near);
        return error_set(err, ERR_USAGE, "'%s' has no action '%s'; it has: %s", verb, o->operands[0], listed);
    }
    memmove((void *)o->operands, (const void *)(o->operands + 1), (o->operand_count - 1) * sizeof *o->operands);
    o->operands[--o->operand_count] = NULL;
    return 0;
}

static int operands_check(struct options *o, struct error *err) {
    const char *verb = verb_table[o->verb].name, *action = "", *space = "";
    unsigned min = verb_table[o->verb].operands_min, max = verb_table[o->verb].operands_max;
    int r;
    if (verb_has_actions(o->verb)) {
        if ((r = action_take(o, err)) < 0) return r;
        min = o->action->operands_min, max = o->action->operands_max;
        action = o->action->name, space = " ";
    }
    for (int i = 0; i < OPT_COUNT; i++) {
        if (option_table[i].times != TIMES_REST || !o->values[i].given) continue;
        for (size_t k = 0; k < o->operand_count; k++) {
            if ((r = list_append(o, &o->lists[i], o->values[i].given, o->operands[k], err)) < 0) return r;
            o->values[i].text = o->operands[k];
            o->values[i].given++;
        }
        o->operand_count = 0;
        if (o->operands) o->operands[0] = NULL;
    }
    enum option_id instead = verb_table[o->verb].instead;
    if (instead != OPT_NONE && o->values[instead].given) {
        if (o->operand_count > 0)
            return error_set(err, ERR_USAGE, "'%s' takes either '--%s' or '%s', not both", verb,
                             option_table[instead].name, o->operands[0]);
        return 0;
    }
    if (o->operand_count < min && instead != OPT_NONE)
        return error_set(err, ERR_USAGE, "'%s' needs an operand, or the option '--%s'", verb,
                         option_table[instead].name);
    if (o->operand_count < min)
        return error_set(err, ERR_USAGE, "'%s%s%s' needs %u operand%s, not %zu", verb, space, action, min,
                         min == 1 ? "" : "s", o->operand_count);
    if (o->operand_count > max)
        return error_set(err, ERR_USAGE, "'%s%s%s' does not know what to do with '%s'", verb, space, action,
                         o->operands[max]);
    return 0;
}

static int needs_check(const struct options *o, struct error *err) {
    const char *action = o->action ? o->action->name : "";
    for (const struct need_info *n = need_table; n->action; n++)
        if (n->verb == o->verb && strcmp(n->action, action) == 0 && !o->values[n->option].given)
            return error_set(err, ERR_USAGE, "'%s%s%s' needs the option '--%s'", verb_table[o->verb].name,
                             *action ? " " : "", action, option_table[n->option].name);
    return 0;
}

static bool wants_no_verb(const struct options *o) {
    return o->values[OPT_HELP].given || o->values[OPT_VERSION].given || o->values[OPT_COMPLETIONS].given;
}

static bool asks_for_help(int argc, char *const *argv) {
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return true;
    return false;
}

static int parse(struct options *o, char *const *argv, struct error *err) {
    int r = words_read(o, argv, err);
    /* Who asks for help beside a mistake wants help, not the mistake. */
    if (r < 0 && err->code == ERR_USAGE && asks_for_help(o->argc, argv)) {
        error_clear(err);
        o->values[OPT_HELP].given = 1;
        return 0;
    }
    if (r < 0 || wants_no_verb(o)) return r;
    if (o->verb == VERB_NONE) return error_set(err, ERR_USAGE, "no verb is given");
    if ((r = applies_check(o, err)) < 0) return r;
    if ((r = operands_check(o, err)) < 0) return r;
    return needs_check(o, err);
}

int options_parse(int argc, char *const *argv, struct options **ret, struct error *err) {
    CLEANUP(options_freep) struct options *o = NULL;
    void *p;
    int r = mem_alloc(sizeof *o, &p, err);
    if (r < 0) return r;
    o = p;
    o->verb = VERB_NONE;
    o->argc = argc;
    if ((r = parse(o, argv, err)) < 0) {
        if (err->code != ERR_USAGE) return r;
        if (o->verb == VERB_NONE) return error_next(err, "proofkeep --help");
        return error_next(err, "proofkeep %s --help", verb_table[o->verb].name);
    }
    *ret = o;
    o = NULL;
    return 0;
}

enum verb_id options_verb(const struct options *o) {
    return o->verb;
}
bool options_is_action(const struct options *o, const char *name) {
    return o->action && strcmp(o->action->name, name) == 0;
}
bool options_is_job(const struct options *o) {
    if (o->verb == VERB_NONE || wants_no_verb(o)) return false;
    return o->action ? o->action->job : verb_table[o->verb].job;
}

bool options_given(const struct options *o, enum option_id id) {
    return o->values[id].given > 0;
}
bool options_flag(const struct options *o, enum option_id id) {
    return o->values[id].given > 0;
}
unsigned options_switches(const struct options *o, enum option_id id) {
    return o->values[id].given;
}
const char *options_text(const struct options *o, enum option_id id) {
    return o->values[id].text;
}

const char *const *options_list(const struct options *o, enum option_id id, size_t *ret_n) {
    if (ret_n) *ret_n = o->lists[id] ? o->values[id].given : 0;
    return o->lists[id] ? o->lists[id] : no_words;
}

int64_t options_duration(const struct options *o, enum option_id id, int64_t otherwise_ns) {
    return o->values[id].given ? (int64_t)o->values[id].number : otherwise_ns;
}
unsigned options_count(const struct options *o, enum option_id id, unsigned otherwise) {
    return o->values[id].given ? (unsigned)o->values[id].number : otherwise;
}

const char *const *options_operands(const struct options *o, size_t *ret_n) {
    if (ret_n) *ret_n = o->operand_count;
    return o->operands ? o->operands : no_words;
}
const char *options_operand(const struct options *o, size_t i) {
    return i < o->operand_count ? o->operands[i] : NULL;
}
