/* A repository and copies of it: shared by the tests of those. */
#ifndef PK_TEST_REPO_COPY_KIT_H
#define PK_TEST_REPO_COPY_KIT_H

#include "repo/copy.h"
#include "repo_kit.h"

/* A repository beside k's that takes copies of it; packs of the usual size with 0. */
void kit_dest_begin(struct kit *k, struct kit *to, uint32_t data_pack_bytes);
/* One snapshot. lie: its receipt names another envelope than the one that is kept. o and stats may be NULL. */
int kit_copy_try(struct kit *from, uint64_t seq, struct kit *to, struct copy_options *o, bool lie,
                 struct copy_stats *stats, uint64_t *ret_seq, struct error *err);
uint64_t kit_copy(struct kit *from, uint64_t seq, struct kit *to, struct copy_stats *stats);

#endif
