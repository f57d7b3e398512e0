#include "ledger/tiles.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

void tile_path(int level, uint64_t index, unsigned width, char ret[TILE_PATH_MAX]) {
    assert(width >= 1 && width <= TREE_FANOUT);
    unsigned parts[8], n = 0; /* 2^64 has 20 digits: seven groups of three */
    do {
        parts[n++] = (unsigned)(index % 1000);
        index /= 1000;
    } while (index);
    int at = level == TILE_ENTRIES ? snprintf(ret, TILE_PATH_MAX, "tile/entries")
                                   : snprintf(ret, TILE_PATH_MAX, "tile/%d", level);
    while (n--) at += snprintf(ret + at, TILE_PATH_MAX - (size_t)at, n ? "/x%03u" : "/%03u", parts[n]);
    if (width < TREE_FANOUT) snprintf(ret + at, TILE_PATH_MAX - (size_t)at, ".p/%u", width);
}

uint64_t tile_hashes(uint64_t size, unsigned level) {
    return level < 8 ? size >> 8 * level : 0;
}

int tile_each(int level, uint64_t old, uint64_t size, tile_cb cb, void *ctx, struct error *err) {
    unsigned of = level == TILE_ENTRIES ? 0 : (unsigned)level;
    uint64_t have = tile_hashes(size, of);
    for (uint64_t index = tile_hashes(old, of) / TREE_FANOUT; index * TREE_FANOUT < have; index++) {
        uint64_t left = have - index * TREE_FANOUT;
        int rc = cb(ctx, level, index, left < TREE_FANOUT ? (unsigned)left : TREE_FANOUT, err);
        if (rc != 0) return rc;
    }
    return 0;
}

int bundle_append(struct buf *bundle, struct bytes entry, struct error *err) {
    if (entry.len > UINT16_MAX)
        return error_set(err, ERR_LEDGER_TOO_BIG, "an entry of %zu bytes does not fit a bundle", entry.len);
    const uint8_t head[2] = {(uint8_t)(entry.len >> 8), (uint8_t)entry.len};
    size_t before = bundle->len;
    if (buf_append(bundle, head, sizeof(head), err) < 0 || buf_append(bundle, entry.ptr, entry.len, err) < 0) {
        bundle->len = before;
        return error_wrap(err, "entry bundle");
    }
    return 0;
}

int bundle_next(struct bytes *bundle, struct bytes *ret, struct error *err) {
    size_t len = bundle->len < 2 ? 0 : (size_t)bundle->ptr[0] << 8 | bundle->ptr[1];
    if (bundle->len < 2 || bundle->len - 2 < len)
        return error_set(err, ERR_LEDGER_BROKEN, "an entry bundle is cut short");
    *ret = BYTES_OF(bundle->ptr + 2, len);
    *bundle = BYTES_OF(bundle->ptr + 2 + len, bundle->len - 2 - len);
    return 0;
}
