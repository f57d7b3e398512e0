/* What has changed in pages of a database, for zstd: most of a changed page is where it was, and what is new in it resembles a row of
 * its former self. Looking no further costs a seventh of zstd's own search, and finds what that finds within a tenth. */
#ifndef PK_REPO_PAGE_DELTA_H
#define PK_REPO_PAGE_DELTA_H

#include "base/bytes.h"
#define ZSTD_STATIC_LINKING_ONLY /* ZSTD_Sequence */
#include <zstd.h>

#define PAGE_DELTA_BYTES_MAX ((size_t)ZSTD_BLOCKSIZE_MAX) /* of input, and of base: one block of a frame */
#define PAGE_DELTA_BYTES_MIN 512u /* of input: where a frame's header may not fit zstd 1.5.4 harms memory */
#define PAGE_DELTA_SEQUENCES_MAX 4096u

/* `in` as matches in `base`, which lies before it, and literals; the last sequence has literals only and ends the
 * block. Their number, or 0 when the sizes do not fit, when there would be too many of them, or more than a sixteenth
 * of `in` would be literals: then another way is better. */
size_t page_delta_find(struct bytes in, struct bytes base, ZSTD_Sequence ret[PAGE_DELTA_SEQUENCES_MAX]);

#endif
