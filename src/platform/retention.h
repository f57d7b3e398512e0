/* Retention: which recovery points may go. Pure functions of their arguments: no clock, no names, no I/O.
 *
 * Invariants (test/platform/test_retention.c cites the numbers)
 *  1. The newest proven point is never forgotten.
 *  2. A held point is never forgotten.
 *  3. A point that is newer (in log order) than the newest proven one is never forgotten; when nothing is proven,
 * nothing is.
 *  4. Only proven points fill places: hours, days, weeks… are counted by the proven points that exist, never by the
 * calendar, so that time passing without backups forgets nothing.
 *  5. At least min(min_copies, number of proven points) proven points stay.
 *  6. While any hold stands, nothing is forgotten: what would go is DEFERRED.
 *  7. Without any rule, nothing is forgotten.
 *  8. A point that was taken of what a restore was about to write over is no copy of anything that is wanted back: it
 * fills no place, proves nothing, and raises no hold. It stays for as long as the proven point before it does, or,
 * where there is none, the first after it.
 *
 * Proven means: the backup was whole and a verification that ran reached the rung `level_min`, and none found damage
 * since.
 */
#ifndef PK_PLATFORM_RETENTION_H
#define PK_PLATFORM_RETENTION_H

#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum retention_status {
    RETENTION_WHOLE = 0,
    RETENTION_PARTIAL, /* the backup says that something is missing: never proven */
    RETENTION_DAMAGED, /* a verification found damage: never proven */
    RETENTION_ASIDE,   /* taken before a restore wrote over it: never proven */
};
struct retention_point {
    uint64_t seq;    /* place in the log */
    int64_t time_ns; /* by the server's clock */
    unsigned level;  /* rung reached by a verification that ran, enum config_level; 0 when none ran */
    uint64_t bytes;  /* plain bytes */
    uint64_t items;
    bool held;
    enum retention_status status;
};

/* How many places each rule has; 0: the rule is not set. */
#define RETENTION_PLACES_MAX 1000
struct retention_rules {
    uint32_t last, hourly, daily, weekly, monthly,
        yearly;              /* each at most RETENTION_PLACES_MAX; UTC, weeks from Monday */
    uint32_t min_copies;     /* 0 counts as 1 */
    unsigned level_min;      /* 0 counts as CONFIG_LEVEL_CHECKSUM */
    int64_t stale_after_ns;  /* newest whole point older than this: backups have stopped; 0 means 48 h */
    uint64_t last_prune_seq; /* of the last prune's log entry, 0 when there was none */
    uint64_t accepted_seq; /* a person has signed off what happened up to here: clock jumps up to it no longer hold, and
                              a newest point up to it may be small */
};

enum retention_decision {
    RETENTION_KEEP = 0,
    RETENTION_DEFERRED, /* the rules would forget it, but a hold stands: it stays */
    RETENTION_FORGET,   /* the only one that allows removal */
};
struct retention_verdict {
    enum retention_decision decision;
    char reason[96]; /* "daily 3 of 7 (2026-02-14)" */
};

enum retention_hold {
    RETENTION_HOLD_STOPPED = 1 << 0, /* no whole point since the last prune, or the newest is stale */
    RETENTION_HOLD_SHRANK =
        1 << 1, /* newest under half of the median of up to 5 whole ones before it (bytes or items) */
    RETENTION_HOLD_UNVERIFIED = 1 << 2, /* the newest is not proven */
    RETENTION_HOLD_CLOCK = 1 << 3,      /* a point over 5 min before its predecessor, or over 5 min in the future */
    RETENTION_HOLD_COPIES = 1 << 4,     /* fewer than min_copies are proven */
};
#define RETENTION_HOLD_COUNT 5
struct retention_plan {
    unsigned holds;                            /* enum retention_hold, or-ed */
    char hold_text[RETENTION_HOLD_COUNT][160]; /* by bit number; empty where the bit is not set */
    size_t kept, deferred, forgotten, proven;  /* counts; proven are counted among all points */
    uint64_t forgotten_bytes, deferred_bytes;  /* plain bytes, saturating */
};

bool retention_proven(const struct retention_point *p, const struct retention_rules *rules);

/* Decide for n points in ascending seq (asserted). `verdicts` has room for n and is filled in the same order. A run
 * that is held and defers nothing has nothing to complain about; one that defers is ERR_PRUNE_HELD for its caller. */
void retention_decide(const struct retention_point *points, size_t n, const struct retention_rules *rules,
                      int64_t now_ns, struct retention_verdict *verdicts, struct retention_plan *ret);

/* 0 when nothing is deferred; else ERR_PRUNE_HELD with every hold's text. `what` is "prod/postgres". */
int retention_check(const struct retention_plan *plan, const char *what, struct error *err) PK_CHECK;

const char *retention_hold_name(enum retention_hold one); /* "stopped", "shrank", "unverified", "clock", "copies" */

#endif
