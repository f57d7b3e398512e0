/* Documents made from the tables: help, manual page, completions and the reference. Each appends to `out`. Pure
 * functions of the tables and the version; text for people is plain ASCII. */
#ifndef PK_CLI_DOCS_H
#define PK_CLI_DOCS_H

#include "base/bytes.h"
#include "base/json.h"
#include "cli/table.h"

#define DOCS_BYTES_MAX (1u << 20)

int docs_help_program(struct buf *out, struct error *err) PK_CHECK;
int docs_help_verb(enum verb_id verb, struct buf *out, struct error *err) PK_CHECK;
int docs_help_error(const struct error_info *info, struct buf *out, struct error *err) PK_CHECK;
/* The same for programs. */
int docs_json_program(json_t **ret, struct error *err) PK_CHECK;
int docs_json_verb(enum verb_id verb, json_t **ret, struct error *err) PK_CHECK;
int docs_json_error(const struct error_info *info, json_t **ret, struct error *err) PK_CHECK;

int docs_man(struct buf *out, struct error *err) PK_CHECK; /* mdoc(7) */
int docs_bash(struct buf *out, struct error *err) PK_CHECK;
int docs_zsh(struct buf *out, struct error *err) PK_CHECK;
int docs_fish(struct buf *out, struct error *err) PK_CHECK;
int docs_cli_md(struct buf *out, struct error *err) PK_CHECK;
int docs_errors_md(struct buf *out, struct error *err) PK_CHECK;
int docs_exit_md(struct buf *out, struct error *err) PK_CHECK;
int docs_metrics_md(struct buf *out, struct error *err) PK_CHECK;

/* By the name that proofkeep-docgen takes ("man", "bash", …) and the place below the project where a copy is kept
 * (NULL for completions, which only the binary prints). Ends with a NULL name. */
struct docs_kind {
    const char *name, *copy;
    int (*make)(struct buf *out, struct error *err);
};
extern const struct docs_kind docs_kinds[];

/* ---- helpers of the generators */
/* "--jobs N" or "-r, --repository URL". */
int docs_option_head(enum option_id id, struct buf *out, struct error *err) PK_CHECK;
/* Words of `text` in lines of at most `columns`, each begun with `indent` spaces; the first line is already begun `at`
 * columns in. */
int docs_wrap(struct buf *out, const char *text, unsigned indent, unsigned at, unsigned columns,
              struct error *err) PK_CHECK;

#endif
