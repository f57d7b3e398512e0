/* Sets and hashes that a server keeps in a hash table come in an order that is another after each start. Those that fit
 * in memory are put in one order, so that they are stored once. */
#ifndef PK_SURFACE_REDIS_CANON_H
#define PK_SURFACE_REDIS_CANON_H

#include "base/bytes.h"

#define CANON_ELEMENTS_MAX 16384u

struct canon { /* room that is used again and again */
    void *spans;
    size_t cap;
    struct buf text;
};
void canon_free(struct canon *c);
/* Puts the elements of a value of that type in order, in place. Anything else, and what is not understood, stays as it
 * is: the order is a matter of room only. */
int canon_order(struct canon *c, uint8_t type, uint8_t *value, size_t n, struct error *err) PK_CHECK;

#endif
