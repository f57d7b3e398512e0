/* Of a large item that is read in order, what comes next is decoded by threads of its own, into the cache in which the
 * reader finds it. Help and no more: what fails here, the reader finds out for itself. */
#ifndef PK_REPO_SCOUT_H
#define PK_REPO_SCOUT_H

#include "repo/reader.h"

#define SCOUT_THREADS_MAX 4

struct scout;
/* Keeps up to `window` bytes ahead of `at`, where the reader is. NULL: no thread or no memory for it. The item is h's,
 * of which name and attr are not needed. The caller ends it before the snapshot is closed. */
struct scout *scout_start(struct snapshot *s, const struct item_head *h, unsigned threads, uint64_t window, uint64_t at);
void scout_follow(struct scout *c, uint64_t at); /* the reader has come that far */
void scout_end(struct scout *c);                 /* waits for what is being decoded; NULL is fine */

#endif
