/* Opening and reading. Further invariants of a handle:
 *  7. tree, last and the judge's state speak of the same entries: ledger_take changes all of them or none.
 *  8. primed is set once, after the log was held against the pin, the listing and the published checkpoint. Until
 * then nothing is appended. From then on every sync re-reads the newest known entry, so a log that was rolled back
 * under an open handle is noticed before the handle adds to it; an append where requests cost spares that when it was
 * done LOOKED_NS before.
 */
#include "ledger/ledger_internal.h"

#include "base/seam.h"
#include "base/time.h"
#include <inttypes.h>

#define LOOKED_NS (INT64_C(2) * NS_PER_S)

int ledger_open(struct store *s, const char *origin, const char *cache_dir, ledger_judge judge, void *ctx,
                struct ledger **ret, struct error *err) {
    void *p;
    if (mem_alloc(sizeof(struct ledger), &p, err) < 0) return error_wrap(err, "log");
    struct ledger *l = p;
    l->store = s;
    l->judge = judge;
    l->judge_ctx = ctx;
    l->scratch = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    l->base_summary = BUF_INIT(SUMMARY_MAX_BYTES + 1);
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
    buf_free(&l->base_summary);
    seam_free(l->peeks.mem);
    seam_free(l->origin);
    seam_free(l);
}

void ledger_start_from(struct ledger *l, const struct ledger_start *s) {
    l->start = s;
}
bool ledger_pinned_before(const struct ledger *l) {
    return l->pinned_before;
}
uint64_t ledger_base(const struct ledger *l) {
    return tree_base(l->tree);
}
const char *ledger_start_refused(const struct ledger *l) {
    return l->refused;
}
uint64_t ledger_refused_summary(const struct ledger *l) {
    return l->refused_size;
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

static int signers_reserve(struct ledger *l, struct error *err) {
    void *p = l->signers.keys;
    if (mem_grow(&p, &l->signers.cap, l->signers.count + 1, SIGN_PUBLIC_BYTES, err) < 0) return error_wrap(err, "log");
    l->signers.keys = p;
    return 0;
}

int signers_add(struct ledger *l, const uint8_t pub[SIGN_PUBLIC_BYTES], struct error *err) {
    if (signers_have(&l->signers, pub)) return 0;
    if (signers_reserve(l, err) < 0) return -(int)err->code;
    memcpy(l->signers.keys[l->signers.count++], pub, SIGN_PUBLIC_BYTES);
    return 0;
}

int ledger_reserve(struct ledger *l, struct error *err) {
    if (signers_reserve(l, err) < 0) return -(int)err->code;
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
    l->unbound = false;
    return 0;
}

/* The same with its time, 0 when that was not told along. */
static int stored_with_time(struct ledger *l, uint64_t seq, struct buf *ret, bool *ret_found, int64_t *ret_ns,
                            struct error *err) {
    char key[ENTRY_KEY_BYTES];
    struct error e = ERROR_INIT;
    struct bytes peeked;
    if (ledger_peeked(l, seq, ret_found, &peeked, ret_ns))
        return *ret_found ? buf_append(ret, peeked.ptr, peeked.len, err) : 0;
    entry_key(seq, key);
    *ret_found = false;
    *ret_ns = 0;
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

int ledger_stored(struct ledger *l, uint64_t seq, struct buf *ret, bool *ret_found, struct error *err) {
    int64_t stored_ns;
    return stored_with_time(l, seq, ret, ret_found, &stored_ns, err);
}

struct ending {
    uint64_t end; /* one past the highest entry */
};

static int see_entry(void *ctx, const struct store_object *o, struct error *err) {
    (void)err;
    struct ending *e = ctx;
    uint64_t seq;
    if (entry_number(o->key, &seq) && seq >= e->end) e->end = seq + 1;
    return 0;
}

/* One past the highest entry that the store lists. */
static int find_end(struct ledger *l, uint64_t *ret, struct error *err) {
    struct ending e = {0};
    if (store_list_kept(l->store, "log/", see_entry, &e, err) < 0) return error_wrap(err, "listing the log");
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

/* Whether the entry's first version, which is the true one, is to be read instead of what somebody put over it. */
static bool see_past(struct ledger *l, uint64_t seq) {
    char key[ENTRY_KEY_BYTES];
    entry_key(seq, key);
    return store_pin_first_version(l->store, key);
}

/* The store must still hold the entry that was newest when `size` were seen. */
static int check_newest(struct ledger *l, uint64_t size, const struct digest *last, struct error *err) {
    for (bool again = false;; again = true) {
        struct error e = ERROR_INIT;
        struct digest d = {{0}};
        bool found;
        buf_clear(&l->scratch);
        int rc = ledger_stored(l, size - 1, &l->scratch, &found, &e);
        if (rc == 0) sha256(buf_bytes(&l->scratch), &d);
        if (rc == 0 && found && digest_equal(&d, last)) {
            if (size == ledger_size(l) && l->direct_from == size) l->direct_from--;
            return 0;
        }
        bool doubtful = rc == 0 || rc == -ERR_LEDGER_BROKEN;
        if (doubtful && !again && see_past(l, size - 1)) continue;
        if (rc == 0) return rolled_back(l, size, err);
        *err = e;
        return rc;
    }
}

int ledger_replay_cache(struct ledger *l, struct error *err) {
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
        l->direct_from = ledger_size(l);
    }
    return 0;
}

/* The next entry, into l->scratch, checked; with its time, 0 when that was not told along. */
static int read_next(struct ledger *l, uint64_t seq, bool *ret_found, int64_t *ret_stored_ns, struct entry *ret,
                     struct error *err) {
    buf_clear(&l->scratch);
    int rc = stored_with_time(l, seq, &l->scratch, ret_found, ret_stored_ns, err);
    return rc < 0 || !*ret_found ? rc : entry_check(buf_bytes(&l->scratch), seq, &l->last, false, ret, err);
}

int ledger_read_on(struct ledger *l, uint64_t end, struct error *err) {
    unsigned more = 1; /* to fetch at once, once those that were are used up */
    while (ledger_size(l) < end) {
        uint64_t seq = ledger_size(l), size;
        char key[ENTRY_KEY_BYTES];
        int64_t stored_ns;
        struct entry e;
        bool found;
        if (l->listed_end && seq >= l->listed_end && store_reads_many(l->store)) return 0;
        if (!ledger_peek_has(l, seq)) {
            if (l->listed_end > seq)
                more = l->listed_end - seq < PEEKS_MAX ? (unsigned)(l->listed_end - seq) : PEEKS_MAX;
            ledger_peek(l, seq, more);
            more = more < PEEKS_MAX ? more * 2 : PEEKS_MAX;
        }
        int rc = read_next(l, seq, &found, &stored_ns, &e, err);
        if (rc == -ERR_LEDGER_BROKEN && see_past(l, seq)) { /* what was peeked is given out once, so this one asks */
            error_clear(err);
            rc = read_next(l, seq, &found, &stored_ns, &e, err);
        }
        if (rc < 0 || !found) return rc;
        entry_key(seq, key);
        if ((!stored_ns && store_stat(l->store, key, &size, &stored_ns, err) < 0) || ledger_reserve(l, err) < 0) {
            entry_free(&e);
            return -(int)err->code;
        }
        rc = ledger_take(l, buf_bytes(&l->scratch), &e, stored_ns, err);
        entry_free(&e);
        if (rc < 0) return rc;
    }
    return 0;
}

static int read_newcomers(struct ledger *l, struct error *err) {
    return ledger_read_on(l, UINT64_MAX, err);
}

/* An entry that is missing below others must not pass for the end of the log. Entries that others add meanwhile look
 * the same at first, so what is listed must be readable at the second look. */
static int check_gap(struct ledger *l, struct error *err) {
    uint64_t end = l->listed_end;
    if (end == 0 && find_end(l, &end, err) < 0) return -(int)err->code;
    if (end <= ledger_size(l)) return 0;
    if (read_newcomers(l, err) < 0) return -(int)err->code;
    if (end <= ledger_size(l)) return 0;
    error_set(err, ERR_LEDGER_BROKEN, "entry %" PRIu64 " of the log is missing, but there are entries up to %" PRIu64,
              ledger_size(l), end - 1);
    return error_state(err, "Nothing was written.");
}

/* The note into l->note. */
static int note_read(struct ledger *l, struct error *err) {
    struct error e = ERROR_INIT;
    l->note.known = false;
    int rc =
        store_read_tagged(l->store, CHECKPOINT_KEY, l->note.bytes, sizeof l->note.bytes, &l->note.len, l->note.tag, &e);
    if (rc < 0 && e.code != ERR_OBJECT_MISSING && e.code != ERR_OBJECT_CORRUPT) {
        *err = e;
        return error_wrap(err, "checkpoint of the log");
    }
    l->note.there = rc == 0;
    if (rc < 0) l->note.len = 0;
    l->note.known = store_has_tags(l->store) && !l->note.untagged && (l->note.tag[0] || rc == -ERR_OBJECT_MISSING);
    return 0;
}

static int note_judge(const struct ledger *l, bool *ret_found, struct checkpoint *ret, struct error *err) {
    *ret_found = false;
    if (!l->note.there || l->note.len > CHECKPOINT_MAX_BYTES) return 0;
    for (size_t i = 0; i < l->signers.count && !*ret_found; i++) {
        struct error bad = ERROR_INIT;
        if (checkpoint_verify(BYTES_OF(l->note.bytes, l->note.len), l->origin, l->signers.keys[i], ret, &bad) == 0)
            *ret_found = true;
        else if (bad.code != ERR_LEDGER_BROKEN) {
            *err = bad;
            return error_wrap(err, "checkpoint of the log");
        }
    }
    return 0;
}

int ledger_published(struct ledger *l, bool *ret_found, struct checkpoint *ret, struct error *err) {
    *ret_found = false;
    if (note_read(l, err) < 0) return -(int)err->code;
    return note_judge(l, ret_found, ret, err);
}

int ledger_published_lately(struct ledger *l, bool *ret_found, struct checkpoint *ret, struct error *err) {
    return l->note.known ? note_judge(l, ret_found, ret, err) : ledger_published(l, ret_found, ret, err);
}

static int check_published(struct ledger *l, struct error *err) {
    struct checkpoint c;
    struct digest root;
    bool found;
    if (ledger_published_lately(l, &found, &c, err) < 0) return -(int)err->code;
    if (!found) return 0;
    /* entries are there before the checkpoint that counts them, so a second look must find them */
    if (c.size > ledger_size(l) && read_newcomers(l, err) < 0) return -(int)err->code;
    if (c.size > ledger_size(l)) {
        error_set(err, ERR_LEDGER_ROLLBACK,
                  "the log of %s has %" PRIu64 " entries, but its signed checkpoint speaks of %" PRIu64, l->origin,
                  ledger_size(l), c.size);
        return error_state(err, "Nothing was written.");
    }
    if (c.size < tree_base(l->tree))
        return 0; /* an old one; what this handle began at was held against a newer, or a pin */
    tree_root(l->tree, c.size, &root);
    if (digest_equal(&root, &c.root)) return 0;
    error_set(err, ERR_LEDGER_BROKEN,
              "the signed checkpoint over %" PRIu64 " entries has another root than the log's first %" PRIu64
              " entries",
              c.size, c.size);
    return error_state(err, "Nothing was written.");
}

int ledger_settle(struct ledger *l, const struct cache_pin *pin, struct error *err) {
    struct digest root;
    if (l->unbound && ledger_size(l) > 0)
        ledger_peek(l, ledger_size(l) - 1, l->listed_end && l->listed_end <= ledger_size(l) ? 1 : 2);
    if (read_newcomers(l, err) < 0 || check_gap(l, err) < 0) return -(int)err->code;
    l->listed_end = 0; /* what a checkpoint knows may be newer */
    if (pin->size > ledger_size(l)) return rolled_back(l, pin->size, err);
    tree_root(l->tree, pin->size, &root);
    if (pin->size > 0 && !digest_equal(&root, &pin->root)) return rolled_back(l, pin->size, err);
    if (l->unbound && check_newest(l, ledger_size(l), &l->last, err) < 0) return -(int)err->code;
    return check_published(l, err);
}

/* Nothing of the log is known here yet. What is derived may spare reading it; whatever is wrong with that, the log
 * itself decides. */
static int prime_cold(struct ledger *l, const struct cache_pin *pin, struct error *err) {
    struct survey s = {0};
    struct error e = ERROR_INIT;
    if (start_survey(l, &s, err) < 0) return -(int)err->code;
    int rc = start_short(l, &s, pin, &e);
    if (rc < 0 && start_doubtful(&e)) {
        start_refuse(l, ledger_base(l), e.text);
        rc = start_reset(l, err);
        if (rc == 0) rc = ledger_settle(l, pin, err);
    } else if (rc < 0)
        *err = e;
    if (rc == 0) rc = start_check_ahead(l, &s, err);
    survey_free(&s);
    return rc;
}

static int prime(struct ledger *l, struct error *err) {
    const struct cache_pin *pinned = l->cache ? cache_pinned(l->cache) : NULL;
    struct cache_pin pin = pinned ? *pinned : (struct cache_pin){0};
    bool good = false, kept;
    if (!l->looked_ns) l->pinned_before = pin.size > 0;
    /* an earlier try may have ended anywhere; only entries that were read here may stay */
    if (l->start && ledger_size(l) > 0 && start_reset(l, err) < 0) return -(int)err->code;
    l->listed_end = 0;
    l->note.known = false;
    /* Where versions are kept the list shows what was hidden or covered, so it comes before anything is believed. Where
     * a request takes long it says what need not be asked for. A short beginning has one of its own. */
    if (pin.size > 0 || !l->start) {
        if (store_reads_many(l->store))
            kept = true;
        else if (store_keeps_versions(l->store, &kept, err) < 0)
            return -(int)err->code;
        if (kept && find_end(l, &l->listed_end, err) < 0) return -(int)err->code;
    }
    /* a list that lags behind what was seen bounds nothing */
    if (l->listed_end < pin.size) l->listed_end = 0;
    if (pin.size > 0) { /* the newest known, and what is listed behind it */
        const uint64_t more = l->listed_end > pin.size ? l->listed_end - pin.size : 0;
        ledger_peek(l, pin.size - 1, more < PEEKS_MAX ? 1 + (unsigned)more : PEEKS_MAX);
    }
    if (pin.size > 0 && (check_newest(l, pin.size, &pin.last, err) < 0 || cache_load(l->cache, NULL, &good, err) < 0))
        return -(int)err->code;
    if (!good && l->start) {
        if (prime_cold(l, &pin, err) < 0) return -(int)err->code;
    } else if ((good && ledger_replay_cache(l, err) < 0) || ledger_settle(l, &pin, err) < 0)
        return -(int)err->code;
    l->primed = true;
    return 0;
}

int ledger_pin(struct ledger *l, struct error *err) {
    if (!l->cache || ledger_size(l) == 0) return 0;
    struct cache_pin pin = {.size = ledger_size(l), .last = l->last};
    ledger_root(l, &pin.root);
    return cache_pin(l->cache, &pin, err);
}

static int look(struct ledger *l, bool newcomers, struct error *err) {
    if (!l->primed) {
        if (prime(l, err) < 0) return -(int)err->code;
    } else {
        if (ledger_size(l) > 0) ledger_peek(l, ledger_size(l) - 1, newcomers ? 2 : 1);
        if (ledger_size(l) > 0 && check_newest(l, ledger_size(l), &l->last, err) < 0) return -(int)err->code;
        if (newcomers && read_newcomers(l, err) < 0) return -(int)err->code;
    }
    return 0;
}

static bool is_late(int64_t since_ns) {
    return !since_ns || time_monotonic_ns() - since_ns >= LOOKED_NS;
}

static int sync_log(struct ledger *l, bool newcomers, struct error *err) {
    /* what was asked for ahead is from then */
    const int64_t asked_ns = newcomers || is_late(l->asked_ns) ? 0 : l->asked_ns;
    if (l->asked_ns && !asked_ns) store_expect_end(l->store);
    l->asked_ns = 0;
    ledger_peeks_drop(l);
    int rc = look(l, newcomers, err);
    ledger_peeks_drop(l);
    if (rc < 0) return rc;
    l->looked_ns = asked_ns ? asked_ns : time_monotonic_ns();
    /* A pin that cannot be renewed (a full disk, say) stays at what was seen before, which is still true; that must not
     * keep anyone from restoring. */
    struct error e = ERROR_INIT;
    if (ledger_pin(l, &e) < 0) error_clear(&e);
    return 0;
}

int ledger_sync(struct ledger *l, struct error *err) {
    return sync_log(l, true, err);
}

bool ledger_looked_lately(const struct ledger *l) {
    return l->primed && !is_late(l->looked_ns);
}

int ledger_sync_for_append(struct ledger *l, struct error *err) {
    const bool many = store_reads_many(l->store);
    if (many && ledger_looked_lately(l)) return 0;
    return sync_log(l, !many, err);
}

static int check_leaf(struct ledger *l, uint64_t seq, struct bytes envelope, bool *ret_good, struct error *err) {
    struct digest leaf, known;
    if (past_leaf(l, seq, &known, err) < 0) return -(int)err->code;
    merkle_leaf(envelope, &leaf);
    *ret_good = envelope.len <= LEDGER_ENTRY_MAX_BYTES && digest_equal(&leaf, &known);
    return 0;
}

int ledger_knows(struct ledger *l, uint64_t seq, struct bytes envelope, bool *ret, struct error *err) {
    *ret = false;
    if (seq >= ledger_size(l)) return error_set(err, ERR_INTERNAL, "entry %" PRIu64 " is not known", seq);
    return check_leaf(l, seq, envelope, ret, err);
}

int ledger_read(struct ledger *l, uint64_t seq, struct buf *ret, struct error *err) {
    bool found, good = false;
    size_t before = ret->len;
    if (seq >= ledger_size(l))
        return error_set(err, ERR_NO_POINT, "there is no entry %" PRIu64 " in the log of %" PRIu64 " entries", seq,
                         ledger_size(l));
    for (bool again = false; !good; again = true) {
        ret->len = before;
        if (ledger_stored(l, seq, ret, &found, err) < 0) return -(int)err->code;
        if (found && check_leaf(l, seq, BYTES_OF(ret->ptr + before, ret->len - before), &good, err) < 0) {
            ret->len = before;
            return -(int)err->code;
        }
        if (good || again || !see_past(l, seq)) break;
    }
    if (!good) {
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
    bool good = false;
    if (l->cache && seq < cache_count(l->cache) && cache_read(l->cache, seq, ret, &stored_ns, &e) == 0) {
        if (check_leaf(l, seq, BYTES_OF(ret->ptr + before, ret->len - before), &good, err) < 0) return -(int)err->code;
        if (good) return 0;
        ret->len = before;
    }
    return ledger_read(l, seq, ret, err);
}

int ledger_read_known(struct ledger *l, uint64_t seq, struct buf *ret, struct error *err) {
    return ledger_fetch(l, seq, ret, err);
}

/* Entry `seq`, which is in l->scratch. */
static int tell(struct ledger *l, uint64_t seq, ledger_judge judge, void *ctx, struct error *err) {
    json_auto_t *statement = NULL;
    struct ledger_entry e;
    if (entry_known(seq, buf_bytes(&l->scratch), &e, &statement, err) < 0) return -(int)err->code;
    return judge(ctx, &e, err) < 0 ? error_wrap(err, "entry %" PRIu64 " of the log", seq) : 0;
}

int ledger_replay(struct ledger *l, uint64_t from, uint64_t end, ledger_judge judge, void *ctx, struct error *err) {
    if (from < ledger_base(l) || end > ledger_size(l))
        return error_set(err, ERR_INTERNAL, "entries %" PRIu64 " to %" PRIu64 " were asked for anew", from, end);
    for (uint64_t seq = from; seq < end; seq++) {
        buf_clear(&l->scratch);
        if (ledger_fetch(l, seq, &l->scratch, err) < 0 || tell(l, seq, judge, ctx, err) < 0) return -(int)err->code;
    }
    return 0;
}

int ledger_reread(struct ledger *l, ledger_judge judge, void *ctx, struct error *err) {
    const uint64_t size = ledger_size(l);
    int rc = 0;
    ledger_peeks_drop(l);
    for (uint64_t seq = 0; seq < size && rc == 0; seq++) {
        const bool seen = seq >= l->direct_from;
        if (!seen && !ledger_peek_has(l, seq))
            ledger_peek(l, seq, l->direct_from - seq < PEEKS_MAX ? (unsigned)(l->direct_from - seq) : PEEKS_MAX);
        buf_clear(&l->scratch);
        rc = seen ? ledger_fetch(l, seq, &l->scratch, err) : ledger_read(l, seq, &l->scratch, err);
        if (rc == 0) rc = tell(l, seq, judge, ctx, err);
    }
    ledger_peeks_drop(l);
    return rc;
}
