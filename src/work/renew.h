/* Locks of what recovery points still use, made longer before they end. What nothing uses is left to run out. A held
 * point is in use like any other, so a hold needs no lock of its own: packs are shared between points, and a legal hold
 * knows neither whose it is nor how many there are, so that letting go of one point would unlock another's. */
#ifndef PK_WORK_RENEW_H
#define PK_WORK_RENEW_H

#include "work/context.h"

struct renew_options {
    bool when_due;        /* do nothing before the time that the last run set */
    uint64_t objects_max; /* locks looked at or made longer at most; 0: all */
};
struct renew_totals {
    bool configured; /* false: the repository has no immutability, and nothing was done */
    bool due;        /* false: when_due, and it is not yet */
    bool complete;   /* false: objects_max was reached; the next run goes on */
    uint64_t objects, looked_at, renewed;
    uint64_t missing;   /* in use, and not there: see revive.h */
    int64_t soonest_ns; /* when the first lock of what is in use ends; 0: nothing is locked */
    int64_t next_ns;    /* when the next run is due */
};
/* Of the open repository. A lock that ends sooner than half of its class's time from now is made to end the whole time
 * from now. An object without a
 * lock gets one of the configured mode; governance becomes compliance where these credentials may do that, and stays where not. What was found is remembered in the cache,
 * whose loss costs a look at every object. An error leaves what was done before done and remembered. */
int work_renew(struct work *w, const struct renew_options *o, struct renew_totals *ret, struct error *err) PK_CHECK;

#endif
