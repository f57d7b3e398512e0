/* A repository of fixed keys over a store in memory, for targets that read its objects. */
#ifndef PK_TEST_FUZZ_REPO_FIXTURE_H
#define PK_TEST_FUZZ_REPO_FIXTURE_H

#include "../format/mem_store.h"
#include "repo/repo_internal.h"

struct fixture {
    struct mem_store store;
    struct repo repo; /* keys, id and cipher set; no log */
};
/* The keys of doc/format/keys.md's vectors. Ends the program when it cannot. */
void fixture_init(struct fixture *f);
void fixture_free(struct fixture *f);
void need(int holds); /* aborts: the claim of a target does not hold */

/* A slice of the input, at most n bytes; moves on. */
struct bytes input_take(struct bytes *in, size_t n);
uint64_t input_number(struct bytes *in, size_t bytes); /* little-endian, zeros beyond the end */

#endif
