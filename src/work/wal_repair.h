/* Mending WAL: an object that the log has and the store has not, or not as it was, is brought back from wherever it still is, and what
 * is nowhere is named with the instants that it costs. */
#ifndef PK_WORK_WAL_REPAIR_H
#define PK_WORK_WAL_REPAIR_H

#include "repo/repair.h"
#include "work/wal.h"

enum wal_remedy {
    WAL_REMEDY_NONE = 0,
    WAL_REMEDY_HERE,    /* it is whole, but another than the log has: a repair ended before it could say so */
    WAL_REMEDY_VERSION, /* an older version in the bucket */
    WAL_REMEDY_COPY,    /* another repository */
    WAL_REMEDY_SPOOL,   /* what a recovery on this host fetched ahead */
    WAL_REMEDY_SERVER,  /* the live server's pg_wal */
};
struct wal_hurt {
    struct wal_row row; /* as the log has it */
    uint64_t system;
    int64_t time_ns;    /* of its entry */
    enum check_result result;
    enum wal_remedy remedy;
    char label[65];     /* of the other repository */
    char why[200];      /* without a remedy: why the live server could not give it; empty when it was not asked */
    char environment[128], surface[128];
};
struct wal_repair {
    struct wal_hurt *items; /* by name */
    size_t count;
    uint64_t objects, bytes; /* looked at */
    uint64_t mendable;
    uint64_t mended, locked; /* by wal_repair_run; locked: the store does not let go what is damaged */
};
/* Each damaged object, with where it can be had from: `mends`. */
typedef void (*wal_repair_finding)(void *ctx, const char *object, enum check_result result, const char *text, bool mends);
/* Looks at all that the log registers; `other` (may be NULL) is another repository to look in, besides the copies and the fallback of the
 * configuration. What comes from elsewhere is held against the keyed id, where that is still there, and against its own header. The
 * repository is open with an admin key. */
int wal_repair_look(struct work *w, struct work *other, wal_repair_finding finding, void *ctx, struct wal_repair *ret, struct error *err) PK_CHECK;
/* Stores them anew and says so in the log. */
int wal_repair_run(struct work *w, struct work *other, struct wal_repair *r, struct error *err) PK_CHECK;
void wal_repair_free(struct wal_repair *r);

#endif
