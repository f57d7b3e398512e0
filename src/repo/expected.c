#include "repo/expected.h"

#define SLOTS_MIN 1024 /* at most half full; kept when nothing is expected for the moment */

static size_t slot_of(const struct expected *x, const uint8_t *id) {
    size_t i = (size_t)get_u64(id) & (x->slot_count - 1);
    while (x->slots[i] && memcmp(x->rows[x->slots[i] - 1].id, id, ID_PREFIX_BYTES) != 0)
        i = (i + 1) & (x->slot_count - 1);
    return i;
}

static struct expected_row *find(const struct expected *x, const uint8_t *id) {
    if (!x->slot_count) return NULL;
    const uint32_t at = x->slots[slot_of(x, id)];
    return at ? &x->rows[at - 1] : NULL;
}

/* Room for one row more. */
static bool grow(struct expected *x) {
    struct error none = ERROR_INIT;
    void *mem;
    if (x->count == EXPECTED_MAX || mem_grow((void **)&x->rows, &x->cap, x->count + 1, sizeof *x->rows, &none) < 0)
        return false;
    if ((x->count + 1) * 2 <= x->slot_count) return true;
    const size_t n = x->slot_count ? x->slot_count * 2 : SLOTS_MIN;
    if (mem_alloc(n * sizeof *x->slots, &mem, &none) < 0) return false;
    seam_free(x->slots);
    x->slots = mem;
    x->slot_count = n;
    for (size_t i = 0; i < x->count; i++) x->slots[slot_of(x, x->rows[i].id)] = (uint32_t)i + 1;
    return true;
}

void expected_add(struct expected *x, const uint8_t *id, const struct location *at, bool passed) {
    if (at && x->has_last && x->last.run == at->run && x->last.pack == at->pack && x->last.frame == at->frame) return;
    x->has_last = at != NULL;
    if (at) x->last = *at;
    struct expected_row *row = find(x, id);
    if (row) {
        x->live += row->wanted == 0;
        row->passed = row->wanted++ ? row->passed : passed;
        return;
    }
    if (!grow(x)) {
        x->more = true;
        return;
    }
    row = &x->rows[x->count];
    *row = (struct expected_row){.run = at ? (uint32_t)at->run : EXPECTED_NOWHERE,
                                 .pack = at ? at->pack : EXPECTED_NOWHERE,
                                 .wanted = 1,
                                 .passed = passed};
    memcpy(row->id, id, ID_PREFIX_BYTES);
    x->slots[slot_of(x, id)] = (uint32_t)++x->count;
    x->live++;
}

void expected_take(struct expected *x, const uint8_t *id) {
    struct expected_row *row = find(x, id);
    if (!row || !row->wanted || --row->wanted || --x->live) return;
    const bool more = x->more;
    if (x->slot_count > SLOTS_MIN)
        expected_clear(x);
    else
        memset(x->slots, 0, x->slot_count * sizeof *x->slots);
    x->count = 0;
    x->has_last = false;
    x->more = more;
}

static bool matches(const struct expected_row *row, const struct location *pack) {
    return row->wanted && (!pack || (row->run == pack->run && row->pack == pack->pack));
}

size_t expected_sample(const struct expected *x, const struct location *pack, const uint8_t **ret, size_t max) {
    size_t n = 0, all = 0, seen = 0;
    for (size_t i = 0; i < x->count; i++) all += matches(&x->rows[i], pack);
    for (size_t i = 0; i < x->count && n < max; i++)
        if (matches(&x->rows[i], pack) && seen++ * max >= n * all) ret[n++] = x->rows[i].id;
    return n;
}

void expected_pass(struct expected *x, const struct location *pack, void (*cb)(void *, const uint8_t *), void *ctx) {
    for (size_t i = 0; i < x->count; i++) {
        struct expected_row *row = &x->rows[i];
        if (row->passed || !matches(row, pack)) continue;
        row->passed = true;
        cb(ctx, row->id);
    }
}

void expected_again(struct expected *x) {
    for (size_t i = 0; i < x->count; i++) x->rows[i].passed = false;
}

void expected_clear(struct expected *x) {
    seam_free(x->rows);
    seam_free(x->slots);
    *x = (struct expected){0};
}
