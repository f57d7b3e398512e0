/* Lines that pg_waldump prints: what is borrowed of one lies within it. */
#include "surface/pgphys/commits.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void within(struct bytes line, struct bytes part) {
    if (part.len && (part.ptr < line.ptr || part.ptr + part.len > line.ptr + line.len)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint32_t files[] = {16401, 1};
    struct bytes rest = BYTES_OF(data, size);
    while (rest.len) {
        const uint8_t *end = memchr(rest.ptr, '\n', rest.len);
        struct bytes line = BYTES_OF(rest.ptr, end ? (size_t)(end - rest.ptr) : rest.len);
        struct waldump_record r;
        if (waldump_line(line, &r)) {
            within(line, r.blocks);
            within(line, r.subxacts);
            within(line, r.name);
            if (waldump_touches(&r, 5, files, 2) && r.kind != WALDUMP_HEAP) abort();
        }
        rest = BYTES_OF(line.ptr + line.len, rest.len - line.len);
        if (rest.len) rest = BYTES_OF(rest.ptr + 1, rest.len - 1);
    }
    return 0;
}
