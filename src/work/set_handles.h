/* Members of a set are worked on at once by handles of the repository of their own: a context belongs to one thread,
 * and what two handles of one process do to the repository and the cache is what two processes do, which both are made
 * for. */
#ifndef PK_WORK_SET_HANDLES_H
#define PK_WORK_SET_HANDLES_H

#include "work/context.h"

#define SET_HANDLES_MAX 8u

struct set_handles {
    struct work *of[SET_HANDLES_MAX]; /* the first is the caller's; each is for one thread at a time */
    unsigned count;
    unsigned jobs; /* of the caller's, as it was */
};
/* `w`, whose repository is open (or out of reach, with `want` 1), and others like it. Where one cannot be had there are
 * fewer; none of the others is a copy in the repository's place. A passphrase is not asked for again. With more than
 * one, each works with `threads`. Never fails. */
void set_handles_open(struct set_handles *h, struct work *w, const char *environment, unsigned want, unsigned threads);
/* Closes the others, whose requests are counted as w's. */
void set_handles_close(struct set_handles *h);

#endif
