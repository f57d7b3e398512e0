/* The attribute record of a PostgreSQL file: an error, or a record that is written again and read to the same. */
#include "surface/pgphys/pgphys.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct error err = ERROR_INIT;
    struct pgphys_attr a, b;
    struct buf out = BUF_INIT(1 << 20);
    if (pgphys_attr_decode(BYTES_OF(data, size), &a, &err) == 0) {
        if (pgphys_attr_encode(&a, &out, &err) < 0 || pgphys_attr_decode(buf_bytes(&out), &b, &err) < 0) abort();
        if (a.type != b.type || a.mode != b.mode || a.flags != b.flags || a.mtime_ns != b.mtime_ns ||
            !bytes_equal(a.target, b.target))
            abort();
    }
    buf_free(&out);
    return 0;
}
