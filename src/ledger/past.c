/* Entries below the one at which a handle began: their hashes are not in its tree, but whatever tiles or entries say of
 * them must come to a hash that is. */
#include "ledger/ledger_internal.h"
#include "ledger/tiles.h"

#include "base/seam.h"
#include <inttypes.h>

#define TILE_BYTES (TREE_FANOUT * DIGEST_BYTES)

int bundle_read(struct ledger *l, uint64_t index, unsigned width, struct buf *ret, char path[TILE_PATH_MAX],
                struct error *err) {
    tile_path(TILE_ENTRIES, index, width, path);
    if (store_read_all(l->store, path, (size_t)width * (2 + LEDGER_ENTRY_MAX_BYTES), ret, err) < 0)
        return error_wrap(err, "entry bundle");
    return 0;
}

void past_end(struct past *p) {
    for (size_t i = 0; i < p->count; i++) seam_free(p->tiles[i].hashes);
    p->count = 0;
}

/* The tile of a level, checked against the one above, up to a hash that the tree has. *ret is NULL when what is stored
 * does not show it; else borrowed until the next tile is read. */
static int tile_get(struct past *p, unsigned level, uint64_t index, const struct digest **ret, struct error *err) {
    struct ledger *l = p->ledger;
    struct error e = ERROR_INIT;
    char path[TILE_PATH_MAX];
    void *mem;
    size_t got;
    *ret = NULL;
    for (size_t i = 0; i < p->count; i++)
        if (p->tiles[i].level == level && p->tiles[i].index == index) {
            *ret = p->tiles[i].hashes;
            return 0;
        }
    if (level + 1 >= TREE_LEVELS) return 0;
    const struct digest *above;
    struct digest want, sum;
    if (tree_has(l->tree, level + 1, index))
        want = *tree_hashes(l->tree, level + 1, index);
    else if (tile_get(p, level + 1, index / TREE_FANOUT, &above, err) < 0)
        return -(int)err->code;
    else if (above)
        want = above[index % TREE_FANOUT];
    else
        return 0;
    if (mem_alloc(TILE_BYTES, &mem, err) < 0) return error_wrap(err, "tiles of the log");
    tile_path((int)level, index, TREE_FANOUT, path);
    int rc = store_read(l->store, path, 0, mem, TILE_BYTES, &got, &e);
    if (rc == 0 && got == TILE_BYTES) tree_reduce(mem, TREE_FANOUT, &sum);
    if (rc < 0 || got != TILE_BYTES || !digest_equal(&sum, &want)) {
        seam_free(mem);
        if (rc == 0 || start_doubtful(&e)) return 0;
        *err = e;
        return error_wrap(err, "tiles of the log");
    }
    if (p->count == PAST_TILES_MAX) {
        seam_free(p->tiles[0].hashes);
        memmove(p->tiles, p->tiles + 1, --p->count * sizeof p->tiles[0]);
    }
    p->tiles[p->count++] = (struct past_tile){level, index, mem};
    *ret = mem;
    return 0;
}

/* n hashes of a level, which lie in one tile; *ret_known is false when tiles do not show them. */
static int hashes_get(struct past *p, unsigned level, uint64_t index, size_t n, struct digest *ret, bool *ret_known,
                      struct error *err) {
    const struct tree *t = p->ledger->tree;
    const struct digest *tile;
    *ret_known = true;
    if (tree_has(t, level, index) && tree_has(t, level, index + n - 1)) {
        memcpy(ret, tree_hashes(t, level, index), n * sizeof *ret);
        return 0;
    }
    if (tile_get(p, level, index / TREE_FANOUT, &tile, err) < 0) return -(int)err->code;
    *ret_known = tile != NULL;
    if (tile) memcpy(ret, tile + index % TREE_FANOUT, n * sizeof *ret);
    return 0;
}

int past_leaf(struct ledger *l, uint64_t seq, struct digest *ret, struct error *err) {
    CLEANUP(past_end) struct past p = {.ledger = l};
    bool known;
    if (hashes_get(&p, 0, seq, 1, ret, &known, err) < 0) return -(int)err->code;
    if (known) return 0;
    if (past_complete(l, err) < 0) return -(int)err->code;
    *ret = *tree_hashes(l->tree, 0, seq);
    return 0;
}

int past_range(struct past *p, uint64_t begin, uint64_t end, struct digest *ret, struct error *err) {
    uint64_t size = end - begin;
    struct digest acc = {{0}}, row[TREE_FANOUT];
    bool have = false;
    for (unsigned k = 0; size >> k; k++) {
        if (!(size >> k & 1)) continue;
        uint64_t at = (begin + (size >> k >> 1 << k << 1)) >> k;
        size_t n = (size_t)1 << k % 8;
        struct digest part;
        bool known;
        if (hashes_get(p, k / 8, at << k % 8, n, row, &known, err) < 0) return -(int)err->code;
        if (!known) {
            if (past_complete(p->ledger, err) < 0) return -(int)err->code;
            memcpy(row, tree_hashes(p->ledger->tree, k / 8, at << k % 8), n * sizeof *row);
        }
        tree_reduce(row, n, &part);
        if (have)
            merkle_node(&part, &acc, &acc);
        else
            acc = part;
        have = true;
    }
    *ret = acc;
    return 0;
}

static int add_leaf(struct tree *t, struct bytes envelope, struct error *err) {
    struct digest leaf;
    if (tree_reserve(t, 1, err) < 0) return -(int)err->code;
    merkle_leaf(envelope, &leaf);
    tree_add(t, &leaf);
    return 0;
}

static int add_stored(struct ledger *l, struct tree *t, struct error *err) {
    CLEANUP(buf_free) struct buf one = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    bool found;
    if (ledger_stored(l, tree_size(t), &one, &found, err) < 0) return -(int)err->code;
    if (!found) return error_set(err, ERR_LEDGER_BROKEN, "entry %" PRIu64 " of the log is missing", tree_size(t));
    return add_leaf(t, buf_bytes(&one), err);
}

/* The entries of one bundle; *ret_whole is false, and the tree has some of them, when it is of no use. */
static int add_bundle(struct ledger *l, struct tree *t, bool *ret_whole, struct error *err) {
    CLEANUP(buf_free) struct buf bundle = BUF_INIT(BUNDLE_BYTES_MAX + 1);
    struct error e = ERROR_INIT;
    char path[TILE_PATH_MAX];
    uint64_t index = tree_size(t) / TREE_FANOUT;
    *ret_whole = false;
    if (bundle_read(l, index, TREE_FANOUT, &bundle, path, &e) < 0) {
        if (start_doubtful(&e)) return 0;
        *err = e;
        return -(int)err->code;
    }
    struct bytes rest = buf_bytes(&bundle), envelope;
    for (unsigned i = 0; i < TREE_FANOUT; i++) {
        if (bundle_next(&rest, &envelope, &e) < 0) return 0;
        if (add_leaf(t, envelope, err) < 0) return -(int)err->code;
    }
    *ret_whole = true;
    return 0;
}

static int read_past(struct ledger *l, bool bundles, struct tree *t, struct error *err) {
    uint64_t base = tree_base(l->tree);
    while (tree_size(t) < base) {
        bool whole = false;
        if (bundles && tree_size(t) % TREE_FANOUT == 0 && tree_size(t) + TREE_FANOUT <= base &&
            add_bundle(l, t, &whole, err) < 0)
            return -(int)err->code;
        if (!whole && add_stored(l, t, err) < 0) return -(int)err->code;
    }
    return 0;
}

int past_complete(struct ledger *l, struct error *err) {
    uint64_t base = tree_base(l->tree);
    struct digest want, got = {{0}};
    struct tree *t = NULL;
    if (base == 0) return 0;
    tree_root(l->tree, base, &want);
    /* a wrong bundle shows only in the root, so then the entries themselves have the word */
    for (unsigned i = 0; i < 2 && (i == 0 || !digest_equal(&got, &want)); i++) {
        hash_tree_free(t);
        if (hash_tree_new(&t, err) < 0) return error_wrap(err, "log");
        if (read_past(l, i == 0, t, err) < 0) goto fail;
        tree_root(t, base, &got);
    }
    if (!digest_equal(&got, &want)) {
        error_set(err, ERR_LEDGER_BROKEN,
                  "the log's first %" PRIu64 " entries are not those of the signed summary that this run began at",
                  base);
        error_state(err, "Nothing was written.");
        goto fail;
    }
    if (tree_reserve(t, (size_t)(ledger_size(l) - base), err) < 0) goto fail;
    for (uint64_t i = base; i < ledger_size(l); i++) tree_add(t, tree_hashes(l->tree, 0, i));
    hash_tree_free(l->tree);
    l->tree = t;
    return 0;
fail:
    hash_tree_free(t);
    return error_wrap(err, "entries before a summary");
}
