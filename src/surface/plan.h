/* The plan of a restore as the driver's `plan` hands it out (surface.h), put together by drivers that make theirs
 * alike. */
#ifndef PK_SURFACE_PLAN_H
#define PK_SURFACE_PLAN_H

#include "base/json.h"

struct plan_parts {
    json_t *steps, *warnings; /* arrays */
    struct buf print;         /* what the fingerprint is of: identities, never sizes or counters */
    bool overwrites;          /* surface.h, plan */
};
int plan_begin(struct plan_parts *p, struct error *err) PK_CHECK;
void plan_end(struct plan_parts *p); /* safe on zeroed */
/* A sentence at the end of one of the two lists. */
int plan_say(json_t *list, struct error *err, const char *fmt, ...) PK_CHECK PK_PRINTF(3, 4);
/* "fingerprint", "exists", "empty", "overwrites", "space_bytes", "steps" and "warnings". */
int plan_put(const struct plan_parts *p, bool exists, bool empty, uint64_t space_bytes, json_t *out,
             struct error *err) PK_CHECK;

#endif
