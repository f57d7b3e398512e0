/* What describes a shard's part of a snapshot, whatever it is: names within the bytes and fit for a path, or an error.
 * With a first byte of 0 framed, with its checksums; else what is inside of that. */
#include "surface/search/snapshot.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int on_file(void *ctx, const struct engine_blob *b, struct error *err) {
    (void)err;
    if (b->name.len < 3 || b->name.len > 100 || memchr(b->name.ptr, '/', b->name.len)) abort();
    if (b->part_bytes && b->part_bytes >= b->bytes) abort();
    ++*(uint64_t *)ctx;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct error err = ERROR_INIT;
    struct buf plain = BUF_INIT(1u << 20);
    uint64_t seen = 0, files = 0, bytes = 0;
    if (size == 0) return 0;
    struct bytes in = BYTES_OF(data + 1, size - 1);
    int r = data[0] == 0 ? engine_blob_open(in, &plain, &err) : buf_append(&plain, in.ptr, in.len, &err);
    if (r == 0) r = engine_blob_files(buf_bytes(&plain), on_file, &seen, &files, &bytes, &err);
    if ((r < 0) != (err.code != ERR_NONE) || (r == 0 && seen > files)) abort();
    buf_free(&plain);
    return 0;
}
