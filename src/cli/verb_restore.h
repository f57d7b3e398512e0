/* The verb restore in parts: rows have a plan of their own. */
#ifndef PK_CLI_VERB_RESTORE_H
#define PK_CLI_VERB_RESTORE_H

#include "cli/cli.h"
#include "work/restore.h"

struct restore_options verb_restore_options(struct cli *c);     /* what was given; borrows from the options */
void verb_restore_plan_event(struct cli *c, const json_t *doc); /* --json: the plan as an event, its seq as log_seq */
/* What of a plan, or of a member of a set's, is backed up before anything is written over; nothing when nothing is. */
void verb_restore_first_print(struct cli *c, const json_t *doc, const char *label, const char *lead);
/* Where a target was found in the WAL; NULL: nothing. */
void verb_restore_found_print(struct cli *c, const json_t *found);
bool verb_restore_is_rows(struct cli *c); /* --rows, or the plan of such a restore */
int verb_restore_rows(struct cli *c, struct error *err) PK_CHECK;
bool verb_restore_is_cutover(struct cli *c); /* --cutover, or the plan of one */
int verb_restore_cutover(struct cli *c, struct error *err) PK_CHECK;
int verb_restore_no_cutover(struct cli *c, struct error *err) PK_CHECK; /* ERR_USAGE for options that are of it alone */

/* The plan is to be carried out by its id: ERR_CONFIRM with the phrase of a protected environment; NULL:
 * ERR_TARGET_NOT_EMPTY with what `full` says. */
int verb_restore_by_name(const char *phrase, const char *full, const char *plan, struct error *err) PK_CHECK;

/* Of a set; NULL: carry out --plan, which is a set's. */
struct work;
struct set_info;
int verb_restore_set(struct cli *c, struct work *w, const struct set_info *s, struct error *err) PK_CHECK;
int verb_restore_set_abort(struct cli *c, struct work *w, const char *plan, struct error *err) PK_CHECK;

#endif
