/* Tiles, bundles and checkpoint: everything here is a function of the entries, so a failure harms nothing. */
#include "ledger/ledger_internal.h"
#include "ledger/tiles.h"

#include "base/seam.h"
#include "base/thread.h"
#include <inttypes.h>

#define DROP_EVERY 4   /* entries; divides TREE_FANOUT */
#define TAGGED_TRIES 4 /* to replace the very checkpoint that was read */

/* Create a derived object; one that is there already must say the same. */
static int put(struct ledger *l, const char *path, struct bytes content, struct error *err) {
    struct error e = ERROR_INIT;
    if (store_create(l->store, path, content, &e) == 0) return 0;
    if (e.code != ERR_OBJECT_EXISTS) {
        *err = e;
        return error_wrap(err, "publishing the log");
    }
    CLEANUP(buf_free) struct buf there = BUF_INIT(content.len + 1);
    struct error bad = ERROR_INIT;
    int rc = store_read_all(l->store, path, content.len, &there, &bad);
    if (rc < 0 && bad.code != ERR_OBJECT_CORRUPT && bad.code != ERR_NO_MEMORY) {
        *err = bad;
        return error_wrap(err, "publishing the log");
    }
    if (rc < 0 || !bytes_equal(buf_bytes(&there), content)) {
        error_set(err, ERR_LEDGER_BROKEN, "%s in the store is not what the log's entries give", path);
        error_state(err, "The entries are whole; only what is derived from them differs.");
        return error_next(err, "Remove that object, then publish again.");
    }
    return 0;
}

int derived_content(struct ledger *l, int level, uint64_t index, unsigned width, struct buf *bundle, struct bytes *ret,
                    struct error *err) {
    buf_clear(bundle);
    for (unsigned i = 0; i < width && level == TILE_ENTRIES; i++) {
        buf_clear(&l->scratch);
        if (ledger_fetch(l, index * TREE_FANOUT + i, &l->scratch, err) < 0 ||
            bundle_append(bundle, buf_bytes(&l->scratch), err) < 0)
            return -(int)err->code;
    }
    *ret = level == TILE_ENTRIES
               ? buf_bytes(bundle)
               : BYTES_OF(tree_hashes(l->tree, (unsigned)level, index * TREE_FANOUT), width * sizeof(struct digest));
    return 0;
}

static int put_one(void *ctx, int level, uint64_t index, unsigned width, struct error *err) {
    struct ledger *l = ctx;
    CLEANUP(buf_free) struct buf bundle = BUF_INIT(BUNDLE_BYTES_MAX);
    char path[TILE_PATH_MAX];
    struct bytes content;
    if (derived_content(l, level, index, width, &bundle, &content, err) < 0) return -(int)err->code;
    tile_path(level, index, width, path);
    return put(l, path, content, err);
}

/* The tiles of one level (or the bundles) that a tree of `size` has and one of `old` had not. */
static int put_level(struct ledger *l, int level, uint64_t old, uint64_t size, struct error *err) {
    unsigned of = level == TILE_ENTRIES ? 0 : (unsigned)level;
    if (tile_hashes(size, of) == tile_hashes(old, of)) return 0;
    return tile_each(level, old, size, put_one, l, err);
}

/* Those of `old`'s bundle that publications left since the last time that some were dropped, and the tiles of their
 * hashes.
 */
static void drop_gathered(struct ledger *l, uint64_t old) {
    char path[2 * DROP_EVERY][TILE_PATH_MAX];
    const char *paths[2 * DROP_EVERY];
    struct error e = ERROR_INIT;
    size_t n = 0;
    for (uint64_t size = old - old % DROP_EVERY; size <= old; size++)
        for (int level = TILE_ENTRIES; level <= 0 && size % TREE_FANOUT; level++) {
            tile_path(level, size / TREE_FANOUT, (unsigned)(size % TREE_FANOUT), path[n]);
            paths[n] = path[n];
            n++;
        }
    if (n) (void)!store_remove_many(l->store, paths, n, &e);
}

/* The partial tiles of a checkpoint that was just replaced. Stores that forbid removal keep them; they are small, never
 * wrong and never read. Where each request costs they wait until there are some, unless to remove what is not there
 * would leave a marker. */
static void drop_partial(struct ledger *l, uint64_t old, uint64_t size) {
    char path[TREE_LEVELS + 1][TILE_PATH_MAX];
    const char *paths[TREE_LEVELS + 1];
    size_t n = 0;
    struct error e = ERROR_INIT;
    const bool gather = store_reads_many(l->store) && store_lists_no_versions(l->store);
    if (gather && old / DROP_EVERY != size / DROP_EVERY) drop_gathered(l, old);
    for (int level = TILE_ENTRIES; level < (int)TREE_LEVELS; level++) {
        unsigned of = level == TILE_ENTRIES ? 0 : (unsigned)level;
        uint64_t had = tile_hashes(old, of);
        if (had % TREE_FANOUT == 0 || had == tile_hashes(size, of) || (gather && of == 0)) continue;
        tile_path(level, had / TREE_FANOUT, (unsigned)(had % TREE_FANOUT), path[n]);
        paths[n] = path[n];
        n++;
    }
    if (n) (void)!store_remove_many(l->store, paths, n, &e);
}

struct bundles {
    struct ledger *l;
    uint64_t old, size;
    struct error err;
};

static void *put_bundles(void *arg) {
    struct bundles *b = arg;
    (void)!put_level(b->l, TILE_ENTRIES, b->old, b->size, &b->err);
    return NULL;
}

/* Where a request takes long, bundles and tiles at the same time: of the handle a tile takes what the tree has, which
 * stays as it is, and nothing else. */
static int put_tiles(struct ledger *l, uint64_t old, uint64_t size, struct error *err) {
    struct bundles b = {.l = l, .old = old, .size = size, .err = ERROR_INIT};
    struct error alone = ERROR_INIT;
    pthread_t thread;
    int rc = 0;
    const bool beside = store_reads_many(l->store) && thread_start(&thread, put_bundles, &b, &alone) == 0;
    for (int level = beside ? 0 : TILE_ENTRIES; level < (int)TREE_LEVELS && rc == 0; level++)
        rc = put_level(l, level, old, size, err);
    if (beside) pthread_join(thread, NULL);
    if (rc == 0 && b.err.code) *err = b.err;
    return rc < 0 ? rc : -(int)b.err.code;
}

/* Over what is known of the former one, where that can be asked for; *ret_again: it is not there any more, or a place
 * that has tags refuses the condition, and is read before it is done without. */
static int put_checkpoint(struct ledger *l, struct bytes note, bool *ret_again, struct error *err) {
    struct error e = ERROR_INIT;
    bool done = false;
    *ret_again = false;
    memcpy(l->note.unmet, l->note.tag, sizeof l->note.unmet);
    if (l->note.known && store_replace_if(l->store, CHECKPOINT_KEY, note, l->note.tag, &done, &e) < 0) {
        l->note.known = false;
        *ret_again = l->note.untagged = e.code == ERR_S3_REFUSED || e.code == ERR_S3_DENIED;
        if (*ret_again) return 0;
        *err = e;
        return error_wrap(err, "checkpoint of the log");
    }
    *ret_again = l->note.missed = l->note.known && !done;
    l->note.known &= done && l->note.tag[0];
    l->published_last = done;
    if (done) {
        memcpy(l->note.bytes, note.ptr, note.len);
        l->note.len = note.len;
        l->note.there = true;
    }
    if (done || *ret_again) return 0;
    if (store_replace(l->store, CHECKPOINT_KEY, note, err) < 0) return error_wrap(err, "checkpoint of the log");
    return 0;
}

/* Read again and still the very one: the place does not know its own tags, as one Ceph gateway does not. */
static void note_doubt(struct ledger *l) {
    if (!l->note.missed || !l->note.known || strcmp(l->note.tag, l->note.unmet) != 0) return;
    l->note.known = false;
    l->note.untagged = true;
}

static int publish(struct ledger *l, struct bytes sign_seed, unsigned tries, bool *ret_again, struct error *err) {
    struct checkpoint old, now = {.size = ledger_size(l)};
    struct digest root;
    bool found;
    *ret_again = false;
    if (now.size == 0) return 0;
    if ((tries ? ledger_published(l, &found, &old, err) : ledger_published_lately(l, &found, &old, err)) < 0)
        return -(int)err->code;
    if (tries) note_doubt(l);
    if (tries >= TAGGED_TRIES) l->note.known = false;
    if (!found) old.size = 0;
    /* whoever published more has seen more, and the next sync will hold it against the log */
    if (old.size > now.size) return 0;
    /* this handle began after what is missing, so it must read that first */
    if (old.size < ledger_base(l) && past_complete(l, err) < 0) return error_wrap(err, "publishing the log");
    tree_root(l->tree, old.size, &root);
    if (found && !digest_equal(&root, &old.root)) {
        error_set(err, ERR_LEDGER_BROKEN,
                  "the published checkpoint over %" PRIu64 " entries has another root than the log's first %" PRIu64
                  " entries",
                  old.size, old.size);
        return error_state(err, "No second root was signed.");
    }
    if (found && old.size == now.size) return 0;
    if (put_tiles(l, old.size, now.size, err) < 0) return error_wrap(err, "tiles of the log");
    ledger_root(l, &now.root);
    /* What is about to be signed is remembered first, so that after a crash this machine signs no other root for the
     * size. */
    if (ledger_pin(l, err) < 0) return error_wrap(err, "publishing the log");
    CLEANUP(buf_free) struct buf note = BUF_INIT(CHECKPOINT_MAX_BYTES);
    if (checkpoint_sign(l->origin, &now, sign_seed, &note, err) < 0) return -(int)err->code;
    if (put_checkpoint(l, buf_bytes(&note), ret_again, err) < 0) return -(int)err->code;
    if (found && !*ret_again) drop_partial(l, old.size, now.size);
    return 0;
}

int ledger_publish(struct ledger *l, struct bytes sign_seed, struct error *err) {
    bool again = true;
    l->published_last = l->note.missed = false;
    for (unsigned tries = 0; again; tries++)
        if (publish(l, sign_seed, tries, &again, err) < 0) return -(int)err->code;
    return 0;
}

bool ledger_published_last(const struct ledger *l) {
    return l->published_last;
}
