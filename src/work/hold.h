/* Holds: recovery points that stay whatever retention says. Each hold and each release is an entry of the log. */
#ifndef PK_WORK_HOLD_H
#define PK_WORK_HOLD_H

#include "work/select.h"

struct hold_done {
    char label[1200], id[SNAPSHOT_ID_MAX]; /* of the point or the set */
    uint64_t seq;                          /* of the entry, the last one's of a set */
    unsigned ended;                        /* release: how many holds it ended */
    unsigned points;                       /* how many recovery points were held or released: several of a set */
};
/* ERR_KEY_ROLE for a key that may not: adding wants an admin, prune or restore key, releasing an admin key. Releasing
 * what is not held is ERR_NO_POINT. Durable when they return.
 * The point of a set is held, and released, in all its members, an entry each; one that lacks a member is not held
 * (ERR_NO_POINT). Cut off in the middle, the call made again holds or releases the rest. */
int hold_add(struct work *w, const char *address, const char *reason, struct hold_done *ret,
             struct error *err) PK_CHECK;
int hold_release(struct work *w, const char *address, const char *reason, struct hold_done *ret,
                 struct error *err) PK_CHECK;

/* One hold in force. Borrowed for the call. */
struct hold_line {
    const struct snapshot_info *point;
    const struct hold_info *hold;
    const char *reason, *principal; /* as its entry has them */
    const struct set_info *set;     /* all members were held as one, and this is the first; NULL: one point by itself */
    size_t held;                    /* of the set: members on which such a hold stands */
};
typedef int (*hold_cb)(void *ctx, const struct hold_line *l, struct error *err);
/* Of the open repository, in the order of the log; a set that is held as one is one line. */
int hold_list(struct work *w, const struct selection *s, hold_cb cb, void *ctx, struct error *err) PK_CHECK;

#endif
