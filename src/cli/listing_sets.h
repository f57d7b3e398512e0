/* Sets, as verbs show them. */
#ifndef PK_CLI_LISTING_SETS_H
#define PK_CLI_LISTING_SETS_H

#include "cli/cli.h"
#include "cli/listing.h"
#include "work/status.h"

/* A table of sets of recovery points: listing_new's columns, and a row. */
int listing_sets_new(struct listing **ret, struct error *err) PK_CHECK;
int listing_sets_row(struct listing *l, const struct work *w, const struct set_info *s, struct error *err) PK_CHECK;
/* The table of `status`. Nothing when there is none. */
int listing_sets_status(struct cli *c, const struct status *st, struct error *err) PK_CHECK;
/* What there is to say of one: 'show'. */
int listing_sets_show(struct cli *c, struct work *w, const struct set_info *s, struct error *err) PK_CHECK;

#endif
