/* Repositories of the configuration beside the one that a work is at: its fallback, its copies. */
#ifndef PK_WORK_BESIDE_H
#define PK_WORK_BESIDE_H

#include "work/context.h"

/* What the configuration says of the repository that `environment` (may be NULL) has; NULL when it does not have it. */
const struct config_repository *beside_config(struct work *w, const char *environment);
/* The repository of that name, opened as the configuration says, in a work of its own that the caller closes. Nothing of how
 * `w` was told to open its own is used. */
int beside_open(const struct work *w, const char *name, const char *environment, struct work **ret, struct error *err) PK_CHECK;
/* Tell the caller's front end; printf-like. */
void beside_warn(const struct work *w, const char *label, const char *fmt, ...) PK_PRINTF(3, 4);

#endif
