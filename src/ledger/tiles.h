/* Names and bytes of tiles. Source: C2SP tlog-tiles. */
#ifndef PK_LEDGER_TILES_H
#define PK_LEDGER_TILES_H

#include "ledger/ledger.h"
#include "ledger/tree.h"

#define TILE_PATH_MAX 64
#define TILE_ENTRIES (-1) /* as a level: the bundle of entries beside the level-0 tile of the same index */

/* "tile/<level>/<index>", and ".p/<width>" below 256; the index as "x001/x234/067". 1 <= width <= 256. */
void tile_path(int level, uint64_t index, unsigned width, char ret[TILE_PATH_MAX]);
/* Number of hashes on that level of a tree of `size`, so floor(size / 256^level). */
uint64_t tile_hashes(uint64_t size, unsigned level);
/* Every tile of one level (or bundle) that a tree of `size` has and one of `old` had not; the partial one of `old` is told of
 * again, also when it is the same. */
typedef int (*tile_cb)(void *ctx, int level, uint64_t index, unsigned width, struct error *err);
int tile_each(int level, uint64_t old, uint64_t size, tile_cb cb, void *ctx, struct error *err) PK_CHECK;
/* No bundle is longer. */
#define BUNDLE_BYTES_MAX ((size_t)TREE_FANOUT * (2 + LEDGER_ENTRY_MAX_BYTES))
/* Append to an entry bundle: big-endian uint16 length, then the bytes. ERR_LEDGER_TOO_BIG above 65535. */
int bundle_append(struct buf *bundle, struct bytes entry, struct error *err) PK_CHECK;
/* Take the next entry off a bundle; ERR_LEDGER_BROKEN when it is cut short. */
int bundle_next(struct bytes *bundle, struct bytes *ret, struct error *err) PK_CHECK;

#endif
