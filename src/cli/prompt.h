/* Questions to a person, on /dev/tty. Asked only when that is allowed: no --no-input, no --json, and a terminal as
 * standard input. Where it is not, the function fails with the caller's code and names the option that answers instead.
 */
#ifndef PK_CLI_PROMPT_H
#define PK_CLI_PROMPT_H

#include "cli/cli.h"

struct prompt {
    const char *question;    /* "Passphrase" */
    const char *instead;     /* "--passphrase-file PATH" */
    enum error_code refusal; /* ERR_CONFIRM, ERR_KEY_NONE … */
};
/* One line, without its newline, appended to answer and NUL-terminated (not counted). An end of input is a refusal too.
 * ERR_INTERRUPTED or ERR_TERMINATED when a signal came. */
int prompt_line(const struct cli *c, const struct prompt *p, struct buf *answer, struct error *err) PK_CHECK;
/* The phrase that confirms what a protected environment is about to suffer: --confirm, or what is typed, which `typed`
 * holds. `phrase` NULL: nothing needs it, and *ret is what --confirm says, or NULL. ERR_CONFIRM where it cannot be
 * asked. */
int prompt_phrase(const struct cli *c, const char *phrase, struct buf *typed, const char **ret,
                  struct error *err) PK_CHECK;
/* The same as prompt_line without echo, which is restored however the program ends. The caller wipes the answer. */
int prompt_secret(const struct cli *c, const struct prompt *p, struct buf *answer, struct error *err) PK_CHECK;
/* For signal handlers: give the terminal its echo back. */
void prompt_restore_terminal(void);

#endif
