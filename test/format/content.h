/* Items for repositories made by tests: deterministic, in memory, of every kind that the format has. */
#ifndef PK_TEST_FORMAT_CONTENT_H
#define PK_TEST_FORMAT_CONTENT_H

#include "repo/writer.h"

/* Content is `data`, cut into pieces of `piece` bytes with a hole of `hole` bytes after each; hole 0: in one piece. */
struct content {
    struct bytes name, attr;
    enum content_kind kind;
    struct bytes data;
    size_t piece;
    uint64_t hole;
};
struct contents {
    struct content *items;
    size_t count;
    json_t *facts;
};

/* `set` is one of
 *   mixed      everything at some length: lists of references, many manifest chunks, several root pieces, deltas between
 * generations small      one small file, for repositories of many runs tree, log  what the golden repository holds: a
 * small tree as the files driver stores it, a stream of records Generations 1, 2, 3 differ in places, so that each
 * gives deltas against the one before. Ends the program on a bad set. */
void contents_make(const char *set, unsigned generation, struct contents *ret);
void contents_free(struct contents *c);

#endif
