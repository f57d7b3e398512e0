/* What the bucket is set to, and how what lies in it is locked, measured against the repository's policy (its
 * `immutability`). Changes nothing. What a server does not tell is unknown, and where the policy asks for it, that is
 * no better than a breach. */
#ifndef PK_WORK_DRIFT_H
#define PK_WORK_DRIFT_H

#include "store/versions.h"
#include "work/context.h"

enum drift_state {
    DRIFT_UNKNOWN = 0, /* it could not be found out, and the policy asks for it */
    DRIFT_OK,          /* as the policy asks, or no harm */
    DRIFT_TOLD,        /* no policy asks for it, and it has a consequence */
    DRIFT_BREACHED,
};
struct drift_signal {
    const char *name; /* "lock", "versions", "expiry", "archive", "old-versions", "uploads", "encryption", "public",
                         "removal", "retention", "hidden" */
    enum drift_state state;
    char text[400];   /* what is, with its consequence */
    const char *next; /* NULL: nothing need be done */
};
typedef int (*drift_cb)(void *ctx, const struct drift_signal *s, struct error *err);
struct drift_totals {
    unsigned ok, told, unknown, breached;
};
/* Of the open repository, each signal in turn, always all of them in the same order. Remembered in the cache, for
 * metrics. Nothing is told of a folder. The locks of up to 64 objects in use, chosen at random, are looked at. */
int work_drift(struct work *w, drift_cb cb, void *ctx, struct drift_totals *ret, struct error *err) PK_CHECK;
/* What the last work_drift of this machine found of the open repository; false: there was none. */
bool drift_last(const struct work *w, struct drift_totals *ret, int64_t *ret_time_ns);
const char *drift_state_name(enum drift_state s); /* "unknown", "ok", "told", "breached" */

#endif
