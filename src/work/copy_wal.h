/* The write-ahead log's way into a copy: object by object, opened, checked, and sealed under the copy's keys. */
#ifndef PK_WORK_COPY_WAL_H
#define PK_WORK_COPY_WAL_H

#include "work/context.h"

struct copy_wal {
    uint64_t objects, bytes;  /* copied; plain bytes */
    uint64_t there;           /* were there before */
    uint64_t would;           /* with dry_run: would be copied */
    uint64_t failed;          /* damaged in the source, or the destination has other bytes of that name */
    struct error first;       /* of those */
    uint64_t newest;          /* the source's newest entry about WAL, when all that it has was looked at; else 0 */
};
typedef bool (*copy_wal_wanted)(void *ctx, const char *environment, const char *surface);
/* Copy what the destination lacks of the WAL of each cluster that a wanted surface has had. Pieces only where their segment is not whole;
 * nothing that the destination's own retention removed. Each object is read back from the destination, and registered in its log in batches;
 * what an interrupted run stored is found there and registered by the next. Both are open. Damage of one object does not stop the others.
 * Memory: about 64 bytes an object of a cluster, and three segments a thread, within 192 MiB. */
int copy_wal_run(struct work *from, struct work *to, copy_wal_wanted wanted, void *ctx, bool dry_run, struct copy_wal *ret, struct error *err) PK_CHECK;

#endif
