/* What the parts of a set's restore share: a plan that is being carried out. */
#ifndef PK_WORK_SET_RESTORE_INTERNAL_H
#define PK_WORK_SET_RESTORE_INTERNAL_H

#include "work/set_restore.h"

struct set_run {
    struct work *w;
    const struct set_plan *p;
    const json_t *members;
    struct set_spec spec;
    const struct set_restore_watch *watch;
    struct set_restore_done *done;
    struct restore_plan *plans; /* of members that are to be restored */
    struct set_restored *rows;
    size_t n;
    json_t *journal; /* {"members": {surface: {…}}, "took_ms", "finished"} */
    char path[4200];
    int lock;
    int64_t started_ns;
};
/* Writes a member's row and the whole journal, durably. One thread at a time. */
int set_journal_put(struct set_run *r, const struct set_restored *m, const char *plan, const char *state,
                    const char *fingerprint, struct error *err) PK_CHECK;
void set_member_tell(const struct set_run *r, const struct set_restored *m);

/* Restores all that are not SET_ALREADY: each after what it waits for, as many at once as set_restore_share says. The
 * error is that of the first in the plan's order that failed. */
int set_restore_all(struct set_run *r, struct error *err) PK_CHECK;
/* Whether member i of the plan waits for member d before it: it depends on it, or both go into one server, or into
 * folders of which one is in the other. `to` are the members' plans; doc NULL: what was restored before. */
bool set_restore_waits(const json_t *members, const struct restore_plan *to, size_t i, size_t d);
/* How many of `width` members may be restored at once by `jobs` threads each within SET_MEMORY_BYTES, the threads of
 * each, and the caches of each (0: those of one alone). far: from a store where a request costs more than what it
 * brings, of which packs are read ahead. */
void set_restore_share(size_t width, unsigned jobs, bool far, unsigned *ret_at_once, unsigned *ret_threads,
                       size_t *ret_cache_bytes);

#endif
