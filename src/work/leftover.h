/* What killed runs leave behind: scratch folders, and half-made folders beside a target. The living hold a flock on theirs,
 * so what can be locked is dead, whatever process ids say. File systems without flock keep their leftovers. */
#ifndef PK_WORK_LEFTOVER_H
#define PK_WORK_LEFTOVER_H

#include "work/context.h"

/* Make a folder, mode 0700, and lock it for as long as *ret is open. */
int leftover_lock_new(const char *path, int *ret, struct error *err) PK_CHECK;
/* Lock a folder that is being filled; nothing where the file system has no locks. */
int leftover_lock(int fd, const char *path, struct error *err) PK_CHECK;

/* Remove the scratch folders "proofkeep-<pid>-<12 digits>" of ours in `base` whose owners are dead; how many. Never fails:
 * what cannot be removed stays. */
unsigned leftover_scratch_remove(const char *base);

/* Half-made folders of dead runs (of ours, or, for root, of another user with an empty file ".proofkeep-partial" of
 * root's in them), in the folder where `target` lies: those of `target` alone, or of anything there when `all`.
 * Non-zero from cb stops and is answered. `path` is borrowed for the call, while the folder is locked. */
typedef int (*leftover_cb)(void *ctx, const char *path, struct error *err);
int leftover_partials(const char *target, bool all, leftover_cb cb, void *ctx, struct error *err) PK_CHECK;
/* Those of `target` alone. Name or remove them; both go to the warning event of `label`. Never fails. How many were
 * removed. */
void work_partials_name(struct work *w, const char *target, const char *label);
unsigned work_partials_remove(struct work *w, const char *target, const char *label);

#endif
