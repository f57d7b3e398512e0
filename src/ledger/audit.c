#include "ledger/audit.h"

#include "base/seam.h"
#include "ledger/ledger_internal.h"
#include "ledger/proof.h"
#include <inttypes.h>

/* The envelopes of one full bundle, when they give the hash that the tree has above them. */
static int bundle_take(struct ledger *l, struct past *p, uint64_t index, struct buf *bundle, bool *ret_good,
                       struct error *err) {
    struct digest leaves[TREE_FANOUT], sum, want;
    struct error e = ERROR_INIT;
    char path[TILE_PATH_MAX];
    struct bytes rest, envelope;
    *ret_good = false;
    buf_clear(bundle);
    if (bundle_read(l, index, TREE_FANOUT, bundle, path, &e) < 0) {
        if (start_doubtful(&e)) return 0;
        *err = e;
        return -(int)err->code;
    }
    rest = buf_bytes(bundle);
    for (unsigned i = 0; i < TREE_FANOUT; i++) {
        if (bundle_next(&rest, &envelope, &e) < 0) return 0;
        merkle_leaf(envelope, &leaves[i]);
    }
    tree_reduce(leaves, TREE_FANOUT, &sum);
    if (past_range(p, index * TREE_FANOUT, (index + 1) * TREE_FANOUT, &want, err) < 0) return -(int)err->code;
    *ret_good = rest.len == 0 && digest_equal(&sum, &want);
    return 0;
}

/* Entries below the handle's own beginning. */
static int walk_past(struct ledger *l, uint64_t from, uint64_t end, ledger_entry_cb cb, void *ctx, struct error *err) {
    CLEANUP(buf_free) struct buf bundle = BUF_INIT(BUNDLE_BYTES_MAX + 1);
    CLEANUP(buf_free) struct buf one = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    CLEANUP(past_end) struct past p = {.ledger = l};
    for (uint64_t seq = from; seq < end;) {
        uint64_t index = seq / TREE_FANOUT;
        bool good;
        if (bundle_take(l, &p, index, &bundle, &good, err) < 0) return -(int)err->code;
        struct bytes rest = buf_bytes(&bundle), envelope;
        for (uint64_t at = index * TREE_FANOUT; at < (index + 1) * TREE_FANOUT && seq < end; at++) {
            if (good && bundle_next(&rest, &envelope, err) < 0) return -(int)err->code;
            if (at < seq) continue;
            buf_clear(&one);
            if (!good && ledger_fetch(l, seq, &one, err) < 0) return -(int)err->code;
            int rc = cb(ctx, seq, good ? envelope : buf_bytes(&one), err);
            if (rc != 0) return rc;
            seq++;
        }
    }
    return 0;
}

int ledger_walk_raw(struct ledger *l, uint64_t from, uint64_t end, ledger_entry_cb cb, void *ctx, struct error *err) {
    CLEANUP(buf_free) struct buf one = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    uint64_t base = ledger_base(l);
    if (end > ledger_size(l))
        return error_set(err, ERR_NO_POINT, "there is no entry %" PRIu64 " in the log of %" PRIu64 " entries", end - 1,
                         ledger_size(l));
    if (from < base) {
        int rc = walk_past(l, from, end < base ? end : base, cb, ctx, err);
        if (rc != 0) return rc;
    }
    for (uint64_t seq = from < base ? base : from; seq < end; seq++) {
        buf_clear(&one);
        if (ledger_fetch(l, seq, &one, err) < 0) return -(int)err->code;
        int rc = cb(ctx, seq, buf_bytes(&one), err);
        if (rc != 0) return rc;
    }
    return 0;
}

struct walking {
    ledger_judge judge;
    void *ctx;
};

static int walk_one(void *ctx, uint64_t seq, struct bytes envelope, struct error *err) {
    const struct walking *w = ctx;
    json_auto_t *statement = NULL;
    struct ledger_entry e;
    if (entry_known(seq, envelope, &e, &statement, err) < 0) return -(int)err->code;
    return w->judge(w->ctx, &e, err);
}

int ledger_walk(struct ledger *l, uint64_t from, uint64_t end, ledger_judge judge, void *ctx, struct error *err) {
    struct walking w = {judge, ctx};
    return ledger_walk_raw(l, from, end, walk_one, &w, err);
}

int ledger_note(struct ledger *l, struct buf *ret, bool *ret_found, struct error *err) {
    struct error e = ERROR_INIT;
    int rc = store_read_all(l->store, CHECKPOINT_KEY, CHECKPOINT_MAX_BYTES, ret, &e);
    *ret_found = rc == 0;
    if (rc == 0 || e.code == ERR_OBJECT_MISSING) return 0;
    if (e.code == ERR_OBJECT_CORRUPT)
        return error_set(err, ERR_LEDGER_BROKEN, "the checkpoint is longer than one can be");
    *err = e;
    return error_wrap(err, "checkpoint of the log");
}

struct deriving {
    struct ledger *ledger;
    struct buf bundle;
    ledger_object_cb cb;
    void *ctx;
};

static int derive_one(void *ctx, int level, uint64_t index, unsigned width, struct error *err) {
    struct deriving *d = ctx;
    char path[TILE_PATH_MAX];
    struct bytes content;
    if (derived_content(d->ledger, level, index, width, &d->bundle, &content, err) < 0) return -(int)err->code;
    tile_path(level, index, width, path);
    return d->cb(d->ctx, path, content, err);
}

int ledger_derive(struct ledger *l, uint64_t old, uint64_t size, ledger_object_cb cb, void *ctx, struct error *err) {
    struct deriving d = {l, BUF_INIT(BUNDLE_BYTES_MAX), cb, ctx};
    int rc = past_complete(l, err);
    for (int level = TILE_ENTRIES; level < (int)TREE_LEVELS && rc == 0; level++)
        rc = tile_each(level, old, size, derive_one, &d, err);
    buf_free(&d.bundle);
    return rc;
}
