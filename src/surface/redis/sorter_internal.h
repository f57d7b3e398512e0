/* The sorter's own parts. What comes fills one arena that a cache holds. When that is full it is put in order and
 * copied to a block of memory, in that order; blocks, and the runs of the spill into which many become one, are merged
 * (sorter_merge.c).
 *
 * Invariant: of inputs of a merge, what came later has the larger number, so that entries of one name come out as they
 * came in.
 */
#ifndef PK_SURFACE_REDIS_SORTER_INTERNAL_H
#define PK_SURFACE_REDIS_SORTER_INTERNAL_H

#include "surface/redis/sorter.h"

#include <pthread.h>

/* An entry is this, the name with its prefix, the value or the run of the spill that has it, and what `has` tells of:
 * when it expires, since when it lies, its hash. */
enum { HAS_EXPIRY = 1, HAS_SINCE = 2, HAS_HASH = 4, HAS_LARGE = 8, HAS_ACCESS_SHIFT = 4 };
struct entry {
    uint32_t name_bytes, value_bytes; /* of the value as it lies here */
    uint8_t prefix_bytes, type, class, has;
};
#define ENTRY_NUMBERS_MAX (8u + 8u + sizeof(struct hash128))
#define ENTRY_SLACK 8u /* readable after an entry */

/* Where a name stands after the one before it in an order: where they differ first, in symbols of six bytes, and its
 * symbol there; the smaller, the sooner, among those that stand after the same one (offset-value coding: Conner 1977,
 * Graefe and Do 2022). Most comparisons of a merge touch nothing else. */
#define CODE_SAME UINT64_C(0) /* it is the same name */

struct slot {
    uint64_t ahead; /* while it is sorted, bytes of the name where the sort stands; then its code */
    struct entry *e;
};
/* A block, or a run: each entry after its code, and both to a multiple of eight bytes. */
struct block {
    uint8_t *p;
    size_t bytes;
};
struct heap {
    struct block *of;
    size_t n, cap, bytes;
};
struct sorter_run {
    struct spill_run run;
    unsigned level;
};

/* ---- sorter_order.c ---- */
static inline const uint8_t *entry_name(const struct entry *e) {
    return (const uint8_t *)(e + 1);
}
static inline size_t entry_bytes(const struct entry *e) {
    return sizeof *e + e->name_bytes + e->value_bytes + (e->has & HAS_EXPIRY ? 8 : 0) + (e->has & HAS_SINCE ? 8 : 0) +
           (e->has & HAS_HASH ? sizeof(struct hash128) : 0);
}
/* With its code, as a block has it. */
static inline size_t entry_room(const struct entry *e) {
    return (sizeof(uint64_t) + entry_bytes(e) + 7) & ~(size_t)7;
}
/* By name, of two that have the same code: negative when a goes first. *ret: the code of who goes later, after the
 * other. */
int entry_compare_coded(const struct entry *a, const struct entry *b, uint64_t code, uint64_t *ret);
/* Puts the slots in order, and codes them. */
int sorter_order(struct slot *s, size_t n, struct error *err) PK_CHECK;

/* ---- sorter_merge.c ---- */
struct merge_input {
    const struct block *block; /* or a run: */
    size_t at;                 /* of the block */
    struct spill_reader run;
    void *room[2]; /* by turns: the entry that was handed out stays while the next one is read */
    size_t cap[2];
    unsigned turn;
    const struct entry *e; /* NULL at its end */
    uint64_t code;
};
struct merge {
    struct merge_input *in;
    uint32_t *losers; /* of a tournament; the first is who won */
    size_t n;
};
/* Of runs and of a heap's blocks, which came later. m is zeroed; merge_close() is safe on it ever after. */
int merge_open(struct merge *m, struct spill *spill, const struct sorter_run *runs, size_t n_runs, const struct heap *h,
               struct error *err) PK_CHECK;
/* The next entry, valid until the next call; NULL at the end. */
int merge_next(struct merge *m, const struct entry **ret, uint64_t *ret_code, struct error *err) PK_CHECK;
bool merge_again(const struct merge *m); /* the next one has the name of the one before */
/* The rest as a run. */
int merge_write(struct merge *m, struct spill *spill, struct spill_writer *w, struct spill_run *ret,
                struct error *err) PK_CHECK;
void merge_close(struct merge *m);

#endif
