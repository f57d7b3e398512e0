/* The verb restore in parts: rows have a plan of their own. */
#ifndef PK_CLI_VERB_RESTORE_H
#define PK_CLI_VERB_RESTORE_H

#include "cli/cli.h"

bool verb_restore_is_rows(struct cli *c); /* --rows, or the plan of such a restore */
int verb_restore_rows(struct cli *c, struct error *err) PK_CHECK;

#endif
