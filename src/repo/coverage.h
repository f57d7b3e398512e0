/* What checks with a budget have seen whole, as the log says it: for each of 256 parts of the packs (by the first byte of their
 * names) when the one of them that was checked longest ago was. Rough, bounded, and never better than the truth, so that another
 * host, or this one without its cache, goes on about where the last one stopped. The entry is coverage/v1, and changes nothing
 * in the state: it makes no snapshot verified. */
#ifndef PK_REPO_COVERAGE_H
#define PK_REPO_COVERAGE_H

#include "repo/maintain.h"

#define COVERAGE_PARTS 256
struct coverage {
    uint64_t seq;      /* of the entry */
    int64_t stored_ns; /* what was stored later was not looked at */
    enum verify_level level;
    int64_t oldest_ns[COVERAGE_PARTS]; /* whole seconds; 0: a pack of this part was never checked */
};
/* The newest at `level` or above among the log's newest entries, by keys that may vouch; at most `max`. What any of them says
 * holds, so the best counts. */
int coverage_find(struct repo *r, enum verify_level level, struct coverage *ret, size_t max, size_t *ret_n, struct error *err) PK_CHECK;
/* Append one. `t` is what the check with a budget found. ERR_KEY_ROLE for a key that may not vouch. */
int coverage_add(struct repo *r, enum verify_level level, const int64_t oldest_ns[COVERAGE_PARTS], const struct check_totals *t, int64_t started_ns, const char *principal, struct error *err) PK_CHECK;

#endif
