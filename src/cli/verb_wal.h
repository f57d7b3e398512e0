/* Parts of `proofkeep wal` that talk to a server. */
#ifndef PK_CLI_VERB_WAL_H
#define PK_CLI_VERB_WAL_H

#include "cli/verb.h"

int wal_receive(struct cli *c, struct work *w, const struct address *a, struct error *err) PK_CHECK;
int wal_switch(struct cli *c, struct work *w, const struct address *a, struct error *err) PK_CHECK;

#endif
