/* Keys in the order of their names, whatever order they came in: what makes two captures of one server alike, since a
 * server hands its keys out in the order of a hash table that is another after each start. Within a budget of memory;
 * what is beyond goes to a spill.
 *
 * The order is that of "<database in decimal>\0<name>", bytewise, which is also the order of item names. Of two entries
 * of one key the one that was added last stays.
 */
#ifndef PK_SURFACE_REDIS_SORTER_H
#define PK_SURFACE_REDIS_SORTER_H

#include "surface/redis/rdb.h"
#include "surface/redis/spill.h"

/* Of these, two thirds are filled before anything is spilled: with the larger one, a million keys of 70 bytes. */
#define SORTER_MEMORY (48u << 20)
#define SORTER_MEMORY_ALONE (160u << 20)
#define SORTER_VALUE_MAX (256u << 10) /* larger ones go to the spill at once */

struct sorter;
int sorter_new(const char *scratch_dir, size_t memory_bytes, struct sorter **ret, struct error *err) PK_CHECK;
void sorter_free(struct sorter *s); /* NULL is fine */
/* An entry, its value in pieces, its end with what was found of it. A key that is begun and not ended is not there. */
int sorter_begin(struct sorter *s, const struct rdb_key *k, struct error *err) PK_CHECK;
int sorter_value(struct sorter *s, struct bytes more, struct error *err) PK_CHECK;
/* The value that is being added, to be changed before its end; NULL when it is too large to hold. */
uint8_t *sorter_held(struct sorter *s, size_t *ret_bytes);
/* A hash of zeros takes no room. */
int sorter_end(struct sorter *s, enum rdb_class c, struct hash128 hash, struct error *err) PK_CHECK;

struct sorted { /* an entry, borrowed until the next call */
    struct rdb_key key;
    enum rdb_class class;
    struct hash128 hash; /* as given to sorter_end */
    uint64_t bytes;      /* of the value */
    struct bytes value;  /* when it was small enough to hold; else it is read with sorter_piece */
    bool held;
};
/* No more comes: begin to read. */
int sorter_sort(struct sorter *s, struct error *err) PK_CHECK;
int sorter_next(struct sorter *s, struct sorted *ret, bool *ret_end, struct error *err) PK_CHECK;
/* The next piece of the current entry's value when it is not held; empty at its end. */
int sorter_piece(struct sorter *s, struct bytes *ret, struct error *err) PK_CHECK;

#endif
