#include "repo/witness.h"

#include "ledger/audit.h"
#include "ledger/cache.h"
#include "ledger/derived.h"
#include "ledger/proof.h"
#include "repo/repo_internal.h"

#define LOOKS_MAX 8

struct witness_key {
    uint8_t pub[SIGN_PUBLIC_BYTES];
    char label[65];
    bool removed;
};
struct witness_log {
    struct store *store;
    struct ledger *ledger;
    struct ledger_start start;
    struct note_key log;
    char *dir;
    struct witness_key *keys;
    size_t key_count, key_cap;
};

static int key_take(struct witness_log *w, const uint8_t pub[SIGN_PUBLIC_BYTES], const char *label, struct error *err) {
    int rc = mem_grow((void **)&w->keys, &w->key_cap, w->key_count + 1, sizeof *w->keys, err);
    if (rc < 0) return rc;
    struct witness_key *k = &w->keys[w->key_count++];
    *k = (struct witness_key){0};
    memcpy(k->pub, pub, sizeof k->pub);
    snprintf(k->label, sizeof k->label, "%.64s", label);
    return 0;
}

/* Of all that entries say, only what the admin says of keys concerns a witness. */
static int judge(void *ctx, const struct ledger_entry *e, struct error *err) {
    struct witness_log *w = ctx;
    const json_t *p = json_object_get(e->statement, "predicate");
    const char *type = json_text(e->statement, "predicateType", ""), *hex = json_text(p, "key", "");
    bool admin = memcmp(e->signer, w->log.pub, SIGN_PUBLIC_BYTES) == 0;
    uint8_t pub[SIGN_PUBLIC_BYTES];
    if (e->seq == 0) {
        if (!admin || strcmp(type, PREDICATE_INIT) != 0)
            return error_set(err, ERR_LEDGER_BROKEN,
                             "the log does not begin with an entry signed by the key given for it");
        char origin[64];
        snprintf(origin, sizeof origin, "proofkeep/%.32s", json_text(p, "repository", ""));
        if (strcmp(origin, w->log.name) != 0)
            return error_set(err, ERR_LEDGER_BROKEN, "the log is of %s, not of %s", origin, w->log.name);
        return key_take(w, e->signer, "admin", err);
    }
    if (!admin || strcmp(type, PREDICATE_KEY) != 0 || !hex_decode(hex, strlen(hex), pub, sizeof pub)) return 0;
    if (strcmp(json_text(p, "action", ""), "remove") != 0) return key_take(w, pub, json_text(p, "label", ""), err);
    for (size_t i = 0; i < w->key_count; i++)
        if (memcmp(w->keys[i].pub, pub, sizeof pub) == 0) w->keys[i].removed = true;
    return 0;
}

/* A handle with a start reads bundles; but no summary is good enough for a witness. */
static int load(void *ctx, const json_t *state, uint64_t size, const int64_t *stored_ns, struct error *err) {
    (void)ctx, (void)state, (void)size, (void)stored_ns;
    return error_set(err, ERR_LEDGER_BROKEN, "a witness reads every entry");
}
static bool key(void *ctx, size_t i, uint8_t ret[SIGN_PUBLIC_BYTES]) {
    (void)ctx, (void)i, (void)ret;
    return false;
}
static void reset(void *ctx) {
    struct witness_log *w = ctx;
    w->key_count = 0;
}

int witness_log_open(struct store *s, const struct note_key *log, const char *dir, struct witness_log **ret,
                     struct error *err) {
    void *p;
    int rc = mem_alloc(sizeof(struct witness_log), &p, err);
    if (rc < 0) return rc;
    struct witness_log *w = p;
    w->store = s;
    w->log = *log;
    w->start = (struct ledger_start){.load = load, .key = key, .reset = reset};
    memcpy(w->start.signer, log->pub, SIGN_PUBLIC_BYTES);
    rc = mem_strdup(dir, &w->dir, err);
    if (rc == 0) rc = ledger_open(s, log->name, dir, judge, w, &w->ledger, err);
    if (rc < 0) {
        witness_log_close(w);
        return rc;
    }
    ledger_start_from(w->ledger, &w->start);
    *ret = w;
    return 0;
}

void witness_log_close(struct witness_log *w) {
    if (!w) return;
    ledger_close(w->ledger);
    seam_free(w->keys);
    seam_free(w->dir);
    seam_free(w);
}

static int check_signer(struct witness_log *w, struct witness_view *v, struct error *err) {
    const char *removed = NULL;
    for (size_t i = 0; i < w->key_count; i++) {
        struct note_key k;
        struct error no = ERROR_INIT;
        int rc = note_key_make(w->log.name, NOTE_ED25519, w->keys[i].pub, &k, err);
        if (rc < 0) return rc;
        rc = checkpoint_signed_by(&v->parts, &k, NULL, &no);
        if (rc == 0 && !w->keys[i].removed) {
            snprintf(v->signer, sizeof v->signer, "%s", w->keys[i].label);
            return 0;
        }
        if (rc == 0) removed = w->keys[i].label;
        if (rc < 0 && rc != -ERR_LEDGER_BROKEN) {
            *err = no;
            return rc;
        }
    }
    if (removed)
        return error_set(err, ERR_LEDGER_BROKEN, "the checkpoint is signed by the key '%s', which was removed",
                         removed);
    return error_set(err, ERR_LEDGER_BROKEN, "the checkpoint is signed by no key that the log's entries have in force");
}

int witness_log_signed(struct witness_log *w, const struct checkpoint_parts *p, char ret_signer[65],
                       struct error *err) {
    struct witness_view v = {.parts = *p};
    int rc = ledger_sync(w->ledger, err);
    if (rc == 0) rc = check_signer(w, &v, err);
    if (rc == 0) snprintf(ret_signer, 65, "%s", v.signer);
    return rc;
}

/* What was vouched for must be the beginning of what is there. */
static int check_seen(struct witness_log *w, const struct witness_seen *seen, const struct checkpoint *now,
                      struct error *err) {
    struct digest root;
    if (seen->size > ledger_size(w->ledger))
        return error_set(err, ERR_LEDGER_ROLLBACK, "the log has %llu entries, and %llu of it were vouched for",
                         (unsigned long long)ledger_size(w->ledger), (unsigned long long)seen->size);
    int rc = ledger_root_at(w->ledger, seen->size, &root, err);
    if (rc < 0) return rc;
    if (seen->size && !digest_equal(&root, &seen->root))
        return error_set(err, ERR_LEDGER_ROLLBACK,
                         "the log was forked: its first %llu entries are not those that were vouched for",
                         (unsigned long long)seen->size);
    if (now->size < seen->size)
        return error_set(err, ERR_LEDGER_ROLLBACK,
                         "an old checkpoint is published again: it counts %llu entries, and %llu were vouched for (the "
                         "entries themselves are all there)",
                         (unsigned long long)now->size, (unsigned long long)seen->size);
    return 0;
}

static int note_read(struct witness_log *w, struct buf *ret, bool *ret_found, struct error *err) {
    buf_clear(ret);
    return ledger_note(w->ledger, ret, ret_found, err);
}

struct damage {
    struct witness_log *w;
    struct witness_view *v;
};

/* 1: another checkpoint took the place of the one that counted the object. */
static int damaged(void *ctx, const char *object, int code, const char *text, struct error *err) {
    struct damage *d = ctx;
    CLEANUP(buf_free) struct buf now = BUF_INIT(CHECKPOINT_MAX_BYTES + 1);
    bool there;
    (void)code;
    int rc = note_read(d->w, &now, &there, err);
    if (rc < 0) return rc;
    if (there && !bytes_equal(buf_bytes(&now), buf_bytes(&d->v->note))) return 1;
    return error_set(err, ERR_LEDGER_BROKEN, "%s: %s", object, text);
}

/* 1: look again, as somebody published meanwhile. */
static int look(struct witness_log *w, const struct witness_seen *seen, bool whole, struct witness_view *v,
                struct error *err) {
    struct digest root;
    bool there;
    int rc = note_read(w, &v->note, &there, err);
    if (rc < 0) return rc;
    if ((rc = ledger_sync(w->ledger, err)) < 0) return rc;
    v->entries = ledger_size(w->ledger);
    if (!there && seen->size == 0) {
        error_set(err, ERR_UNVERIFIABLE, "the log has no checkpoint yet, so there is nothing to vouch for");
        return error_next(
            err, "Take a backup, or run 'proofkeep ledger verify' with a key of the repository, then look again.");
    }
    if (!there) return error_set(err, ERR_LEDGER_ROLLBACK, "the log's checkpoint is gone");
    if ((rc = checkpoint_split(buf_bytes(&v->note), w->log.name, &v->parts, err)) < 0) return rc;
    if ((rc = check_signer(w, v, err)) < 0) return rc;
    if (v->parts.head.size > v->entries)
        return error_set(err, ERR_LEDGER_ROLLBACK, "the log has %llu entries, and its signed checkpoint counts %llu",
                         (unsigned long long)v->entries, (unsigned long long)v->parts.head.size);
    if ((rc = check_seen(w, seen, &v->parts.head, err)) < 0) return rc;
    if ((rc = ledger_root_at(w->ledger, v->parts.head.size, &root, err)) < 0) return rc;
    if (!digest_equal(&root, &v->parts.head.root))
        return error_set(err, ERR_LEDGER_BROKEN,
                         "the signed checkpoint over %llu entries has another root than these entries",
                         (unsigned long long)v->parts.head.size);
    struct damage d = {w, v};
    v->objects = 0;
    return derived_check_tiles(w->ledger, whole ? 0 : seen->size, v->parts.head.size, &v->objects, damaged, &d, err);
}

int witness_log_look(struct witness_log *w, const struct witness_seen *seen, bool whole, struct witness_view *ret,
                     struct error *err) {
    *ret = (struct witness_view){.note = BUF_INIT(CHECKPOINT_MAX_BYTES + 1)};
    for (unsigned i = 0; i < LOOKS_MAX; i++) {
        int rc = look(w, seen, whole, ret, err);
        if (rc <= 0) return rc;
    }
    return error_set(err, ERR_REPO_BUSY, "the checkpoint was replaced each time it was looked at");
}

/* ---- what was remembered, and what is there ---- */

static int stored(struct witness_log *w, uint64_t seq, struct buf *ret, struct error *err) {
    char name[32];
    struct error e = ERROR_INIT;
    buf_clear(ret);
    snprintf(name, sizeof name, "log/%016llu", (unsigned long long)seq);
    int rc = store_read_all(w->store, name, LEDGER_ENTRY_MAX_BYTES, ret, &e);
    if (rc == 0 || error_info(rc)->status == EXIT_INTEGRITY) return 0;
    *err = e;
    return rc;
}

/* Entries are chained, so those that differ are all behind the first that does. */
int witness_log_difference(struct witness_log *w, bool *ret_found, uint64_t *ret_seq, struct buf *ret_was,
                           struct buf *ret_is, struct error *err) {
    struct cache *c = NULL;
    int64_t stored_ns;
    bool good = false;
    int rc = cache_open(w->dir, w->log.name, &c, err);
    if (rc < 0) return rc;
    *ret_found = false;
    if ((rc = cache_load(c, NULL, &good, err)) < 0 || !good) goto out;
    uint64_t lo = 0, hi = cache_count(c);
    while (lo < hi && rc == 0) {
        uint64_t mid = lo + (hi - lo) / 2;
        buf_clear(ret_was);
        rc = cache_read(c, mid, ret_was, &stored_ns, err);
        if (rc == 0) rc = stored(w, mid, ret_is, err);
        if (rc == 0 && bytes_equal(buf_bytes(ret_was), buf_bytes(ret_is)))
            lo = mid + 1;
        else
            hi = mid;
    }
    *ret_found = rc == 0 && lo < cache_count(c);
    *ret_seq = lo;
    buf_clear(ret_was);
    if (*ret_found) rc = cache_read(c, lo, ret_was, &stored_ns, err);
    if (*ret_found && rc == 0) rc = stored(w, lo, ret_is, err);
out:
    cache_close(c);
    return rc;
}
