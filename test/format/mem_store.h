/* A store in memory, filled from a folder: what a test changes in it is changed for the next reader at once. */
#ifndef PK_TEST_FORMAT_MEM_STORE_H
#define PK_TEST_FORMAT_MEM_STORE_H

#include "store/store.h"

struct mem_object {
    char key[128];
    uint8_t *bytes;
    size_t len;
};
struct mem_store {
    struct store base; /* first */
    struct mem_object objects[256];
    size_t count;
};
/* Every file below `folder` (may be NULL: none), in the order of names. Ends the program when it cannot. */
void mem_store_init(struct mem_store *s, const char *folder);
void mem_store_free(struct mem_store *s);
struct mem_object *mem_store_find(struct mem_store *s, const char *key);        /* NULL: none */
void mem_store_put(struct mem_store *s, const char *key, struct bytes content); /* new or replaced */

#endif
