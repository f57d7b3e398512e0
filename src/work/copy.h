/* Copying recovery points from one repository into another. */
#ifndef PK_WORK_COPY_H
#define PK_WORK_COPY_H

#include "repo/copy.h"
#include "work/copy_sets.h"
#include "work/copy_wal.h"
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
    const char *const *addresses; /* "env", "env/surface[,…][@point]", "env/all"; the point of a set is all its members;
                                     without a point: every one of the surface */
    size_t count;   /* 0: every recovery point of the repository */
    const char *forward; /* only what waits for the repository of that name, which is the destination's; NULL: whatever there is */
    bool none;           /* copy nothing: only read again */
    bool reread;         /* afterwards read all of the destination, and tell the source's log */
    bool dry_run;
};
struct copy_result {
    unsigned done, there, suspect, failed, would;
    struct copy_stats stats;
    struct copy_sets sets; /* of which all members are there now */
    struct copy_wal wal; /* of the surfaces named without a point; with `forward`, when any waits */
    uint64_t bytes; /* of the recovery points copied */
    int64_t duration_ns;
    struct error first; /* of a point that failed */
    char label[65];     /* what the source's log calls the destination */
    bool absent;        /* the destination is an offline medium that is not attached: nothing was done */
    struct copy_reread reread;
    int64_t reread_due_ns; /* of an offline destination: when all of it is to be read again; else 0 */
    size_t behind;      /* recovery points of the source that the destination still lacks */
    uint64_t wal_behind; /* the same of objects of WAL */
};
typedef int (*copy_point_cb)(void *ctx, const struct copy_point *p, struct error *err); /* non-zero stops */
/* `from` and `to` are works of their own, each with its options.repository and the way to its key; both are opened
 * here. Oldest first. Damage of one point does not stop the others: 0, and ret->failed counts it. A failure that
 * concerns all ends the run. An offline destination (its configuration) that is not there is none, and one that is another
 * repository than the source's log knows by that name is refused (ERR_COPY_MEDIUM), as is, after it was told to the log, one that
 * was not whole when it was read again. Afterwards the source's log is told what the copy has, when that is news. */
int work_copy(struct work *from, struct work *to, const struct copy_request *q, copy_point_cb cb, void *ctx,
              struct copy_result *ret, struct error *err) PK_CHECK;

/* When all of an offline copy is to be read again: so often, counted from when it was first written or last read. */
int64_t copy_reread_due(const struct config_repository *c, const struct copy_info *i);

#endif
