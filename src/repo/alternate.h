/* Other repositories with the same chunk ids, from which a reader takes chunks that its own lacks, has damaged or cannot reach:
 * chunk by chunk, so that two copies that are damaged in different places make one whole.
 *
 * Nothing is believed of them: what they give was opened with their keys and holds by its id under the content keys that both
 * share. They are opened when the first chunk is wanted, and only snapshots that are read ask them: checks, backups and
 * collections see their own repository as it is.
 */
#ifndef PK_REPO_ALTERNATE_H
#define PK_REPO_ALTERNATE_H

#include "repo/repo.h"

#define ALTERNATES_MAX 8
/* Opens the one at that place; called at most once for each, by whichever thread wants it first. It is borrowed until the
 * repository that has it as its alternate is closed. */
typedef int (*alternate_open)(void *ctx, size_t i, struct repo **ret, struct error *err);
struct alternate_stats {
    const char *label;
    uint64_t chunks, bytes; /* that came from it; each chunk counts once (up to a million of them) */
    const struct error *failed; /* why it could not be used; NULL: it could, or nothing was asked of it */
};
/* Ask these, in this order. Labels are copied; `n` is at most ALTERNATES_MAX. Once, before any snapshot is opened. */
int repo_alternates_set(struct repo *r, const char *const *labels, size_t n, alternate_open open, void *ctx, struct error *err) PK_CHECK;
size_t repo_alternates(const struct repo *r);
/* When nothing is read any more. */
void repo_alternate_stats(const struct repo *r, size_t i, struct alternate_stats *ret);

#endif
