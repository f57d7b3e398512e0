/* Finding the former self of a chunk: by place in pages, by anchor (the bytes at its cut points) in streams that shift.
 */
#include "repo/writer_internal.h"

#define FORMER_CHUNKS_MAX (1u << 20) /* bounds memory at about 80 MiB; what lies beyond is stored without a base */

void former_free(struct former *f) {
    if (!f) return;
    seam_free(f->ids);
    seam_free(f->ends);
    seam_free(f->anchors);
    seam_free(f->by_start);
    seam_free(f->by_end);
    seam_free(f);
}

static void table_put(const struct former *f, uint32_t *table, uint64_t anchor, uint32_t number) {
    for (uint32_t i = (uint32_t)(anchor ^ anchor >> 32) & (f->slots - 1);; i = (i + 1) & (f->slots - 1))
        if (!table[i]) {
            table[i] = number;
            return;
        }
}

static uint64_t start_of(const struct former *f, uint32_t i) {
    return i ? f->anchors[i - 1] : 0;
}

const struct digest *former_base(const struct former *f, uint64_t at, uint64_t start_anchor, uint64_t end_anchor) {
    if (!f || !f->count) return NULL;
    if (f->kind == CONTENT_PAGES) {
        uint32_t lo = 0, hi = f->count;
        while (lo < hi) {
            uint32_t mid = (lo + hi) / 2;
            if (f->ends[mid] <= at)
                lo = mid + 1;
            else
                hi = mid;
        }
        return lo < f->count ? &f->ids[lo] : NULL;
    }
    /* Of several chunks with the same anchor the nearest in place is the likeliest former self. */
    uint32_t best = 0;
    uint64_t best_distance = UINT64_MAX;
    for (int pass = 0; pass < 2 && !best; pass++) {
        const uint32_t *table = pass ? f->by_end : f->by_start;
        uint64_t anchor = pass ? end_anchor : start_anchor;
        unsigned tries = 0;
        for (uint32_t i = (uint32_t)(anchor ^ anchor >> 32) & (f->slots - 1); table[i] && tries < 64;
             i = (i + 1) & (f->slots - 1), tries++) {
            uint32_t n = table[i] - 1;
            if ((pass ? f->anchors[n] : start_of(f, n)) != anchor) continue;
            uint64_t distance = f->ends[n] > at ? f->ends[n] - at : at - f->ends[n];
            if (distance < best_distance) {
                best_distance = distance;
                best = n + 1;
            }
        }
    }
    return best ? &f->ids[best - 1] : NULL;
}

static int add(struct former *f, size_t cap[3], const struct ref *ref, uint64_t end, struct error *err) {
    int rc = mem_grow((void **)&f->ids, &cap[0], f->count + 1u, sizeof *f->ids, err);
    if (rc == 0) rc = mem_grow((void **)&f->ends, &cap[1], f->count + 1u, sizeof *f->ends, err);
    if (rc == 0) rc = mem_grow((void **)&f->anchors, &cap[2], f->count + 1u, sizeof *f->anchors, err);
    if (rc < 0) return rc;
    f->ids[f->count] = ref->id;
    f->ends[f->count] = end;
    f->anchors[f->count++] = ref->anchor;
    return 0;
}

int former_make(struct writer *w, const struct memo_item *m, struct former **ret, struct error *err) {
    void *mem;
    int rc = mem_alloc(sizeof(struct former) + m->name.len, &mem, err);
    if (rc < 0) return rc;
    struct former *f = mem;
    uint8_t *name = (uint8_t *)(f + 1);
    memcpy(name, m->name.ptr, m->name.len);
    f->name = BYTES_OF(name, m->name.len);
    f->kind = m->kind;
    size_t cap[3] = {0};
    uint64_t end = 0;
    struct cursor c = cursor_of(m->refs);
    struct ref ref;
    while (rc == 0 && f->count < FORMER_CHUNKS_MAX && ref_take(&c, &ref)) {
        struct bytes body;
        if (ref.type == REF_LIST && (memo_list(w->part, &ref.id, &body) || memo_list(w->prev, &ref.id, &body))) {
            struct cursor in = cursor_of(body);
            struct ref r2;
            uint64_t e = end;
            while (rc == 0 && f->count < FORMER_CHUNKS_MAX && ref_take(&in, &r2)) {
                e += r2.len;
                if (r2.type == REF_CHUNK) rc = add(f, cap, &r2, e, err);
            }
        }
        end += ref.len;
        if (ref.type == REF_CHUNK) rc = add(f, cap, &ref, end, err);
    }
    f->slots = 16;
    while (f->slots < 2 * f->count) f->slots *= 2;
    if (rc == 0) rc = mem_alloc(f->slots * sizeof(uint32_t), &mem, err);
    if (rc == 0) f->by_start = mem;
    if (rc == 0) rc = mem_alloc(f->slots * sizeof(uint32_t), &mem, err);
    if (rc == 0) f->by_end = mem;
    for (uint32_t i = 0; i < f->count && rc == 0; i++) {
        table_put(f, f->by_start, start_of(f, i), i + 1);
        table_put(f, f->by_end, f->anchors[i], i + 1);
    }
    if (rc < 0)
        former_free(f);
    else
        *ret = f;
    return rc;
}
