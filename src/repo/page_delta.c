#include "repo/page_delta.h"

#define PAGE_BYTES 8192u /* not every server's, but what is looked at together for all */
#define TABLE_LOG 12
#define ROW_ALIGN 4 /* rows begin at multiples of eight on most machines, of four on all */
#define NOWHERE UINT16_MAX

struct found {
    ZSTD_Sequence *list;
    size_t count, literals, done; /* done: up to where in is told */
};

static unsigned slot(uint64_t v) {
    return (unsigned)(v * UINT64_C(0x9e3779b185ebca87) >> (64 - TABLE_LOG));
}

/* How far two places are the same. */
static size_t same(const uint8_t *a, const uint8_t *b, size_t most) {
    size_t n = 0;
    for (; n + 8 <= most; n += 8) {
        const uint64_t differ = get_u64(a + n) ^ get_u64(b + n);
        if (differ) return n + ((size_t)__builtin_ctzll(differ) >> 3);
    }
    while (n < most && a[n] == b[n]) n++;
    return n;
}

static void index_page(struct bytes base, size_t page, uint16_t table[1u << TABLE_LOG]) {
    memset(table, 0xff, sizeof(uint16_t) << TABLE_LOG);
    const size_t end = base.len < page + PAGE_BYTES ? base.len : page + PAGE_BYTES;
    for (size_t i = page; i + 8 <= end; i += ROW_ALIGN) table[slot(get_u64(base.ptr + i))] = (uint16_t)(i - page);
}

/* The bytes from `at` on are those of base from `from` on; those before it may be, too. False: no room for it. */
static bool tell(struct found *f, struct bytes in, struct bytes base, size_t at, size_t from) {
    const size_t left = in.len - at < base.len - from ? in.len - at : base.len - from;
    const size_t end = at + same(in.ptr + at, base.ptr + from, left);
    while (at > f->done && from > 0 && in.ptr[at - 1] == base.ptr[from - 1]) at--, from--;
    if (f->count + 2 > PAGE_DELTA_SEQUENCES_MAX) return false;
    f->list[f->count++] = (ZSTD_Sequence){.offset = (unsigned)(base.len + at - from),
                                          .litLength = (unsigned)(at - f->done),
                                          .matchLength = (unsigned)(end - at)};
    f->literals += at - f->done;
    f->done = end;
    return f->literals <= in.len / 16;
}

size_t page_delta_find(struct bytes in, struct bytes base, ZSTD_Sequence ret[PAGE_DELTA_SEQUENCES_MAX]) {
    uint16_t table[1u << TABLE_LOG];
    struct found f = {.list = ret};
    size_t indexed = SIZE_MAX;
    if (in.len < PAGE_DELTA_BYTES_MIN || in.len > PAGE_DELTA_BYTES_MAX || base.len > PAGE_DELTA_BYTES_MAX) return 0;
    for (size_t at = 0; at + 8 <= in.len;) {
        const size_t page = at - at % PAGE_BYTES;
        const uint64_t here = get_u64(in.ptr + at);
        size_t from = at;
        if (at + 8 > base.len || get_u64(base.ptr + at) != here) {
            if (indexed != page) index_page(base, page, table);
            indexed = page;
            const uint16_t other = table[slot(here)];
            from = page + other;
            if (other == NOWHERE || get_u64(base.ptr + from) != here) {
                at++;
                continue;
            }
        }
        if (!tell(&f, in, base, at, from)) return 0;
        at = f.done;
    }
    f.literals += in.len - f.done;
    ret[f.count++] = (ZSTD_Sequence){.litLength = (unsigned)(in.len - f.done)};
    return f.literals <= in.len / 16 ? f.count : 0;
}
