#include "repo/cut_internal.h"

size_t cut_find_scalar(const struct cutter *c, const uint8_t *p, size_t from, size_t to, uint32_t mask) {
    const uint32_t *g = c->gear;
    uint32_t h = 0;
    size_t i = from - 31;
    for (; i < from; i++) h = (h << 1) + g[p[i]];
    /* Four steps in one: the carried chain is then two shift-adds for four bytes, not four. */
    for (; to >= 4 && i <= to - 4; i += 4) {
        const uint32_t g0 = g[p[i]], g1 = g[p[i + 1]], g2 = g[p[i + 2]], g3 = g[p[i + 3]];
        const uint32_t h0 = (h << 1) + g0, h1 = (h << 2) + ((g0 << 1) + g1), h2 = (h1 << 1) + g2;
        h = (h1 << 2) + ((g2 << 1) + g3);
        if ((h0 & mask) == 0) return i;
        if ((h1 & mask) == 0) return i + 1;
        if ((h2 & mask) == 0) return i + 2;
        if ((h & mask) == 0) return i + 3;
    }
    for (; i < to; i++) {
        h = (h << 1) + g[p[i]];
        if ((h & mask) == 0) return i;
    }
    return to;
}
