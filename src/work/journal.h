/* The journal of a path of steps: which are done, what they left behind, and how long each took, in one small file that is
 * replaced durably at every change, so that a killed run can be gone on with, or undone.
 *
 *  1. A step is written down as begun before it does anything, and as ended after all it did.
 *  2. What undoing needs is in the file before the thing to be undone is done (journal_keep).
 *  3. One process at a time has it.
 */
#ifndef PK_WORK_JOURNAL_H
#define PK_WORK_JOURNAL_H

#include "base/error.h"
#include "base/json.h"
#include <stdint.h>

enum step_state { STEP_PENDING, STEP_BEGUN, STEP_DONE, STEP_FAILED };
const char *step_state_name(enum step_state s); /* "pending", "begun", "done", "failed" */

struct journal {
    char path[4200];
    int lock;
    json_t *doc;      /* {"v", "subject", "state", "kept": {…}, "steps": [{"name", "state", "runs", "began", "ms", "detail"?, "error"?}]} */
    int64_t begun_ns; /* of the step that runs; monotonic */
};
/* Opens the journal at `path`, or begins a new one of these steps (NULL-terminated), state "new", which is durable when it returns. `subject`
 * says whose it is. ERR_JOURNAL_BUSY when another process has it; ERR_JOURNAL when the file is damaged, of another subject or other
 * steps. To be closed whatever was answered. */
int journal_open(const char *path, const char *subject, const char *const *steps, struct journal *ret, struct error *err) PK_CHECK;
void journal_close(struct journal *j);

size_t journal_steps(const struct journal *j);
const char *journal_name(const struct journal *j, size_t step);
enum step_state journal_state(const struct journal *j, size_t step);
/* Of a name; PENDING for one that is not among the steps. */
enum step_state journal_state_of(const struct journal *j, const char *name);

/* All durable when they return 0; after a failure memory says what it did before. */
int journal_begin(struct journal *j, size_t step, struct error *err) PK_CHECK;
/* Done, or failed because of `why`; with what it found (owned, may be NULL). */
int journal_done(struct journal *j, size_t step, json_t *detail, struct error *err) PK_CHECK;
int journal_failed(struct journal *j, size_t step, json_t *detail, const struct error *why, struct error *err) PK_CHECK;
/* As if it had never been begun. Steps that are not there are passed over. */
int journal_again(struct journal *j, const char *const *names, struct error *err) PK_CHECK;
/* A fact, kept under a name; value is owned. */
int journal_keep(struct journal *j, const char *name, json_t *value, struct error *err) PK_CHECK;
const json_t *journal_kept(const struct journal *j, const char *name); /* borrowed; NULL */
int journal_set(struct journal *j, const char *state, struct error *err) PK_CHECK;
const char *journal_is(const struct journal *j); /* the state of the whole path */

#endif
