/* The platform's standby mode around a restore that touches something live: hooks.standby before, hooks.live after, whatever
 * happened between. A mark beside the plan outlives a kill. */
#ifndef PK_WORK_AROUND_H
#define PK_WORK_AROUND_H

#include "work/plan_file.h"

/* *ret: it is in standby, and around_end is due; also when the hook failed. Without such a hook nothing is done. */
int around_begin(struct work *w, const struct surface_context *ctx, const char *plan, bool *ret, struct error *err) PK_CHECK;
int around_end(struct work *w, const struct surface_context *ctx, const char *plan, struct error *err) PK_CHECK;
/* After a kill: runs hooks.live if the plan's run left the platform in standby. *ret: it had. */
int around_abort(struct work *w, const char *plan, bool *ret, struct error *err) PK_CHECK;

#endif
