/* Hooks in pairs around a job on a set: `freeze` and `resume` around its backup, `standby` and `live` around its
 * restore. The second of a pair is run whatever happens in between, also after a stop; and as no one can do that after
 * a SIGKILL, a journal in the cache folder remembers what the first has done until the second has undone it. One job at
 * a time has an environment's pair. */
#ifndef PK_WORK_QUIESCE_H
#define PK_WORK_QUIESCE_H

#include "platform/set.h"
#include "work/context.h"

struct quiesce {
    struct work *work;
    const struct set_spec *spec;
    const char *down, *up, *action;
    char path[4200];
    int fd;                 /* of the journal, locked; -1: nothing is to be undone */
    bool all;               /* the set's own hook was run, or one of every surface */
    int64_t down_ns, up_ns; /* when the first had done, and when the second began */
};
/* Runs `down` ("freeze") of the set and of each surface, where configured. 0 also when there is none: then q->fd is -1.
 * What a killed job left is undone first with `undo_left`, or when it was of another set, and told as a warning
 * either way. When a hook fails, those
 * that were run are undone before the error is answered. ERR_BUSY_HOOKS when another job has this pair of the
 * environment. q borrows spec and the words until quiesce_end. */
int quiesce_begin(struct quiesce *q, struct work *w, const struct set_spec *spec, const char *down, const char *up,
                  const char *action, bool undo_left, struct error *err) PK_CHECK;
/* Runs `up` in the reverse order, each one whatever the others do; 0 when nothing was to be done, or has been. After an
 * error the journal stays. Any thread, once. */
int quiesce_end(struct quiesce *q, struct error *err) PK_CHECK;
/* Runs `up` for what a job that was killed left of `spec`'s environment, when that was of `spec`'s set; *ret: it had.
 * ERR_SET_BUSY while a job is at it. */
int quiesce_undo_left(struct work *w, const struct set_spec *spec, const char *down, const char *up, const char *action,
                      bool *ret, struct error *err) PK_CHECK;
/* Whether a job that was killed left something of this kind ("freeze") in the environment: a sentence about it. */
bool quiesce_left(struct work *w, const char *environment, const char *down, char *out, size_t n);

#endif
