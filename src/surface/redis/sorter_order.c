#include "surface/redis/sorter_internal.h"

#include "base/thread.h"
#include <endian.h>

/* Quicksort by eight bytes of the name at a time (three ways, so that what shares them is compared further on): names
 * of keys share long beginnings, and to compare them from the start each time costs more than all else. */
#define SMALL 24
#define SYMBOL 6u
#define SYMBOLS_MAX 0xfffeu /* beyond it all is one symbol, and names are compared */
/* Names may be chosen by an enemy: beyond this the sort is one that is slower, and never deep. */
#define DEEP 200

/* The first byte from `at` on where names differ, or where the shorter one ends. */
static size_t differ_at(const struct entry *a, const struct entry *b, size_t at) {
    const uint8_t *p = entry_name(a), *q = entry_name(b);
    const size_t n = a->name_bytes < b->name_bytes ? a->name_bytes : b->name_bytes;
    for (; at + 8 <= n; at += 8) {
        uint64_t x, y;
        memcpy(&x, p + at, 8);
        memcpy(&y, q + at, 8);
        if (x != y) return at + (size_t)__builtin_ctzll(htole64(x ^ y)) / 8;
    }
    while (at < n && p[at] == q[at]) at++;
    return at;
}

static int compare_at(const struct entry *a, const struct entry *b, size_t at) {
    if (at < a->name_bytes && at < b->name_bytes) return entry_name(a)[at] < entry_name(b)[at] ? -1 : 1;
    return a->name_bytes < b->name_bytes ? -1 : a->name_bytes > b->name_bytes;
}

/* ---- codes ---- */
static uint64_t code_at(const struct entry *e, size_t symbol) {
    uint64_t v = 0;
    if (symbol >= SYMBOLS_MAX) return (uint64_t)(0xffff - SYMBOLS_MAX) << 48;
    const size_t at = symbol * SYMBOL, have = e->name_bytes > at ? e->name_bytes - at : 0;
    if (have) memcpy(&v, entry_name(e) + at, 8); /* there is room after a name: ENTRY_SLACK */
    v = be64toh(v) >> 16;
    if (have < SYMBOL) v &= ~(UINT64_C(0xffffffffffff) >> 8 * have);
    return (uint64_t)(0xffff - symbol) << 48 | v;
}

static uint64_t code_after(const struct entry *first, const struct entry *e, size_t at) {
    return at == e->name_bytes && first->name_bytes == e->name_bytes ? CODE_SAME : code_at(e, at / SYMBOL);
}

int entry_compare_coded(const struct entry *a, const struct entry *b, uint64_t code, uint64_t *ret) {
    const size_t at = differ_at(a, b, (0xffff - (size_t)(code >> 48)) * SYMBOL);
    int c = compare_at(a, b, at);
    *ret = c <= 0 ? code_after(a, b, at) : code_after(b, a, at);
    return c;
}

/* ---- the order ---- */
/* Of one name, what came first lies first. */
static int slot_compare(const struct slot *a, const struct slot *b) {
    int c = compare_at(a->e, b->e, differ_at(a->e, b->e, 0));
    return c ? c : a->e < b->e ? -1 : a->e > b->e;
}

static void load(struct slot *s, size_t n, size_t depth) {
    for (size_t i = 0; i < n; i++) {
        const struct entry *e = s[i].e;
        uint64_t v = 0;
        if (e->name_bytes > depth) {
            size_t have = e->name_bytes - depth;
            memcpy(&v, entry_name(e) + depth, have < 8 ? have : 8);
        }
        s[i].ahead = be64toh(v);
    }
}

static void insertion(struct slot *s, size_t n) {
    for (size_t i = 1; i < n; i++) {
        struct slot x = s[i];
        size_t k = i;
        for (; k > 0 && slot_compare(&x, &s[k - 1]) < 0; k--) s[k] = s[k - 1];
        s[k] = x;
    }
}

static bool more_after(const struct slot *s, size_t n, size_t depth) {
    for (size_t i = 0; i < n; i++)
        if (s[i].e->name_bytes > depth) return true;
    return false;
}

static uint64_t middle(const struct slot *s, size_t n) {
    uint64_t a = s[n / 8].ahead, b = s[n / 2].ahead, c = s[n - 1 - n / 8].ahead;
    return a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
}

/* Shell's sort by whole names: for those that are alike to their ends, and for what the other cannot take apart. */
static void settle(struct slot *s, size_t n) {
    for (size_t gap = n / 2; gap; gap /= 2)
        for (size_t i = gap; i < n; i++) {
            struct slot x = s[i];
            size_t k = i;
            for (; k >= gap && slot_compare(&x, &s[k - gap]) < 0; k -= gap) s[k] = s[k - gap];
            s[k] = x;
        }
}

static void order(struct slot *s, size_t n, size_t depth, unsigned patience) {
    while (n > SMALL) {
        if (patience-- == 0) {
            settle(s, n);
            return;
        }
        uint64_t pivot = middle(s, n);
        size_t lo = 0, hi = n, i = 0;
        while (i < hi) {
            struct slot x = s[i];
            if (x.ahead < pivot) {
                s[i++] = s[lo];
                s[lo++] = x;
            } else if (x.ahead > pivot) {
                s[i] = s[--hi];
                s[hi] = x;
            } else {
                i++;
            }
        }
        order(s, lo, depth, patience);
        if (more_after(s + lo, hi - lo, depth + 8)) {
            load(s + lo, hi - lo, depth + 8);
            order(s + lo, hi - lo, depth + 8, patience);
        } else {
            settle(s + lo, hi - lo);
        }
        s += hi;
        n -= hi;
    }
    insertion(s, n);
}

int sorter_order(struct slot *s, size_t n, struct error *err) {
    int r = stop_check(err);
    if (r < 0) return r;
    load(s, n, 0);
    order(s, n, 0, DEEP);
    for (size_t i = 0; i < n; i++)
        s[i].ahead = i ? code_after(s[i - 1].e, s[i].e, differ_at(s[i - 1].e, s[i].e, 0)) : code_at(s[i].e, 0);
    return 0;
}
