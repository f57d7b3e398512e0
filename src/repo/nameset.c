#include "repo/nameset.h"

#include <stdlib.h>

static int order(const void *a, const void *b) {
    return memcmp(a, b, NAME_PREFIX_BYTES);
}

int nameset_add(struct nameset *s, const uint8_t *name, struct error *err) {
    int rc = mem_grow((void **)&s->names, &s->cap, s->count + 1, NAME_PREFIX_BYTES, err);
    if (rc == 0) memcpy(s->names[s->count++], name, NAME_PREFIX_BYTES);
    return rc;
}

static uint32_t top_of(const struct nameset *s, const uint8_t *name) {
    const uint32_t top = (uint32_t)name[0] << 24 | (uint32_t)name[1] << 16 | (uint32_t)name[2] << 8 | name[3];
    return s->bits ? top >> (32 - s->bits) : 0;
}

static void fan_drop(struct nameset *s) {
    seam_free(s->fan);
    s->fan = NULL;
}

/* A search then begins among eight names or so, as digests are spread evenly. Without memory for it there is none. */
static void fan_make(struct nameset *s) {
    fan_drop(s);
    s->bits = 0;
    while (s->bits < 28 && (size_t)8 << s->bits < s->count) s->bits++;
    if (s->count >= UINT32_MAX || !(s->fan = seam_alloc((((size_t)1 << s->bits) + 1) * sizeof *s->fan))) return;
    uint32_t next = 0;
    for (size_t i = 0; i < s->count; i++)
        while (next <= top_of(s, s->names[i])) s->fan[next++] = (uint32_t)i;
    while (next <= 1u << s->bits) s->fan[next++] = (uint32_t)s->count;
}

/* Into parts by the first byte, in place, and each part by qsort, whose own memory is then a part's. */
void nameset_sort(struct nameset *s) {
    size_t count[256] = {0}, at[256], end[256], sum = 0;
    if (s->sorted == s->count) return;
    for (size_t i = 0; i < s->count; i++) count[s->names[i][0]]++;
    for (size_t b = 0; b < 256; b++) {
        at[b] = sum;
        end[b] = sum += count[b];
    }
    for (size_t b = 0; b < 256; b++)
        while (at[b] < end[b]) {
            uint8_t moved[NAME_PREFIX_BYTES], *here = s->names[at[b]];
            if (here[0] == b) {
                at[b]++;
                continue;
            }
            uint8_t *there = s->names[at[here[0]]++];
            memcpy(moved, here, sizeof moved);
            memcpy(here, there, sizeof moved);
            memcpy(there, moved, sizeof moved);
        }
    size_t w = 0;
    for (size_t b = 0; b < 256; b++) {
        const size_t from = end[b] - count[b];
        if (count[b]) qsort(s->names[from], count[b], NAME_PREFIX_BYTES, order);
        for (size_t i = from; i < end[b]; i++)
            if (w == 0 || order(s->names[w - 1], s->names[i]) != 0) {
                if (w != i) memcpy(s->names[w], s->names[i], NAME_PREFIX_BYTES);
                w++;
            }
    }
    s->count = s->sorted = w;
    fan_make(s);
}

size_t nameset_find(const struct nameset *s, const uint8_t *name) {
    size_t lo = s->fan ? s->fan[top_of(s, name)] : 0;
    const size_t end = s->fan ? s->fan[top_of(s, name) + 1] : s->sorted;
    for (size_t hi = end; lo < hi;) {
        const size_t mid = (lo + hi) / 2;
        if (order(s->names[mid], name) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < end && order(s->names[lo], name) == 0 ? lo : NAMESET_NONE;
}

void nameset_drop(struct nameset *s, const uint8_t *bits) {
    size_t w = 0;
    for (size_t i = 0; i < s->count; i++)
        if (!bit_get(bits, i)) {
            if (w != i) memcpy(s->names[w], s->names[i], NAME_PREFIX_BYTES);
            w++;
        }
    s->count = s->sorted = w;
    fan_make(s);
}

void nameset_free(struct nameset *s) {
    fan_drop(s);
    seam_free(s->names);
    *s = (struct nameset){0};
}
