/* The attribute record of a file: whatever the bytes, an error, or a record that is written again and read to the same.
 */
#include "surface/files/attr.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(int holds) {
    if (!holds) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct error err = ERROR_INIT;
    struct attr a, b;
    int rc = attr_decode(BYTES_OF(data, size), &a, &err);
    if (rc) {
        need(rc == -(int)err.code && err.text[0]);
        return 0;
    }
    struct bytes run = a.xattrs, key, value;
    while (xattr_next(&run, &key, &value)) need(key.len > 0 && key.len <= 255 && !memchr(key.ptr, 0, key.len));
    CLEANUP(buf_free) struct buf out = BUF_INIT(ATTR_BYTES_MAX), again = BUF_INIT(ATTR_BYTES_MAX);
    if (attr_encode(&a, &out, &err)) return 0;
    need(attr_decode(buf_bytes(&out), &b, &err) == 0);
    need(attr_encode(&b, &again, &err) == 0);
    need(bytes_equal(buf_bytes(&out), buf_bytes(&again)));
    return 0;
}
