/* What a reader was told of and has not had yet, so that another repository can be told of it when its own cannot give
 * it (alternate.h). A row a frame of the repository, in the order told; about 40 bytes each, at most EXPECTED_MAX: what
 * is told beyond, or when there is no memory, is forgotten. It is help only: a row too many or too few costs requests.
 * One thread, or under a lock.
 */
#ifndef PK_REPO_EXPECTED_H
#define PK_REPO_EXPECTED_H

#include "repo/repo_internal.h"

#define EXPECTED_MAX (1u << 18)

struct expected_row {
    uint8_t id[ID_PREFIX_BYTES];
    uint32_t run, pack; /* where it lies in the repository itself; EXPECTED_NOWHERE: in no pack that its index knows */
    uint32_t wanted;    /* at how many places, less those that had it; 0: it is over */
    bool passed;        /* another one was told */
};
#define EXPECTED_NOWHERE UINT32_MAX
struct expected {
    struct expected_row *rows;
    size_t count, cap, live; /* live: rows that are not over */
    uint32_t *slots;         /* a row's place and 1, by id; open addressing, at most half full */
    size_t slot_count;
    struct location last; /* neighbours in one frame are one row */
    bool has_last;
    bool more; /* something was forgotten */
};
/* `at` NULL: the index does not know it. `passed`: the other one knows already. */
void expected_add(struct expected *x, const uint8_t *id, const struct location *at, bool passed);
void expected_take(struct expected *x, const uint8_t *id); /* somebody has it, or it was given up */
/* Up to `max` ids that are wanted still of one pack (NULL: of all), from the first to the last; how many. Borrowed
 * until the next call. */
size_t expected_sample(const struct expected *x, const struct location *pack, const uint8_t **ret, size_t max);
/* Calls cb for what is wanted still of that pack (NULL: of all) and was not passed, in the order told. */
void expected_pass(struct expected *x, const struct location *pack, void (*cb)(void *ctx, const uint8_t *id),
                   void *ctx);
void expected_again(struct expected *x); /* nothing was passed */
void expected_clear(struct expected *x); /* nothing is expected; safe on zeroed, and frees all */

#endif
