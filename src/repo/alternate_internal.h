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

/* One alternate leads: it is asked first, and it alone reads ahead, so that memory holds that once. What follows does
 * nothing without one. */
/* Has one lead, unless one does: the first that knows the most of these chunks, by prefixes of ids; whether one does
 * now. Opens those that were not. */
bool alternate_lead(struct repo *r, const uint8_t *const *ids, size_t n);
unsigned alternate_turn(const struct repo *r); /* a number that changes when another leads; 0: none ever did */
void alternate_expect(struct repo *r, const uint8_t *id_prefix); /* as fetch_expect */
void alternate_reader(struct repo *r);                           /* as fetch_reader */
void alternate_forget(struct repo *r);                           /* as fetch_forget */

#endif
