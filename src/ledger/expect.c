/* What a sync begins with, asked for before: of the first of a handle while its key is still being opened, of an append
 * while what the entry names is stored. Nothing here is believed: the sync reads the list, the checkpoint and the
 * entries itself, in its own order, and judges them. */
#include "ledger/ledger_internal.h"
#include "ledger/tiles.h"

#include "base/time.h"
#include <stdlib.h>

#define BUNDLE_EXPECTED_BYTES ((size_t)1 << 20)

static int see_entry(void *ctx, const struct store_object *o, struct error *err) {
    uint64_t *end = ctx, seq;
    (void)err;
    if (entry_number(o->key, &seq) && seq >= *end) *end = seq + 1;
    return *end >= TREE_FANOUT; /* a longer one begins at a summary, and would be listed twice */
}

static void expect_entries(struct ledger *l, uint64_t from, uint64_t end) {
    char key[ENTRY_KEY_BYTES];
    for (uint64_t seq = from; seq < end && seq - from < PEEKS_MAX; seq++) {
        entry_key(seq, key);
        store_expect(l->store, key, LEDGER_ENTRY_MAX_BYTES + 2, 1);
    }
}

void ledger_expect_append(struct ledger *l) {
    if (!store_reads_many(l->store) || !l->primed || ledger_size(l) == 0 || l->asked_ns || ledger_looked_lately(l))
        return;
    l->asked_ns = time_monotonic_ns(); /* no later than it is read */
    expect_entries(l, ledger_size(l) - 1, ledger_size(l));
}

/* The size that the checkpoint claims; 0 when it claims none. */
static uint64_t claimed(struct ledger *l) {
    char tag[STORE_TAG_BYTES];
    struct error e = ERROR_INIT;
    size_t n = 0;
    int rc = store_read_tagged(l->store, CHECKPOINT_KEY, l->note.bytes, sizeof l->note.bytes - 1, &n, tag, &e);
    l->note.known = false;
    if (rc < 0) return 0;
    l->note.bytes[n] = 0;
    const char *line = strchr((const char *)l->note.bytes, '\n');
    return line ? strtoull(line + 1, NULL, 10) : 0;
}

void ledger_expect_first(struct store *s) {
    store_expect_list(s, "log/", true, 2);
    store_expect(s, CHECKPOINT_KEY, CHECKPOINT_MAX_BYTES + 2, 2);
}

void ledger_expect_next(struct ledger *l) {
    const struct cache_pin *pin = l->cache ? cache_pinned(l->cache) : NULL;
    struct error e = ERROR_INIT;
    char path[TILE_PATH_MAX];
    uint64_t end = 0;
    if (!store_reads_many(l->store) || store_list_kept(l->store, "log/", see_entry, &end, &e) != 0 || end == 0) return;
    if (pin && pin->size > 0) {
        expect_entries(l, pin->size - 1, end);
        return;
    }
    const uint64_t size = claimed(l);
    if (size > end) return;
    if (size < BUNDLE_WORTH) {
        expect_entries(l, 0, end);
        return;
    }
    tile_path(TILE_ENTRIES, 0, (unsigned)size, path);
    store_expect(l->store, path, BUNDLE_EXPECTED_BYTES, 1);
    expect_entries(l, size < end ? size : size - 1, end);
}
