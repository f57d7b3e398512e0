/* What verbs share: the work they begin from, made of the options that every verb has. */
#ifndef PK_CLI_VERB_H
#define PK_CLI_VERB_H

#include "cli/cli.h"
#include "work/context.h"

/* Configuration, cache and the way to the key, from the options; nothing is opened yet. Jobs report progress, warnings and
 * receipts through the output; queries only warn, and not with --json, whose output is one document. `c` outlives it. */
int verb_work(struct cli *c, struct work **ret, struct error *err) PK_CHECK;
/* The same for another repository than --repository, opened with this key file or as the configuration says. */
int verb_work_other(struct cli *c, const char *repository, const char *key_file, struct work **ret, struct error *err) PK_CHECK;
/* Like verb_work, for verbs that read recovery points: with the help of copies, or from the one that --from names. */
int verb_work_reading(struct cli *c, struct work **ret, struct error *err) PK_CHECK;
/* Warn of what came from copies, before the work is closed. */
void verb_copies_say(struct cli *c, const struct work *w);
void verb_work_close(struct work **w); /* for CLEANUP() */

/* "5 m ago"; out has at least 48 bytes. */
void verb_age(int64_t then_ns, int64_t now_ns, char out[48]);

/* --budget: a duration or a size; both 0 when it was not given. */
int verb_budget(struct cli *c, int64_t *ret_ns, uint64_t *ret_bytes, struct error *err) PK_CHECK;

/* "120 MiB/s"; out has at least 40 bytes. */
void verb_rate(uint64_t bytes, int64_t duration_ns, char out[40]);

#endif
