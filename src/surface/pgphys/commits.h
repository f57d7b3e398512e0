/* Which transactions were committed in a stretch of WAL, and which of them wrote to some relations, and which restore
 * points are in it, as the server's own pg_waldump (versions 15 to 18) reads it. Its text is read, not its files: the
 * record formats of five versions are its business. */
#ifndef PK_SURFACE_PGPHYS_COMMITS_H
#define PK_SURFACE_PGPHYS_COMMITS_H

#include "base/bytes.h"
#include "base/error.h"
#include "surface/wal.h"

/* ---- waldump.c: one line ---- */
enum waldump_kind { WALDUMP_OTHER = 0, WALDUMP_HEAP, WALDUMP_COMMIT, WALDUMP_ABORT, WALDUMP_POINT };
struct waldump_record {
    enum waldump_kind kind;
    uint64_t lsn;          /* where it begins */
    uint32_t xid;          /* of a prepared transaction, its own */
    int64_t time_ns;       /* of a commit */
    bool ddl;              /* a commit that changed a catalog or removed files */
    bool deletes, updates; /* HEAP: it takes a row version away */
    struct bytes subxacts; /* of a commit or an abort: numbers and blanks; borrowed from the line */
    struct bytes blocks;   /* HEAP: the blocks that it touches, as text; borrowed */
    struct bytes name;     /* of a restore point; borrowed */
};
/* false: it is no record, or one of other kinds; *ret is then undefined. The times are those of a run with TZ=UTC. */
bool waldump_line(struct bytes line, struct waldump_record *ret);
/* Whether a heap record touches one of the files of a database. */
bool waldump_touches(const struct waldump_record *r, uint32_t database, const uint32_t *files, size_t n);

/* ---- commits.c ---- */
struct wal_commit {
    uint64_t lsn; /* where its record begins */
    uint32_t timeline, xid;
    int64_t time_ns;
    bool touched; /* it deleted or updated rows of the relations */
    bool ddl;
    bool aborted; /* with `aborts` */
    /* With `points`, of a restore point, which has no time and no xid; else empty. Borrowed for the call. */
    struct bytes name;
};
struct wal_commits { /* zeroed, then set up; one stretch after the other, in order */
    uint32_t database;     /* whose relations */
    const uint32_t *files; /* their relfilenodes; none: nothing is told of what a transaction touched */
    size_t file_count;
    bool deletes_only;     /* an update does not count as touching */
    bool aborts, points;   /* are told as well: transactions that were taken back, restore points */
    uint64_t seen;         /* the newest record that was told */
    uint32_t *open;        /* transactions that touched and have not ended; by hash */
    size_t open_count, open_slots;
    bool full; /* too many of them: from here on every commit counts as one that touched */
};
void wal_commits_free(struct wal_commits *c);
struct wal_stretch {
    const char *bin, *run_as, *folder; /* the server's programs, who runs them, and where the segments lie */
    uint32_t timeline;
    uint64_t from, to; /* records that begin at or after `from` and end before `to` */
    uint64_t
        end; /* what is no record from here on is the end of the WAL, as a server takes it; UINT64_MAX: nothing is */
    uint32_t segment_bytes;
};
/* Calls cb for each commit above c->seen; what it answers that is not 0 ends it, and is answered. ERR_PG_WAL with the
 * program's own words when it cannot read on, whatever the reason, but for the end of the WAL; ERR_PG_SCRATCH without
 * it. */
int wal_commits_read(struct wal_commits *c, const struct wal_stretch *s, int (*cb)(void *ctx, const struct wal_commit *, struct error *),
                     void *ctx, struct error *err) PK_CHECK;

#endif
