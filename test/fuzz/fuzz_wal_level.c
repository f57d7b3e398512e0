/* Changes of wal_level in bytes that may be WAL, in one go and in two: what is told lies within them, in order. */
#include "surface/wal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    uint64_t from, to, last;
    unsigned n;
};

static void on_level(void *ctx, uint64_t lsn, bool minimal) {
    struct seen *s = ctx;
    (void)minimal;
    if (lsn < s->from || lsn >= s->to || (s->n && lsn <= s->last)) abort();
    s->last = lsn;
    s->n++;
}

/* The first byte says how large pages are, and the second where the input is cut; the rest lies at 0x10000. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    const uint32_t page = 1024u << data[0] % 4;
    const struct bytes in = BYTES_OF(data + 2, size - 2);
    const size_t cut = in.len * data[1] / 255 / page * page;
    struct seen once = {.from = 0x10000, .to = 0x10000 + in.len}, twice = once;
    struct wal_levels w = {0}, v = {0};
    wal_levels_read(&w, once.from, page, in, on_level, &once);
    wal_levels_read(&v, twice.from, page, BYTES_OF(in.ptr, cut), on_level, &twice);
    wal_levels_read(&v, twice.from + cut, page, BYTES_OF(in.ptr + cut, in.len - cut), on_level, &twice);
    return 0;
}
