#include "surface/redis/sorter_internal.h"

#include "base/thread.h"
#include <endian.h>

/* Quicksort by eight bytes of the name at a time (three ways, so that what shares them is compared further on): names
 * of keys share long beginnings, and to compare them from the start each time costs more than all else. */
#define SMALL 24
/* Names may be chosen by an enemy: beyond this the sort is one that is slower, and never deep. */
#define DEEP 200

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
        for (; k > 0 && entry_compare(x.e, s[k - 1].e) < 0; k--) s[k] = s[k - 1];
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
            for (; k >= gap && entry_compare(x.e, s[k - gap].e) < 0; k -= gap) s[k] = s[k - gap];
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
    return 0;
}
