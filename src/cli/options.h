/* The command line, parsed by the table of options: `--opt value`, `--opt=value`, `-qv`, `-r URL`, `-rURL`, `--` ends
 * options. No abbreviations. Options may stand before or after the verb. Values are checked by their kind while
 * parsing, so the accessors cannot fail. A value that begins with "--" must be written `--opt=--value`.
 */
#ifndef PK_CLI_OPTIONS_H
#define PK_CLI_OPTIONS_H

#include "cli/table.h"
#include <stddef.h>

/* What main needs before, and even when, parsing fails. */
struct options_early {
    bool json, quiet;
    unsigned verbose;
    const char *color; /* "auto" if not given or not a word of the table */
};
struct options_early options_peek(int argc, char *const *argv);

struct options;
/* argv is borrowed for as long as the result lives. ERR_USAGE with a suggestion, and the verb's help as the next step.
 * With --help or --version nothing but the verb is required to be right. *ret is untouched on failure. */
int options_parse(int argc, char *const *argv, struct options **ret, struct error *err) PK_CHECK;
void options_free(struct options *o); /* NULL is fine */

enum verb_id options_verb(const struct options *o); /* VERB_NONE: only --help, --version or --completions */
bool options_is_action(const struct options *o, const char *name);

/* What was asked for is a job: with --json it prints events, the last of them the result. */
bool options_is_job(const struct options *o);

bool options_given(const struct options *o, enum option_id id);
/* FLAG */
bool options_flag(const struct options *o, enum option_id id);
/* SWITCHES: how many times */
unsigned options_switches(const struct options *o, enum option_id id);
/* Every kind with a value: the text; NULL when not given. EACH and REST: the last one. Borrowed from argv. */
const char *options_text(const struct options *o, enum option_id id);
/* EACH, REST: all values in order, NULL-terminated; never NULL. REST includes the operands. */
const char *const *options_list(const struct options *o, enum option_id id, size_t *ret_n);
int64_t options_duration(const struct options *o, enum option_id id, int64_t otherwise_ns);
unsigned options_count(const struct options *o, enum option_id id, unsigned otherwise);

/* What remains after verb, action and options; NULL-terminated; never NULL. Empty when an option of kind REST took
 * them. */
const char *const *options_operands(const struct options *o, size_t *ret_n);
const char *options_operand(const struct options *o, size_t i); /* NULL past the end */

/* The word of `words` (NULL-terminated) that is nearest to `word`, or NULL when none is near enough to suggest. */
const char *options_suggest(const char *word, const char *const *words);

#endif
