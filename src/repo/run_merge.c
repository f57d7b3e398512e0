#include "repo/run_merge.h"

#include <stdlib.h>

#define CLASSES 4 /* below RUN_FULL */

static unsigned class_of(uint64_t entries) {
    unsigned c = CLASSES;
    for (uint64_t bound = RUN_FULL; c > 0 && entries < bound; bound /= MERGE_COUNT) c--;
    return c;
}

static int row_order(const void *a, const void *b) {
    const uint8_t *const *x = a, *const *y = b;
    return memcmp(*x, *y, DIGEST_BYTES);
}

/* Two runs may speak of the same pack (writers that merged at once made both). Give it one place, so that what they say
 * of it twice is seen to be the same; else entries would double with every such merge. */
static int rows_unify(uint8_t *packs, size_t *count, struct run_entry *entries, size_t n, struct error *err) {
    void *mem;
    int rc = mem_alloc(*count * (sizeof(uint8_t *) + sizeof(uint32_t) + RUN_PACK_BYTES) + 1, &mem, err);
    if (rc < 0) return rc;
    const uint8_t **sorted = mem;
    uint32_t *place = (uint32_t *)(sorted + *count);
    uint8_t *rows = (uint8_t *)(place + *count);
    size_t kept = 0;
    for (size_t i = 0; i < *count; i++) sorted[i] = packs + i * RUN_PACK_BYTES;
    qsort(sorted, *count, sizeof *sorted, row_order);
    for (size_t i = 0; i < *count; i++) {
        if (i == 0 || row_order(&sorted[i - 1], &sorted[i]) != 0)
            memcpy(rows + kept++ * RUN_PACK_BYTES, sorted[i], RUN_PACK_BYTES);
        place[(size_t)(sorted[i] - packs) / RUN_PACK_BYTES] = (uint32_t)kept - 1;
    }
    for (size_t i = 0; i < n; i++) entries[i].pack = place[entries[i].pack];
    memcpy(packs, rows, kept * RUN_PACK_BYTES);
    *count = kept;
    seam_free(mem);
    return 0;
}

struct merge {
    struct run_entry *entries;
    uint8_t *packs;
    size_t n, pack_count, cap, pack_cap;
};

static int run_take(struct merge *m, const struct index *x, size_t i, struct error *err) {
    struct run_view v;
    int rc = index_scan(x, i, true, &v, err);
    if (rc < 0) return rc;
    rc = mem_grow((void **)&m->entries, &m->cap, m->n + v.entry_count, sizeof *m->entries, err);
    if (rc == 0) rc = mem_grow((void **)&m->packs, &m->pack_cap, m->pack_count + v.pack_count, RUN_PACK_BYTES, err);
    if (rc == 0) memcpy(m->packs + m->pack_count * RUN_PACK_BYTES, v.packs, (size_t)v.pack_count * RUN_PACK_BYTES);
    for (uint64_t k = 0; k < v.entry_count && rc == 0; k++) {
        const uint8_t *e = v.entries + k * RUN_ENTRY_BYTES;
        uint32_t flags = get_u32(e + 28);
        if (get_u32(e + 16) >= v.pack_count || (flags & ENTRY_DELTA && k + 1 == v.entry_count)) continue; /* a lie */
        struct run_entry *o = &m->entries[m->n++];
        memcpy(o->id, e, ID_PREFIX_BYTES);
        o->pack = get_u32(e + 16) + (uint32_t)m->pack_count;
        o->frame = get_u32(e + 20);
        o->plain_len = get_u32(e + 24);
        o->flags = flags;
        if (o->flags & ENTRY_DELTA) memcpy(o->base, v.entries + ++k * RUN_ENTRY_BYTES + 16, ID_PREFIX_BYTES);
    }
    m->pack_count += v.pack_count;
    index_scan_end(&v);
    return rc;
}

/* The merged run lists packs of other snapshots; that is why its writer drops it again when a collection came in
 * between. */
static int merge_some(struct repo *r, const size_t *which, size_t n, struct digests *added, struct error *err) {
    struct merge m = {0};
    struct digest merged;
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) rc = run_take(&m, &r->index, which[i], err);
    if (rc == 0) rc = rows_unify(m.packs, &m.pack_count, m.entries, m.n, err);
    if (rc == 0) rc = run_write(r, m.entries, m.n, m.packs, (uint32_t)m.pack_count, &merged, err);
    if (rc == 0) rc = store_commit(r->store, err);
    if (rc == 0) rc = digests_add(added, &merged, err);
    seam_free(m.entries);
    seam_free(m.packs);
    return rc;
}

struct sized {
    size_t run;
    uint64_t entries;
};

static int size_order(const void *a, const void *b) {
    const struct sized *x = a, *y = b;
    return (x->entries > y->entries) - (x->entries < y->entries);
}

/* The smallest runs that are merged now, of those from `from` on: how many, 0 when there is nothing to merge. */
static size_t take_count(const struct sized *s, size_t from, size_t n) {
    size_t in[CLASSES] = {0}, take = 0;
    uint64_t total = 0;
    unsigned top = CLASSES;
    for (size_t i = from; i < n; i++)
        if (class_of(s[i].entries) < CLASSES && ++in[class_of(s[i].entries)] == MERGE_COUNT)
            top = class_of(s[i].entries);
    if (top == CLASSES) return 0;
    for (; from + take < n && class_of(s[from + take].entries) <= top; take++) {
        total += s[from + take].entries;
        if (total > RUN_ENTRIES_MAX) break;
    }
    return take;
}

int runs_merge(struct repo *r, struct digests *added, struct digests *removed, struct error *err) {
    const struct index *x = &r->index;
    size_t n = x->count, from = 0, take, live = 0;
    void *mem;
    int rc = mem_alloc(n * (sizeof(struct sized) + sizeof(size_t)) + 1, &mem, err);
    if (rc < 0) return rc;
    struct sized *s = mem;
    size_t *which = (size_t *)(s + n);
    for (size_t i = 0; i < n; i++) s[i] = (struct sized){i, index_entry_count(x, i)};
    if (n) qsort(s, n, sizeof *s, size_order);
    while (rc == 0 && live < MERGE_REMOVED_MAX && (take = take_count(s, from, n)) > 0) {
        size_t used = 0;
        for (; used < take && live < MERGE_REMOVED_MAX; used++) {
            which[used] = s[from + used].run;
            for (size_t k = 0; k < r->state.run_count; k++)
                live += digest_equal(&r->state.runs[k], &x->names[which[used]]);
        }
        rc = merge_some(r, which, used, added, err);
        for (size_t i = 0; i < used && rc == 0; i++) rc = digests_add(removed, &x->names[which[i]], err);
        from += used;
    }
    seam_free(mem);
    return rc;
}
