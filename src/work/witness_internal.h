/* A witness's insides, for the files that vouch. */
#ifndef PK_WORK_WITNESS_INTERNAL_H
#define PK_WORK_WITNESS_INTERNAL_H

#include "work/witness.h"

struct witness {
    char dir[4096], *url;
    int fd, lock; /* the folder; the lock on it */
    struct note_key key, log;
    struct secret *seed;
    struct store *store;
    struct witness_log *watch;
    struct buf cosigned; /* empty: nothing yet */
    struct witness_seen seen;
};
/* Store and log, opened when they are not. */
int witness_watch(struct witness *w, struct error *err) PK_CHECK;
/* After a failure nothing of a handle is used again. */
void witness_unwatch(struct witness *w);
/* Sign the checkpoint in `note`, and make that what was vouched for last; durable when it returns. ret_note: the note with the
 * new line, which begins at *ret_line. */
int witness_vouch(struct witness *w, struct bytes note, const struct checkpoint_parts *p, int64_t time_s, struct buf *ret_note, size_t *ret_line,
                  struct error *err) PK_CHECK;

#endif
