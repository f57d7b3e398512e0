#include "repo/check_budget.h"

#include "base/time.h"

#include <stdio.h>
#include <stdlib.h>

#define COVERAGES 32                                /* entries of the log that are heeded */
#define CLOCKS_APART_NS (INT64_C(300) * 1000000000) /* of the store and whoever checked */

struct ordered {
    struct pack_fact fact;
    int64_t seen_ns;
};

static int oldest_first(const void *a, const void *b) {
    const struct ordered *x = a, *y = b;
    if (x->seen_ns != y->seen_ns) return x->seen_ns < y->seen_ns ? -1 : 1;
    return memcmp(x->fact.name.b, y->fact.name.b, DIGEST_BYTES);
}

static bool memory_path(const struct repo *r, char out[4200]) {
    return r->cache_dir && snprintf(out, 4200, "%s/checked", r->cache_dir) < 4200;
}

static int64_t remembered(const struct checked *m, const struct digest *name, enum verify_level level) {
    const struct checked_row *row = checked_find(m, name);
    if (!row) return 0;
    int64_t decode = row->at_ns[CHECKED_DECODE], sum = row->at_ns[CHECKED_CHECKSUM];
    return level >= VERIFY_DECODE || decode > sum ? decode : sum;
}

/* Whether this cache was written after all that the log says: then it has taken that in. */
static bool memory_is_newer(const struct checked *m, const struct coverage *c, size_t n) {
    int64_t newest = 0;
    for (size_t i = 0; i < m->n; i++)
        for (int l = 0; l < CHECKED_LEVELS; l++)
            if (m->rows[i].at_ns[l] > newest) newest = m->rows[i].at_ns[l];
    for (size_t i = 0; i < n; i++)
        if (c[i].stored_ns > newest) return false;
    return newest > 0;
}

/* What the log says counts for packs that this cache knows nothing of, and that were there when it was said. */
static int log_says(struct budget *b, struct ordered *list, struct error *err) {
    struct pack_facts stored = {0};
    size_t unknown = 0, n = 0;
    void *mem = NULL;
    for (size_t i = 0; i < b->n; i++) unknown += !list[i].seen_ns && !checked_find(&b->memory, &list[i].fact.name);
    if (!unknown) return 0;
    int rc = mem_alloc(COVERAGES * sizeof(struct coverage), &mem, err);
    struct coverage *c = mem;
    if (rc == 0) rc = coverage_find(b->r, b->level, c, COVERAGES, &n, err);
    if (rc == 0 && n && memory_is_newer(&b->memory, c, n)) n = 0;
    if (rc == 0 && n) rc = store_packs(b->r, &stored, err);
    for (size_t i = 0; i < b->n && rc == 0 && n; i++) {
        const struct pack_fact *f = pack_fact_find(&stored, &list[i].fact.name);
        if (list[i].seen_ns || !f || checked_find(&b->memory, &f->name)) continue;
        for (size_t k = 0; k < n; k++)
            if (f->created_ns + CLOCKS_APART_NS < c[k].stored_ns && c[k].oldest_ns[f->name.b[0]] > list[i].seen_ns)
                list[i].seen_ns = c[k].oldest_ns[f->name.b[0]];
    }
    seam_free(stored.f);
    seam_free(mem);
    return rc;
}

int budget_begin(struct repo *r, const struct check_options *o, struct pack_fact *packs, size_t n, struct budget *ret,
                 struct error *err) {
    struct ordered *list;
    char path[4200];
    void *mem;
    *ret = (struct budget){.r = r,
                           .level = o->level,
                           .limits = o->budget,
                           .begun_ns = time_monotonic_ns(),
                           .now_ns = time_now_ns(),
                           .packs = packs,
                           .n = n};
    int rc = memory_path(r, path) ? checked_load(path, &ret->memory, err) : 0;
    if (rc == 0 && (rc = mem_alloc((n + 1) * sizeof *ret->seen_ns, &mem, err)) == 0) ret->seen_ns = mem;
    if (rc == 0) rc = mem_alloc((n + 1) * sizeof *list, &mem, err);
    if (rc < 0) return rc;
    list = mem;
    for (size_t i = 0; i < n; i++)
        list[i] = (struct ordered){packs[i], remembered(&ret->memory, &packs[i].name, o->level)};
    rc = log_says(ret, list, err);
    if (n) qsort(list, n, sizeof *list, oldest_first);
    for (size_t i = 0; i < n; i++) {
        packs[i] = list[i].fact;
        ret->seen_ns[i] = list[i].seen_ns;
    }
    seam_free(list);
    return rc;
}

bool budget_spent(const struct budget *b, uint64_t taken) {
    /* however small the budget, every run comes further */
    return taken && ((b->limits->ns && time_monotonic_ns() - b->begun_ns >= b->limits->ns) ||
                     (b->limits->bytes && taken >= b->limits->bytes));
}

static int remember(const struct budget *b, size_t reached, struct error *err) {
    struct checked c = {0};
    struct pack_facts known = {0};
    char path[4200];
    if (!memory_path(b->r, path)) return 0;
    int rc = index_packs(b->r, &known, err);
    /* what a collection took is forgotten */
    for (size_t i = 0; i < b->memory.n && rc == 0; i++)
        if (pack_fact_find(&known, &b->memory.rows[i].name)) rc = checked_add(&c, &b->memory.rows[i], err);
    for (size_t i = 0; i < b->n && rc == 0; i++) {
        struct checked_row row = {.name = b->packs[i].name};
        if (b->level < VERIFY_DECODE) row.at_ns[CHECKED_CHECKSUM] = b->seen_ns[i];
        if (b->level >= VERIFY_DECODE) row.at_ns[CHECKED_DECODE] = b->seen_ns[i];
        rc = checked_add(&c, &row, err);
    }
    if (rc == 0) {
        checked_sort(&c);
        /* what turned out to be damaged must not go on as whole */
        for (size_t i = 0; i < reached; i++) {
            struct checked_row *row = b->seen_ns[i] ? NULL : checked_find(&c, &b->packs[i].name);
            for (int l = 0; row && l < CHECKED_LEVELS; l++) row->at_ns[l] = 0;
        }
        rc = checked_store(path, &c, err);
    }
    seam_free(known.f);
    checked_free(&c);
    return rc;
}

static int name_order(const void *a, const void *b) {
    return memcmp(a, b, DIGEST_BYTES);
}

/* For each snapshot the time of its pack that was checked longest ago. */
static int tell(const struct budget *b, const struct check_options *o, struct error *err) {
    struct {
        struct digest name;
        int64_t seen_ns;
    } * by_name, *hit;
    void *mem;
    if (!o->covered) return 0;
    int rc = mem_alloc((b->n + 1) * sizeof *by_name, &mem, err);
    if (rc < 0) return rc;
    by_name = mem;
    for (size_t i = 0; i < b->n; i++) {
        by_name[i].name = b->packs[i].name;
        by_name[i].seen_ns = b->seen_ns[i];
    }
    if (b->n) qsort(by_name, b->n, sizeof *by_name, name_order);
    for (size_t i = 0; i < b->r->state.snapshot_count && rc == 0; i++) {
        const struct snapshot_info *s = &b->r->state.snapshots[i];
        struct digests packs;
        struct error e = ERROR_INIT;
        int64_t oldest = b->now_ns;
        if (s->forgotten || snapshot_packs(b->r, s, &packs, &e) < 0) continue;
        for (size_t k = 0; k < packs.n; k++) {
            hit = b->n ? bsearch(&packs.d[k], by_name, b->n, sizeof *by_name, name_order) : NULL;
            if (!hit || hit->seen_ns < oldest) oldest = hit ? hit->seen_ns : 0;
        }
        digests_free(&packs);
        rc = o->covered(o->ctx, s, oldest, err);
    }
    seam_free(mem);
    return rc;
}

int budget_end(struct budget *b, const struct check_options *o, size_t reached,
               enum check_result (*result)(void *ctx, const struct digest *pack), void *ctx, struct check_totals *t,
               struct error *err) {
    int64_t oldest = b->now_ns;
    t->packs = b->n;
    t->packs_left = b->n - reached + t->packs_archived;
    t->bytes_left = t->bytes_archived;
    for (size_t i = 0; i < b->n; i++) {
        const enum check_result how = i < reached ? result(ctx, &b->packs[i].name) : CHECK_NOT_CHECKED;
        if (how != CHECK_NOT_CHECKED) b->seen_ns[i] = how == CHECK_VERIFIED ? b->now_ns : 0;
        t->pack_bytes += b->packs[i].bytes;
        if (i >= reached) t->bytes_left += b->packs[i].bytes;
        if (b->seen_ns[i] && b->seen_ns[i] >= b->now_ns - b->limits->window_ns) t->bytes_covered += b->packs[i].bytes;
        if (b->seen_ns[i] < oldest) oldest = b->seen_ns[i];
    }
    t->oldest_ns = oldest;
    int rc = remember(b, reached, err);
    return rc < 0 ? rc : tell(b, o, err);
}

void budget_parts(const struct budget *b, int64_t oldest_ns[COVERAGE_PARTS]) {
    for (int i = 0; i < COVERAGE_PARTS; i++) oldest_ns[i] = b->now_ns;
    for (size_t i = 0; i < b->n; i++) {
        int64_t *part = &oldest_ns[b->packs[i].name.b[0]];
        if (b->seen_ns[i] < *part) *part = b->seen_ns[i];
    }
}

void budget_free(struct budget *b) {
    checked_free(&b->memory);
    seam_free(b->seen_ns);
    *b = (struct budget){0};
}

#define DAY_NS (INT64_C(24) * 3600 * 1000000000)
const int64_t coverage_window_ns[COVERAGE_WINDOWS] = {7 * DAY_NS, 30 * DAY_NS, 90 * DAY_NS};

int coverage_sum_make(struct repo *r, struct coverage_sum *ret, struct error *err) {
    const struct check_budget none = {.ns = 0};
    const struct check_options o = {.level = VERIFY_CHECKSUM, .budget = &none};
    struct pack_facts all = {0};
    struct budget b = {0};
    struct coverage_sum s = {.oldest_ns = INT64_MAX};
    int rc = index_packs(r, &all, err);
    if (rc == 0) rc = budget_begin(r, &o, all.f, all.n, &b, err);
    for (size_t i = 0; i < all.n && rc == 0; i++) {
        const uint64_t bytes = all.f[i].bytes;
        const int64_t seen = b.seen_ns[i];
        s.packs++;
        s.bytes += bytes;
        s.any |= seen != 0;
        if (!seen) s.never += bytes;
        if (seen < s.oldest_ns) s.oldest_ns = seen;
        for (int w = 0; w < COVERAGE_WINDOWS && seen; w++)
            if (seen >= b.now_ns - coverage_window_ns[w]) s.within[w] += bytes;
    }
    if (!s.packs) s.oldest_ns = 0;
    budget_free(&b);
    seam_free(all.f);
    if (rc < 0) return error_wrap(err, "adding up what was checked");
    *ret = s;
    return 0;
}
