/* The order of a check with a budget, and what is remembered of it. */
#ifndef PK_REPO_CHECK_BUDGET_H
#define PK_REPO_CHECK_BUDGET_H

#include "repo/checked.h"
#include "repo/coverage.h"
#include "repo/maintain_internal.h"

struct budget {
    struct repo *r;
    enum verify_level level;
    const struct check_budget *limits;
    int64_t begun_ns, now_ns; /* monotonic, and UTC */
    struct checked memory;
    struct pack_fact *packs; /* borrowed: in the order of checking */
    int64_t *seen_ns;        /* beside each: when it was last seen whole; 0: never */
    size_t n;
};
/* Sorts `packs`, which stay the caller's. */
int budget_begin(struct repo *r, const struct check_options *o, struct pack_fact *packs, size_t n, struct budget *ret, struct error *err) PK_CHECK;
/* Whether to stop before the next pack, `taken` bytes having been taken on. */
bool budget_spent(const struct budget *b, uint64_t taken);
/* The first `reached` packs were checked; `result` says how: VERIFIED, NOT_CHECKED (nothing new is known), or not whole. Remembers, counts, and tells o->covered. */
int budget_end(struct budget *b, const struct check_options *o, size_t reached, enum check_result (*result)(void *ctx, const struct digest *pack), void *ctx,
               struct check_totals *t, struct error *err) PK_CHECK;
void budget_free(struct budget *b);

/* The same for coverage_add, of all packs of the last check with a budget: what b knows now. */
void budget_parts(const struct budget *b, int64_t oldest_ns[COVERAGE_PARTS]);

/* How much of what live snapshots and the index have was read whole, and when, as far as checks with a budget say. */
#define COVERAGE_WINDOWS 3
extern const int64_t coverage_window_ns[COVERAGE_WINDOWS]; /* 7, 30 and 90 days */
struct coverage_sum {
    bool any;              /* there is such evidence at all */
    uint64_t packs, bytes; /* that the index has */
    uint64_t within[COVERAGE_WINDOWS], never; /* bytes */
    int64_t oldest_ns;     /* of all packs, when the one read longest ago was; 0: one never was */
};
/* At level checksum or above. Lists the store's packs where the log knows more than the cache. */
int coverage_sum_make(struct repo *r, struct coverage_sum *ret, struct error *err) PK_CHECK;

#endif
