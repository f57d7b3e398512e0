/* Copying recovery points from one repository into another. */
#ifndef PK_WORK_COPY_H
#define PK_WORK_COPY_H

#include "repo/copy.h"
#include "work/select.h"

enum copy_outcome {
    COPY_FAILED = 0,
    COPY_DONE,
    COPY_THERE,   /* it was there already */
    COPY_SUSPECT, /* its writer's key was revoked as stolen: not copied */
    COPY_WOULD,   /* with dry_run */
};
struct copy_point { /* one of the source's, as told to the caller; borrowed for the call */
    enum copy_outcome outcome;
    char label[260];
    const char *id;
    uint64_t source_seq, seq; /* seq: of the new entry, when COPY_DONE */
    uint64_t bytes;           /* of the recovery point */
    struct copy_stats stats;
    int64_t duration_ns;
    const struct error *failure;
};
struct copy_request {
    const char *const
        *addresses; /* "env", "env/surface[,…][@point]", "env/all"; without a point: every one of the surface */
    size_t count;   /* 0: every recovery point of the repository */
    bool dry_run;
};
struct copy_result {
    unsigned done, there, suspect, failed, would;
    struct copy_stats stats;
    uint64_t bytes; /* of the recovery points copied */
    int64_t duration_ns;
    struct error first; /* of a point that failed */
    char label[65];     /* what the source's log calls the destination */
    size_t behind;      /* recovery points of the source that the destination still lacks */
};
typedef int (*copy_point_cb)(void *ctx, const struct copy_point *p, struct error *err); /* non-zero stops */
/* `from` and `to` are works of their own, each with its options.repository and the way to its key; both are opened
 * here. Oldest first. Damage of one point does not stop the others: 0, and ret->failed counts it. A failure that
 * concerns all ends the run. Afterwards the source's log is told what the copy has, when that is news. */
int work_copy(struct work *from, struct work *to, const struct copy_request *q, copy_point_cb cb, void *ctx,
              struct copy_result *ret, struct error *err) PK_CHECK;

#endif
