/* Sets in copies: the receipt of a set follows its members, and names those of the copy.
 *
 * A set is told only when every member of it is there, so a copy that was cut off never shows one that lacks a member.
 */
#ifndef PK_WORK_COPY_SETS_H
#define PK_WORK_COPY_SETS_H

#include "work/set.h"

struct copy_sets {
    unsigned done, there;
    size_t next; /* of the source's sets: those before it have been looked at */
};
/* Tell `to` of each set of `from` from `next` on that was recorded before the place `before` and that is whole at `to`,
 * where that is not known. Both are open. */
int copy_sets_run(struct work *from, struct work *to, uint64_t before, struct copy_sets *s, struct error *err) PK_CHECK;

#endif
