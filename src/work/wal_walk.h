/* The records of the WAL that is stored behind a physical backup, as the server's own pg_waldump tells them. Segments are laid into a
 * scratch folder a few at a time, so neither disk nor memory grows with the WAL. */
#ifndef PK_WORK_WAL_WALK_H
#define PK_WORK_WAL_WALK_H

#include "surface/pgphys/commits.h"
#include "work/reading.h"
#include "work/wal.h"

struct wal_walk {
    struct work *work;
    struct work_reading in; /* of the backup */
    struct work_wal *wal;
    json_t *scratch; /* a folder of its own, and where the server's programs are */
    uint64_t system;
    uint32_t segment_bytes;
    struct wal_walk_part { /* of the timelines that lead from the backup to the end, in order */
        uint32_t timeline;
        uint64_t from, to;
    } *path;
    size_t path_n;
};
/* `ret` stays where it is until it is closed, which is due whatever was answered. ERR_PG_SCRATCH: the server's programs are not on this
 * host. ERR_PG_TARGET: the backup's facts do not say where in which WAL it ended. */
int wal_walk_open(struct work *w, const struct snapshot_info *base, struct wal_walk *ret, struct error *err) PK_CHECK;
/* Which timelines lead from `from`, a place behind the backup on its own, to `target`, one that came from it. Again for another. */
int wal_walk_path(struct wal_walk *k, uint32_t target, uint64_t from, struct error *err) PK_CHECK;
/* Calls cb for what c asks for, of records in the segments with places above `after` up to `until`: cb sees to it which of them count, and ends
 * it by another answer than 0, which is answered. Where WAL is absent the walk ends; what was stored and is lost ends it from `lost_after` on, and is an error before. */
int wal_walk_records(struct wal_walk *k, struct wal_commits *c, uint64_t after, uint64_t until, uint64_t lost_after,
                     int (*cb)(void *ctx, const struct wal_commit *, struct error *), void *ctx, struct error *err) PK_CHECK;
void wal_walk_close(struct wal_walk *k);

#endif
