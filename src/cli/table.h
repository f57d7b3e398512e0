/* options_table.def as arrays and look-ups. All of it is constant; any thread may use it. */
#ifndef PK_CLI_TABLE_H
#define PK_CLI_TABLE_H

#include "base/error.h"
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

enum verb_id {
    VERB_NONE = -1,
#define VERB(id, name, operands, min, max, instead, job, summary, description) VERB_##id,
#include "cli/options_table.def"
    VERB_COUNT
};

enum option_id {
    OPT_NONE = -1,
#define OPTION(id, name, short_name, kind, placeholder, times, verbs, text) OPT_##id,
#include "cli/options_table.def"
    OPT_COUNT
};

enum option_kind {
    KIND_FLAG,     /* no value */
    KIND_SWITCHES, /* no value, counted */
    KIND_TEXT,
    KIND_FILE,
    KIND_FOLDER,
    KIND_PLACE, /* a repository: URL, folder or name */
    KIND_DURATION,
    KIND_COUNT,
    KIND_CHOICE, /* one of the placeholder's words */
};
enum option_times { TIMES_ONCE, TIMES_EACH, TIMES_REST };

struct verb_info {
    const char *name, *operands, *summary, *description;
    unsigned operands_min, operands_max; /* UINT_MAX: no limit */
    enum option_id instead;              /* stands in for the operands; OPT_NONE for no option */
    bool job;                            /* prints events with --json */
};
struct action_info {
    enum verb_id verb;
    const char *name, *operands, *summary;
    unsigned operands_min, operands_max;
    bool job;
};
struct option_info {
    const char *name, *placeholder, *text;
    char short_name; /* 0 for none */
    enum option_kind kind;
    enum option_times times;
    uint32_t verbs; /* bit 1 << verb_id */
};
struct example_info {
    enum verb_id verb;
    const char *command, *text;
};

struct need_info {
    enum verb_id verb;
    const char *action; /* "" when the verb has none */
    enum option_id option;
};

extern const struct verb_info verb_table[VERB_COUNT];
extern const struct option_info option_table[OPT_COUNT];
extern const struct action_info action_table[];   /* ends with a NULL name */
extern const struct need_info need_table[];       /* ends with a NULL action */
extern const struct example_info example_table[]; /* ends with a NULL command */

enum verb_id verb_find(const char *name);
enum option_id option_find(const char *name, size_t len); /* without the dashes */
enum option_id option_find_short(char c);
bool option_has_value(enum option_id id);
bool option_applies(enum option_id id, enum verb_id verb);
bool option_is_global(enum option_id id); /* every verb takes it */
/* What the option means for a verb; VERB_NONE asks for the general text. */
const char *option_text(enum option_id id, enum verb_id verb);
bool verb_has_actions(enum verb_id verb);
/* NULL when the verb has no such action. */
const struct action_info *action_find(enum verb_id verb, const char *name);
/* The index'th of words joined by `separator`: false when there are no more. */
bool words_next(const char **cursor, char separator, const char **ret_word, size_t *ret_len);

#endif
