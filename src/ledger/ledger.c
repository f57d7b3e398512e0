/* Opening and reading. Further invariants of a handle:
 *  6. tree, last and the judge's state speak of the same entries: ledger_take changes all of them or none.
 *  7. primed is set once, after the whole log was held against the pin, the listing and the published checkpoint. Until
 * then nothing is appended. From then on every sync re-reads the newest known entry, so a log that was rolled back
 * under an open handle is noticed before the handle adds to it.
 */
#include "ledger/ledger_internal.h"

#include "base/seam.h"
#include <inttypes.h>

int ledger_open(struct store *s, const char *origin, const char *cache_dir, ledger_judge judge, void *ctx,
                struct ledger **ret, struct error *err) {
    void *p;
    if (mem_alloc(sizeof(struct ledger), &p, err) < 0) return error_wrap(err, "log");
    struct ledger *l = p;
    l->store = s;
    l->judge = judge;
    l->judge_ctx = ctx;
    l->scratch = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    if (mem_strdup(origin, &l->origin, err) < 0 || hash_tree_new(&l->tree, err) < 0 ||
        (cache_dir && cache_open(cache_dir, origin, &l->cache, err) < 0)) {
        ledger_close(l);
        return error_wrap(err, "log");
    }
    *ret = l;
    return 0;
}

void ledger_close(struct ledger *l) {
    if (!l) return;
    cache_close(l->cache);
    hash_tree_free(l->tree);
    seam_free(l->signers.keys);
    buf_free(&l->scratch);
    seam_free(l->origin);
    seam_free(l);
}

uint64_t ledger_size(const struct ledger *l) {
    return tree_size(l->tree);
}
void ledger_root(const struct ledger *l, struct digest *ret) {
    tree_root(l->tree, tree_size(l->tree), ret);
}

bool signers_have(const struct signers *s, const uint8_t pub[SIGN_PUBLIC_BYTES]) {
    for (size_t i = 0; i < s->count; i++)
        if (memcmp(s->keys[i], pub, SIGN_PUBLIC_BYTES) == 0) return true;
    return false;
}

int ledger_reserve(struct ledger *l, struct error *err) {
    void *p = l->signers.keys;
    if (mem_grow(&p, &l->signers.cap, l->signers.count + 1, SIGN_PUBLIC_BYTES, err) < 0) return error_wrap(err, "log");
    l->signers.keys = p;
    return tree_reserve(l->tree, 1, err);
}

int ledger_take(struct ledger *l, struct bytes envelope, const struct entry *e, int64_t stored_ns, struct error *err) {
    struct ledger_entry le = {.seq = ledger_size(l),
                              .envelope = envelope,
                              .digest = e->digest,
                              .statement = e->statement,
                              .time_ns = e->time_ns,
                              .stored_ns = stored_ns};
    struct digest leaf;
    memcpy(le.signer, e->signer, SIGN_PUBLIC_BYTES);
    if (l->judge(l->judge_ctx, &le, err) < 0) return error_wrap(err, "entry %" PRIu64 " of the log", le.seq);
    merkle_leaf(envelope, &leaf);
    tree_add(l->tree, &leaf);
    l->last = e->digest;
    if (!signers_have(&l->signers, e->signer))
        memcpy(l->signers.keys[l->signers.count++], e->signer, SIGN_PUBLIC_BYTES);
    if (l->cache) cache_add(l->cache, le.seq, envelope, stored_ns);
    return 0;
}

/* An entry as the store has it. *ret_found is false, and nothing is appended, when there is none. */
static int read_stored(struct ledger *l, uint64_t seq, struct buf *ret, bool *ret_found, struct error *err) {
    char key[ENTRY_KEY_BYTES];
    struct error e = ERROR_INIT;
    entry_key(seq, key);
    *ret_found = false;
    if (store_read_all(l->store, key, LEDGER_ENTRY_MAX_BYTES, ret, &e) < 0) {
        if (e.code == ERR_OBJECT_MISSING) return 0;
        if (e.code == ERR_OBJECT_CORRUPT)
            return error_set(err, ERR_LEDGER_BROKEN, "entry %" PRIu64 " of the log: %s", seq, e.text);
        *err = e;
        return error_wrap(err, "entry %" PRIu64 " of the log", seq);
    }
    *ret_found = true;
    return 0;
}

struct ending {
    uint64_t end; /* one past the highest entry */
};

static int see_entry(void *ctx, const struct store_object *o, struct error *err) {
    (void)err;
    struct ending *e = ctx;
    const char *digits = o->key + strlen("log/");
    uint64_t seq = 0;
    for (unsigned i = 0; i < 16; i++) {
        if (digits[i] < '0' || digits[i] > '9') return 0; /* not an entry's name, so not ours */
        seq = seq * 10 + (uint64_t)(digits[i] - '0');
    }
    if (digits[16] == 0 && seq >= e->end) e->end = seq + 1;
    return 0;
}

/* One past the highest entry that the store lists. */
static int find_end(struct ledger *l, uint64_t *ret, struct error *err) {
    struct ending e = {0};
    if (store_list(l->store, "log/", see_entry, &e, err) < 0) return error_wrap(err, "listing the log");
    *ret = e.end;
    return 0;
}

static int rolled_back(struct ledger *l, uint64_t seen, struct error *err) {
    uint64_t has = 0;
    if (find_end(l, &has, err) < 0) return -(int)err->code;
    if (has < seen)
        error_set(err, ERR_LEDGER_ROLLBACK,
                  "the log of %s has %" PRIu64 " entries, but this machine has already seen %" PRIu64, l->origin, has,
                  seen);
    else
        error_set(err, ERR_LEDGER_ROLLBACK,
                  "entry %" PRIu64
                  " of the log of %s is missing or not the one that this machine has seen (it has seen "
                  "%" PRIu64 " entries, the store has %" PRIu64 ")",
                  seen - 1, l->origin, seen, has);
    return error_state(err, "Nothing was read from the log, and nothing was written to it.");
}

/* The store must still hold the entry that was newest when `size` were seen. */
static int check_newest(struct ledger *l, uint64_t size, const struct digest *last, struct error *err) {
    struct digest d;
    bool found;
    buf_clear(&l->scratch);
    if (read_stored(l, size - 1, &l->scratch, &found, err) < 0) return -(int)err->code;
    sha256(buf_bytes(&l->scratch), &d);
    return found && digest_equal(&d, last) ? 0 : rolled_back(l, size, err);
}

/* Give the cached entries to the judge. Their digests were held against the pin and the newest one against the store;
 * with its signature checked, the chain vouches for the others. */
static int replay(struct ledger *l, struct error *err) {
    uint64_t count = cache_count(l->cache);
    for (uint64_t seq = ledger_size(l); seq < count; seq = ledger_size(l)) {
        struct entry e;
        int64_t stored_ns;
        buf_clear(&l->scratch);
        if (cache_read(l->cache, seq, &l->scratch, &stored_ns, err) < 0 || ledger_reserve(l, err) < 0 ||
            entry_check(buf_bytes(&l->scratch), seq, &l->last, seq + 1 < count, &e, err) < 0)
            return -(int)err->code;
        int rc = ledger_take(l, buf_bytes(&l->scratch), &e, stored_ns, err);
        entry_free(&e);
        if (rc < 0) return rc;
    }
    return 0;
}

/* Everything the store has beyond what was taken in. */
static int read_newcomers(struct ledger *l, struct error *err) {
    for (;;) {
        uint64_t seq = ledger_size(l), size;
        char key[ENTRY_KEY_BYTES];
        int64_t stored_ns;
        struct entry e;
        bool found;
        buf_clear(&l->scratch);
        if (read_stored(l, seq, &l->scratch, &found, err) < 0) return -(int)err->code;
        if (!found) return 0;
        entry_key(seq, key);
        if (store_stat(l->store, key, &size, &stored_ns, err) < 0 || ledger_reserve(l, err) < 0 ||
            entry_check(buf_bytes(&l->scratch), seq, &l->last, false, &e, err) < 0)
            return -(int)err->code;
        int rc = ledger_take(l, buf_bytes(&l->scratch), &e, stored_ns, err);
        entry_free(&e);
        if (rc < 0) return rc;
    }
}

/* An entry that is missing below others must not pass for the end of the log. Entries that others add meanwhile look
 * the same at first, so what is listed must be readable at the second look. */
static int check_gap(struct ledger *l, struct error *err) {
    uint64_t end = 0;
    if (find_end(l, &end, err) < 0) return -(int)err->code;
    if (end <= ledger_size(l)) return 0;
    if (read_newcomers(l, err) < 0) return -(int)err->code;
    if (end <= ledger_size(l)) return 0;
    error_set(err, ERR_LEDGER_BROKEN, "entry %" PRIu64 " of the log is missing, but there are entries up to %" PRIu64,
              ledger_size(l), end - 1);
    return error_state(err, "Nothing was written.");
}

int ledger_published(struct ledger *l, bool *ret_found, struct checkpoint *ret, struct error *err) {
    CLEANUP(buf_free) struct buf note = BUF_INIT(CHECKPOINT_MAX_BYTES + 1);
    struct error e = ERROR_INIT;
    *ret_found = false;
    if (store_read_all(l->store, CHECKPOINT_KEY, CHECKPOINT_MAX_BYTES, &note, &e) < 0) {
        if (e.code == ERR_OBJECT_MISSING || e.code == ERR_OBJECT_CORRUPT) return 0;
        *err = e;
        return error_wrap(err, "checkpoint of the log");
    }
    for (size_t i = 0; i < l->signers.count && !*ret_found; i++) {
        struct error bad = ERROR_INIT;
        if (checkpoint_verify(buf_bytes(&note), l->origin, l->signers.keys[i], ret, &bad) == 0)
            *ret_found = true;
        else if (bad.code != ERR_LEDGER_BROKEN) {
            *err = bad;
            return error_wrap(err, "checkpoint of the log");
        }
    }
    return 0;
}

static int check_published(struct ledger *l, struct error *err) {
    struct checkpoint c;
    struct digest root;
    bool found;
    if (ledger_published(l, &found, &c, err) < 0) return -(int)err->code;
    if (!found) return 0;
    /* entries are there before the checkpoint that counts them, so a second look must find them */
    if (c.size > ledger_size(l) && read_newcomers(l, err) < 0) return -(int)err->code;
    if (c.size > ledger_size(l)) {
        error_set(err, ERR_LEDGER_ROLLBACK,
                  "the log of %s has %" PRIu64 " entries, but its signed checkpoint speaks of %" PRIu64, l->origin,
                  ledger_size(l), c.size);
        return error_state(err, "Nothing was written.");
    }
    tree_root(l->tree, c.size, &root);
    if (digest_equal(&root, &c.root)) return 0;
    error_set(err, ERR_LEDGER_BROKEN,
              "the signed checkpoint over %" PRIu64 " entries has another root than the log's first %" PRIu64
              " entries",
              c.size, c.size);
    return error_state(err, "Nothing was written.");
}

static int prime(struct ledger *l, struct error *err) {
    const struct cache_pin *pinned = l->cache ? cache_pinned(l->cache) : NULL;
    struct cache_pin pin = pinned ? *pinned : (struct cache_pin){0};
    bool good = false;
    if (pin.size > 0 && (check_newest(l, pin.size, &pin.last, err) < 0 || cache_load(l->cache, &good, err) < 0))
        return -(int)err->code;
    if (good && replay(l, err) < 0) return -(int)err->code;
    if (read_newcomers(l, err) < 0 || check_gap(l, err) < 0) return -(int)err->code;
    struct digest root;
    if (pin.size > ledger_size(l)) return rolled_back(l, pin.size, err);
    tree_root(l->tree, pin.size, &root);
    if (pin.size > 0 && !digest_equal(&root, &pin.root)) return rolled_back(l, pin.size, err);
    if (check_published(l, err) < 0) return -(int)err->code;
    l->primed = true;
    return 0;
}

int ledger_pin(struct ledger *l, struct error *err) {
    if (!l->cache || ledger_size(l) == 0) return 0;
    struct cache_pin pin = {.size = ledger_size(l), .last = l->last};
    ledger_root(l, &pin.root);
    return cache_pin(l->cache, &pin, err);
}

int ledger_sync(struct ledger *l, struct error *err) {
    if (!l->primed) {
        if (prime(l, err) < 0) return -(int)err->code;
    } else {
        if (ledger_size(l) > 0 && check_newest(l, ledger_size(l), &l->last, err) < 0) return -(int)err->code;
        if (read_newcomers(l, err) < 0) return -(int)err->code;
    }
    /* A pin that cannot be renewed (a full disk, say) stays at what was seen before, which is still true; that must not
     * keep anyone from restoring. */
    struct error e = ERROR_INIT;
    if (ledger_pin(l, &e) < 0) error_clear(&e);
    return 0;
}

static bool check_leaf(struct ledger *l, uint64_t seq, struct bytes envelope) {
    uint64_t count;
    struct digest leaf;
    if (envelope.len > LEDGER_ENTRY_MAX_BYTES) return false;
    merkle_leaf(envelope, &leaf);
    return digest_equal(&leaf, &tree_level(l->tree, 0, &count)[seq]);
}

int ledger_read(struct ledger *l, uint64_t seq, struct buf *ret, struct error *err) {
    bool found;
    size_t before = ret->len;
    if (seq >= ledger_size(l))
        return error_set(err, ERR_NO_POINT, "there is no entry %" PRIu64 " in the log of %" PRIu64 " entries", seq,
                         ledger_size(l));
    if (read_stored(l, seq, ret, &found, err) < 0) return -(int)err->code;
    if (!found || !check_leaf(l, seq, BYTES_OF(ret->ptr + before, ret->len - before))) {
        ret->len = before;
        return error_set(err, ERR_LEDGER_BROKEN, "entry %" PRIu64 " of the log is %s", seq,
                         found ? "not the one that was read before" : "missing, though it was there before");
    }
    return 0;
}

int ledger_fetch(struct ledger *l, uint64_t seq, struct buf *ret, struct error *err) {
    struct error e = ERROR_INIT;
    size_t before = ret->len;
    int64_t stored_ns;
    if (l->cache && seq < cache_count(l->cache) && cache_read(l->cache, seq, ret, &stored_ns, &e) == 0) {
        if (check_leaf(l, seq, BYTES_OF(ret->ptr + before, ret->len - before))) return 0;
        ret->len = before;
    }
    return ledger_read(l, seq, ret, err);
}
