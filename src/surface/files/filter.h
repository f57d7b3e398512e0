/* Which items a restore wants: names, folders with all below them, or globs; with or without a leading '/', against the
 * item's name or against its path below its root. No patterns: everything. */
#ifndef PK_SURFACE_FILES_FILTER_H
#define PK_SURFACE_FILES_FILTER_H

#include "surface/files/tree.h"

struct filter {
    struct bytes *patterns; /* borrowed text */
    bool *hit;
    size_t n;
    struct bytes *roots; /* item names, of the snapshot's facts; borrowed */
    size_t n_roots;
    bool single; /* one root, a folder: it is itself the target, else names are kept whole below it */
};
int filter_init(struct filter *f, const char *const *include, const json_t *facts, struct error *err) PK_CHECK;
void filter_free(struct filter *f);
/* Whether a pattern names this very item. Remembers which did. */
bool filter_names(struct filter *f, struct bytes name);
/* Whether the item or a folder above it is named. */
bool filter_selects(struct filter *f, struct bytes name);
bool filter_is_root(const struct filter *f, struct bytes name);
/* The item's path below the target; empty for the target itself. */
struct bytes filter_target_path(const struct filter *f, struct bytes name);
/* ERR_NO_POINT for a pattern that named nothing. */
int filter_check_hits(const struct filter *f, struct error *err) PK_CHECK;

#endif
