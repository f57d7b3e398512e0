/* What a verb gets. One file a verb: src/cli/verb_<name>.c, listed in verbs.def; it reads options, calls work/, prints.
 */
#ifndef PK_CLI_CLI_H
#define PK_CLI_CLI_H

#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"

struct cli {
    const char *program; /* argv[0] as given, for messages only */
    const struct options *options;
    struct output *output;
};

/* 0, or a negative code with `err` filled; the exit status is the one of its row in the table of errors. Jobs leave
 * what the result line says with output_set_result(); everything is printed through c->output. */
typedef int (*verb_run)(struct cli *c, struct error *err);
extern const verb_run verb_runs[VERB_COUNT]; /* from verbs.def; NULL: this build cannot run the verb */

#define VERB_RUN(id, function) int function(struct cli *c, struct error *err) PK_CHECK;
#include "cli/verbs.def"
#undef VERB_RUN

/* The whole program: parse, run, print, and the exit status. main() adds signals and the process's own settings. */
enum exit_status cli_run(int argc, char *const *argv, int out_fd, int err_fd);
/* The exit status that is due for a failure: 'wal get' has statuses of its own. */
enum exit_status cli_status(int argc, char *const *argv, enum exit_status status, enum error_code code);

#endif
