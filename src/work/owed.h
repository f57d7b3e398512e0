/* Statements that are owed to a log which could not be reached when their job ended: they lie in the cache folder, and
 * the next job that writes to that log puts them in first to last. One that says that anything went well is signed when
 * it is kept, with the key that would have signed its entry, and is refused unless that signature holds, or when it is
 * an entry of a log already; without a key only a failure's receipt is kept. What is not paid after a kill between
 * appending and removing is paid twice, which harms nothing. */
#ifndef PK_WORK_OWED_H
#define PK_WORK_OWED_H

#include "work/context.h"

#define OWED_MAX 1000 /* statements for one repository; further ones are refused */

/* repo_append. Out of reach: the statement is kept, which the error says, and the code stays. Done: what is owed
 * follows. */
int owed_append(struct work *w, const char *label, json_t *statement, uint64_t *ret_seq, struct digest *ret,
                struct error *err) PK_CHECK;
/* The receipt of a failure, for a repository that could not be opened; ERR_INTERNAL for any other statement. */
int owed_keep(struct work *w, const char *url, json_t *statement, struct error *err) PK_CHECK;
/* Puts what is owed into the open repository's log; tells of it, and of what was refused, as warnings of `label`. */
void owed_pay(struct work *w, const char *label);
/* How many are owed to the repository at `url`; folder (may be NULL) is where they lie. */
unsigned owed_count(const struct work *w, const char *url, char folder[4200]);

#endif
