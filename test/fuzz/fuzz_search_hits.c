/* An answer to a search, whatever it is: its documents within bounds, or an error; and the same whatever pieces it
 * comes in. */
#include "surface/search/hits.h"

#include "base/mix.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int begin(void *ctx, const struct hit *h, struct error *err) {
    (void)err;
    mix_part(ctx, h->id);
    mix_part(ctx, h->routing);
    return 0;
}
static int document(void *ctx, struct bytes piece, struct error *err) {
    (void)err;
    if (memchr(piece.ptr, '\n', piece.len)) abort();
    mix_part(ctx, piece);
    return 0;
}
static int end(void *ctx, struct error *err) {
    (void)err;
    mix_u64(ctx, 1);
    return 0;
}

static int run(const uint8_t *data, size_t size, size_t piece, struct hash128 *ret) {
    struct error err = ERROR_INIT;
    struct mix m;
    struct hits_events ev = {.ctx = &m, .begin = begin, .document = document, .end = end};
    struct hits h;
    json_t *rest = NULL;
    int r = 0;
    mix_begin(&m);
    hits_open(&h, &ev);
    for (size_t at = 0; at < size && r == 0; at += piece)
        r = hits_feed(&h, BYTES_OF(data + at, size - at < piece ? size - at : piece), &err);
    if (r == 0) r = hits_close(&h, &rest, &err);
    if ((r < 0) != (err.code != ERR_NONE)) abort();
    json_decref(rest);
    hits_free(&h);
    *ret = mix_end(&m);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct hash128 a, b;
    int whole = run(data, size, size ? size : 1, &a), parts = run(data, size, 3, &b);
    if (whole != parts || (whole == 0 && (a.lo != b.lo || a.hi != b.hi))) abort();
    return 0;
}
