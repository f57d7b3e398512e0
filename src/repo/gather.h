/* Records that come in any order of their names and leave in that of name_compare, in bounded memory: sorted runs go to a
 * nameless file beyond `bytes_max`, and are merged. One thread at a time.
 */
#ifndef PK_REPO_GATHER_H
#define PK_REPO_GATHER_H

#include "base/bytes.h"
#include "base/error.h"

#define GATHER_BYTES (16u << 20)

struct gather;
typedef int (*gather_cb)(void *ctx, struct bytes name, struct bytes body, struct error *err);

/* `dir` is a folder for the file, borrowed; NULL is the system's for temporary files. Nothing is made there before it is needed.
 * bytes_max bounds the memory of gather_add and of gather_each (each record must fit as well). */
int gather_new(const char *dir, size_t bytes_max, struct gather **ret, struct error *err) PK_CHECK;
/* Copies. After a failure only gather_free may be called. */
int gather_add(struct gather *g, struct bytes name, struct bytes body, struct error *err) PK_CHECK;
/* All of them, once; slices are borrowed for the call. ERR_INTERNAL when a name came twice; cb's own failure as it is. */
int gather_each(struct gather *g, gather_cb cb, void *ctx, struct error *err) PK_CHECK;
void gather_free(struct gather *g); /* NULL is fine */

#endif
