/* The sorter's own parts. */
#ifndef PK_SURFACE_REDIS_SORTER_INTERNAL_H
#define PK_SURFACE_REDIS_SORTER_INTERNAL_H

#include "surface/redis/sorter.h"

#include <pthread.h>

struct entry {       /* followed by the name with its prefix, then the value or the run of the spill that has it */
    uint64_t number; /* in the order of coming */
    uint64_t value_bytes, since;
    int64_t expires_ms;
    struct hash128 hash;
    uint32_t name_bytes;
    uint8_t prefix_bytes, type, access, class;
    bool large;
};
struct slot {
    uint64_t ahead; /* bytes of the name where the sort stands, so that most comparisons touch nothing else */
    struct entry *e;
};
struct sorter_run {
    struct spill_run run;
    unsigned level;
};
struct sorter_reader {
    struct spill_reader r;
    struct entry *e;
    size_t cap;
    bool end, memory; /* memory: of the sorter's slots instead; e is one of them */
};
/* What was full is put in order and written by a thread of its own, while the next is filled. */
struct sorter_behind {
    pthread_t thread;
    bool running;
    uint8_t *arena;
    size_t cap;
    struct slot *slots;
    size_t n_slots, cap_slots;
    struct spill_run run;
    int r;
    struct error err;
};
struct sorter {
    const char *dir;
    size_t memory;
    char prefix[24]; /* of the database that came last */
    size_t prefix_bytes;
    uint64_t prefix_of;
    struct sorter_behind behind;
    uint8_t *arena;
    size_t cap, used, open_bytes; /* open_bytes: of the entry that is being added, before its value */
    struct slot *slots;
    size_t n_slots, cap_slots, at;
    uint64_t next_number;
    struct spill spill, large_spill; /* runs; and large values, which come while a run is written */
    struct spill_writer writer, large;
    struct spill_reader large_read;
    struct sorter_run *runs;
    size_t n_runs, cap_runs;
    struct sorter_reader *readers, **order; /* order: those that have more, the least entry first */
    size_t n_readers, n_order;
    bool given; /* the first one's entry was handed out */
};
size_t entry_bytes(const struct entry *e);
const uint8_t *entry_name(const struct entry *e);
int entry_compare(const struct entry *a, const struct entry *b);
/* Puts the slots in order. */
int sorter_order(struct slot *s, size_t n, struct error *err) PK_CHECK;

#endif
