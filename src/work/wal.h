/* The write-ahead log of a PostgreSQL surface in its repository: what joins surface/wal.h to repo/wal_object.h, and the use
 * cases of `proofkeep wal`. One thread uses a handle, unless said otherwise. */
#ifndef PK_WORK_WAL_H
#define PK_WORK_WAL_H

#include "repo/wal_object.h"
#include "surface/wal.h"
#include "work/context.h"

/* Names of objects: "wal/<system>/<timeline>/<file>", and "…/<segment>.pieces/<from>-<to>" for a piece. */
void wal_object_name(uint64_t system, const struct wal_name *n, char out[WAL_OBJECT_KEY_BYTES]);
void wal_piece_name(uint64_t system, const struct wal_name *n, uint32_t from, uint32_t to, char out[WAL_OBJECT_KEY_BYTES]);

struct work_wal;
/* WAL of one surface. Opens the repository of `w` (set w->log_only before, where nothing else is done with it). */
int work_wal_open(struct work *w, const char *environment, const char *surface, struct work_wal **ret, struct error *err) PK_CHECK;
/* The same for its source alone: makes no spool folder, which the server's user could not write if it were another's. */
int work_wal_open_source(struct work *w, const char *environment, const char *surface, struct work_wal **ret, struct error *err) PK_CHECK;
/* The same, and what the repository lacks or cannot give comes from wherever else the WAL is kept (wal_others.h), told
 * as a warning; ranges are those of all together. */
int work_wal_open_all(struct work *w, const char *environment, const char *surface, struct work_wal **ret,
                      struct error *err) PK_CHECK;
/* Drops what is not registered yet, which the next handle with the same spool folder registers. NULL is fine. */
void work_wal_close(struct work_wal *h);
/* The tables of surface/wal.h. `put` and `put_piece` may be called by several threads at once. They refuse (ERR_PG_WAL) WAL of
 * another cluster than the surface's: the one of the configuration, of the log, or else of what is put first. */
struct wal_sink *work_wal_sink(struct work_wal *h);
struct wal_source *work_wal_source(struct work_wal *h);
/* The surface's cluster; false: nothing was stored yet and the configuration does not say. */
bool work_wal_system(const struct work_wal *h, uint64_t *ret);
/* Register in the log what was put through the surface's spool folder: when it is due (64 objects, or ten minutes after the
 * first, or the first ever), or at once. What cannot be registered now is by the next call. */
int work_wal_register(struct work_wal *h, bool now, struct error *err) PK_CHECK;

/* ---- archive_command and restore_command ---- */
struct wal_pushed {
    struct wal_name name;
    bool ahead_of_time;   /* an earlier run had stored it */
    unsigned ahead;       /* files stored beside it, whose turn comes next */
    uint64_t bytes;
};
/* Store the file `path`, and with it some of those that PostgreSQL has ready next. Success only when it is durable; what failed of
 * the others fails when its turn comes. */
int work_wal_push(struct work *w, const char *environment, const char *surface, const char *path, struct wal_pushed *ret, struct error *err) PK_CHECK;
struct wal_get {
    const char *name, *path;
    uint64_t system; /* the cluster's; 0: of the surface's newest one */
};
/* Write a file of the archive to `path`, under a temporary name beside it first. ERR_WAL_ABSENT: it is not there, surely.
 * Before any thread was started: a process of its own goes on to fetch what comes next. With w->any_copy, what the repository lacks or
 * cannot give is taken from its copies and its fallback. */
int work_wal_get(struct work *w, const char *environment, const char *surface, const struct wal_get *q, struct error *err) PK_CHECK;

/* ---- looking ---- */
struct wal_gap {
    uint32_t timeline;
    uint64_t from, to;  /* missing; of the same timeline, or what a later one needs of the one that it left */
    uint32_t needed_by; /* timeline */
    bool unreadable;    /* the timeline's history is there, and is damaged; else, with `to` 0, it is not there */
    bool minimal;       /* it is there, and the server wrote it with wal_level=minimal: found with `decode` only */
    bool known;         /* the log says that it will not be mended: no failure, but no recovery crosses it either */
    char why[160];      /* the reason that it gives */
};
struct wal_view {
    uint64_t system; /* 0: nothing is stored */
    uint32_t segment_bytes;
    struct wal_range *ranges;
    size_t range_count;
    struct wal_gap *gaps;
    size_t gap_count;
    uint64_t objects, registered; /* of those */
    uint64_t missing;             /* registered, and not there */
    uint64_t stored_bytes;
    uint64_t checked, damaged;    /* by work_wal_verify with `decode` */
    uint64_t known;               /* missing or damaged, in a range that is acknowledged, and not counted above */
    size_t known_gaps;            /* of gap_count */
};
/* What there is: every range, and what is missing between. With `decode` (needs the read key) every object is read,
 * opened and checked against its name, and stretches that no recovery passes are looked for; `damaged` (may be NULL) is
 * told of each that fails or is missing, and the rest is still checked; with an admin key what is whole and not
 * registered is registered then. */
struct wal_acknowledged { /* one range, as the log now has it */
    uint32_t timeline;
    uint64_t from, to;
};
/* Say in the log, with a reason, that what is missing or damaged stays so: every gap that is not known yet, or with
 * `segment` (may be NULL) the one that it lies in, else that very segment, if an object of it is damaged or lost, or it
 * tells of wal_level=minimal. Admin only. ERR_USAGE when there is none. *ret freed with seam_free. */
int work_wal_acknowledge(struct work *w, const char *environment, const char *surface, const struct wal_name *segment, const char *reason,
                         struct wal_acknowledged **ret, size_t *ret_n, struct error *err) PK_CHECK;
typedef void (*wal_damaged)(void *ctx, const char *object, const struct error *why);
int work_wal_verify(struct work *w, const char *environment, const char *surface, bool decode, wal_damaged damaged, void *ctx, struct wal_view *ret, struct error *err) PK_CHECK;
void wal_view_free(struct wal_view *v);
/* Remove pieces whose segment is stored whole by now, of every cluster that the log knows; what a lock keeps stays. The
 * repository is open with a prune or admin key. */
int work_wal_collect(struct work *w, uint64_t *ret_objects, uint64_t *ret_bytes, struct error *err) PK_CHECK;

/* ---- retention ---- */
/* What of a cluster's WAL no physical backup of the repository needs: all that ends at or before the beginning of the earliest that is
 * not forgotten, of any surface, on the timelines that they are on or come from by history files. These files stay, as do the
 * newest segment and what is younger than `grace_ns`. */
struct wal_leaving {
    uint64_t system;
    struct wal_first *first; /* of each timeline, what stays */
    size_t first_count;
    uint64_t objects, bytes; /* that go */
    char why[160];           /* nothing can be told to be needless, and why; else empty */
};
/* Whether a backup counts as forgotten already. */
typedef bool (*wal_base_goes)(void *ctx, uint64_t seq);
/* Looks only; `goes` may be NULL. The repository is open and synced. With a key that cannot read, `why` says so. */
int work_wal_leaving(struct work *w, uint64_t system, int64_t grace_ns, wal_base_goes goes, void *ctx, struct wal_leaving *ret, struct error *err) PK_CHECK;
void wal_leaving_free(struct wal_leaving *l);
struct wal_removed {
    uint64_t objects, bytes;
    uint64_t locked, locked_bytes; /* left by the store's lock; a later run removes them */
    int64_t locked_until_ns;       /* the latest */
};
/* Say so in the log, then remove. Adds to *ret, also on failure: what is left goes with the next run. */
int work_wal_remove(struct work *w, const struct wal_leaving *l, int64_t grace_ns, struct wal_removed *ret, struct error *err) PK_CHECK;

#endif
