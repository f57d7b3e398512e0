#include "cli/table.h"

#include <string.h>

#define V(id) (UINT32_C(1) << VERB_##id)
#define V_ALL (V(HELP) * 2 - 1)
#define V_REPO (V_ALL & ~V(HELP))
#define MANY UINT_MAX
#define JOB true
#define QUERY false

_Static_assert(VERB_HELP == VERB_COUNT - 1, "help is the last verb, or V_ALL is wrong");
_Static_assert(VERB_COUNT <= 32, "a verb is a bit of option_info.verbs");

const struct verb_info verb_table[VERB_COUNT] = {
#define VERB(id, name, operands, min, max, instead, job, summary, description)                                         \
    [VERB_##id] = {name, operands, summary, description, min, max, OPT_##instead, job},
#include "cli/options_table.def"
};

const struct action_info action_table[] = {
#define ACTION(verb, name, operands, min, max, job, summary) {VERB_##verb, name, operands, summary, min, max, job},
#include "cli/options_table.def"
    {VERB_NONE, NULL, NULL, NULL, 0, 0, false},
};

const struct option_info option_table[OPT_COUNT] = {
#define OPTION(id, name, short_name, kind, placeholder, times, verbs, text)                                            \
    [OPT_##id] = {name, placeholder, text, short_name, KIND_##kind, TIMES_##times, verbs},
#include "cli/options_table.def"
};

const struct need_info need_table[] = {
#define NEED(verb, action, option) {VERB_##verb, action, OPT_##option},
#include "cli/options_table.def"
    {VERB_NONE, NULL, OPT_NONE},
};

static const struct {
    enum option_id option;
    enum verb_id verb;
    const char *text;
} option_texts[] = {
#define OPTION_TEXT(id, verb, text) {OPT_##id, VERB_##verb, text},
#include "cli/options_table.def"
};

const struct example_info example_table[] = {
#define EXAMPLE(verb, command, text) {VERB_##verb, command, text},
#include "cli/options_table.def"
    {VERB_NONE, NULL, NULL},
};

enum verb_id verb_find(const char *name) {
    for (int i = 0; i < VERB_COUNT; i++)
        if (strcmp(verb_table[i].name, name) == 0) return (enum verb_id)i;
    return VERB_NONE;
}

enum option_id option_find(const char *name, size_t len) {
    for (int i = 0; i < OPT_COUNT; i++)
        if (strlen(option_table[i].name) == len && memcmp(option_table[i].name, name, len) == 0)
            return (enum option_id)i;
    return OPT_NONE;
}

enum option_id option_find_short(char c) {
    for (int i = 0; i < OPT_COUNT; i++)
        if (c != 0 && option_table[i].short_name == c) return (enum option_id)i;
    return OPT_NONE;
}

bool option_has_value(enum option_id id) {
    return option_table[id].kind != KIND_FLAG && option_table[id].kind != KIND_SWITCHES;
}

bool option_applies(enum option_id id, enum verb_id verb) {
    return verb != VERB_NONE && (option_table[id].verbs & (UINT32_C(1) << verb)) != 0;
}

bool option_is_global(enum option_id id) {
    return option_table[id].verbs == V_ALL;
}

const char *option_text(enum option_id id, enum verb_id verb) {
    for (size_t i = 0; i < sizeof option_texts / sizeof *option_texts; i++)
        if (option_texts[i].option == id && option_texts[i].verb == verb) return option_texts[i].text;
    return option_table[id].text;
}

bool verb_has_actions(enum verb_id verb) {
    for (const struct action_info *a = action_table; a->name; a++)
        if (a->verb == verb) return true;
    return false;
}

const struct action_info *action_find(enum verb_id verb, const char *name) {
    for (const struct action_info *a = action_table; a->name; a++)
        if (a->verb == verb && strcmp(a->name, name) == 0) return a;
    return NULL;
}

bool words_next(const char **cursor, char separator, const char **ret_word, size_t *ret_len) {
    if (!*cursor || !**cursor) return false;
    const char *end = strchr(*cursor, separator);
    *ret_word = *cursor;
    *ret_len = end ? (size_t)(end - *cursor) : strlen(*cursor);
    *cursor = end ? end + 1 : NULL;
    return true;
}
