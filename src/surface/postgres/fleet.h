/* Databases of one server worked on at once, and what they have to agree on: who numbers its items next, whether one of
 * them has failed, how far all of them are.
 *
 * 1. Members begin in their order, so the one whose turn it is is always at work, never still to begin.
 * 2. The first failure in time is the fleet's, and ends the others soon.
 */
#ifndef PK_SURFACE_POSTGRES_FLEET_H
#define PK_SURFACE_POSTGRES_FLEET_H

#include "base/error.h"
#include "base/thread.h"
#include <stdint.h>

#define PG_FLEET_MAX 8 /* at once, whatever the jobs: each holds a table of contents and a buffer in memory */

struct pg_fleet {
    size_t n;
    unsigned at_once;
    int (*work)(void *ctx, size_t i, struct error *err);
    void *ctx;
    atomic_size_t begun;
    atomic_bool failed;
    atomic_uint_fast64_t bytes, items; /* of all members, for progress */
    atomic_int_fast64_t reported_at;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t moved;
    size_t turn;
    uint64_t next_seq;
    struct error err;
};
/* Runs work(ctx, i) for each i below n, at most `jobs` at once, one of them in this thread. The first error, or 0. */
int pg_fleet_run(struct pg_fleet *f, unsigned jobs, size_t n, int (*work)(void *, size_t, struct error *), void *ctx,
                 struct error *err) PK_CHECK;
/* Once a member: `count` numbers in a row, after those of the members before it, for which it waits. */
int pg_fleet_turn(struct pg_fleet *f, size_t i, uint64_t count, uint64_t *ret_first, struct error *err) PK_CHECK;
/* Whether to go on: a stop was asked for, or another member has failed. */
int pg_fleet_check(const struct pg_fleet *f, struct error *err) PK_CHECK;

#endif
