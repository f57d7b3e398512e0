/* What moving.c asks of alternates. Inside src/repo only. */
#ifndef PK_REPO_ALTERNATE_INTERNAL_H
#define PK_REPO_ALTERNATE_INTERNAL_H

#include "repo/repo_internal.h"

/* The repository itself went out of reach, so that its alternates are asked before it is. */
bool alternates_first(const struct repo *r);
/* After `why` (its record is err), the same chunk from an alternate; 0 clears err, else it is answered, and says what the
 * alternates had. With `why` 0, err says nothing. Release by fetched.from. Thread-safe. */
int alternate_chunk(struct repo *r, int why, const struct digest *id, enum chunk_kind kind, struct fetched *ret, struct error *err) PK_CHECK;
void alternates_free(struct repo *r);

#endif
