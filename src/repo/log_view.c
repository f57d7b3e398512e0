#include "repo/log_view.h"

#include "ledger/audit.h"
#include "ledger/derived.h"
#include "ledger/proof.h"
#include "ledger/statement.h"
#include "repo/state_summary.h"

int repo_verifier(const struct repo *r, const uint8_t pub[SIGN_PUBLIC_BYTES], struct note_key *ret, struct error *err) {
    char origin[64];
    repo_origin(r, origin);
    return note_key_make(origin, NOTE_ED25519, pub, ret, err);
}

int repo_checkpoint_signer(const struct repo *r, const struct checkpoint_parts *p, const struct key_info **ret,
                           struct error *err) {
    *ret = NULL;
    for (size_t i = 0; i < r->state.key_count; i++) {
        const struct key_info *k = &r->state.keys[i];
        struct note_key v;
        struct error no = ERROR_INIT;
        if (*ret && k->removed) continue;
        int rc = repo_verifier(r, k->public_key, &v, err);
        if (rc < 0) return rc;
        rc = checkpoint_signed_by(p, &v, NULL, &no);
        if (rc == 0)
            *ret = k;
        else if (rc != -ERR_LEDGER_BROKEN) {
            *err = no;
            return rc;
        }
        if (*ret && !(*ret)->removed) return 0;
    }
    return 0;
}

/* ---- every entry ---- */

struct each {
    struct repo fold;
    log_entry_view_cb cb;
    void *ctx;
};

static const struct key_info *key_of(const struct state *s, const uint8_t pub[SIGN_PUBLIC_BYTES]) {
    for (size_t i = s->key_count; i-- > 0;)
        if (memcmp(s->keys[i].public_key, pub, SIGN_PUBLIC_BYTES) == 0) return &s->keys[i];
    return NULL;
}

static int each_one(void *ctx, const struct ledger_entry *e, struct error *err) {
    struct each *w = ctx;
    size_t voids = w->fold.state.void_count, prefix = strlen(PREDICATE_PREFIX);
    int rc = state_judge(&w->fold, e, err);
    if (rc < 0) return rc;
    struct log_entry_view v = {.seq = e->seq,
                               .time_ns = e->time_ns,
                               .type = json_string_value(json_object_get(e->statement, "predicateType")),
                               .entry = e->digest,
                               .key = key_of(&w->fold.state, e->signer),
                               .statement = e->statement,
                               .envelope = e->envelope};
    struct error unnamed = ERROR_INIT;
    if (!v.type) v.type = "";
    if (strncmp(v.type, PREDICATE_PREFIX, prefix) == 0) v.type += prefix;
    if (statement_subject(e->statement, 0, &v.subject, &v.subject_digest, &unnamed) < 0 || !v.subject) v.subject = "";
    memcpy(v.signer, e->signer, sizeof v.signer);
    if (w->fold.state.void_count > voids) v.void_why = w->fold.state.void_text;
    return w->cb(w->ctx, &v, err);
}

int repo_log_each(struct repo *r, log_entry_view_cb cb, void *ctx, struct error *err) {
    struct each w = {.fold = {.keys = r->keys, .store = r->store}, .cb = cb, .ctx = ctx};
    memcpy(w.fold.id_hex, r->id_hex, sizeof w.fold.id_hex);
    int rc = ledger_walk(r->ledger, 0, ledger_size(r->ledger), each_one, &w, err);
    state_free(&w.fold.state);
    return rc;
}

/* ---- all of it ---- */

struct audit {
    struct repo *repo;
    struct ledger *log; /* read anew */
    struct log_audit *ret;
    log_audit_found found;
    void *ctx;
    struct bytes note; /* the checkpoint that is looked at */
};

static int tell(void *ctx, const char *object, int code, const char *text, struct error *err) {
    struct audit *a = ctx;
    a->ret->problems++;
    return a->found(a->ctx, object, code, text, err);
}

static int tell_why(struct audit *a, const char *object, struct error *why, struct error *err) {
    return tell(a, object, -(int)why->code, why->text, err);
}

/* Whether the log read anew is the one that `r` believes in. */
static int same_log(struct audit *a, struct error *err) {
    struct digest mine, theirs;
    uint64_t seen = ledger_size(a->repo->ledger);
    a->ret->pinned = seen;
    if (ledger_size(a->log) < seen)
        return error_set(err, ERR_LEDGER_ROLLBACK, "the log in the store has %llu entries, but %llu were seen before",
                         (unsigned long long)ledger_size(a->log), (unsigned long long)seen);
    ledger_root(a->repo->ledger, &mine);
    int rc = ledger_root_at(a->log, seen, &theirs, err);
    if (rc < 0) return rc;
    if (!digest_equal(&mine, &theirs))
        return error_set(err, ERR_LEDGER_ROLLBACK,
                         "the first %llu entries of the log in the store are not those that were seen before",
                         (unsigned long long)seen);
    return 0;
}

/* The partial tiles of a checkpoint that was replaced are removed, which is nothing to tell of; 1 stops the looking. */
static int tell_derived(void *ctx, const char *object, int code, const char *text, struct error *err) {
    struct audit *a = ctx;
    CLEANUP(buf_free) struct buf now = BUF_INIT(CHECKPOINT_MAX_BYTES + 1);
    bool there;
    /* every bundle that is there is held against the entries further on */
    if (strncmp(object, "tile/entries/", 13) == 0 && code != -ERR_OBJECT_MISSING) return 0;
    int rc = ledger_note(a->log, &now, &there, err);
    if (rc < 0) return rc;
    return there && !bytes_equal(a->note, buf_bytes(&now)) ? 1 : tell(ctx, object, code, text, err);
}

/* The published checkpoint and what it counts; *ret_again when another took its place meanwhile. */
static int look_at_checkpoint(struct audit *a, bool *ret_again, struct error *err) {
    CLEANUP(buf_free) struct buf note = BUF_INIT(CHECKPOINT_MAX_BYTES + 1);
    struct checkpoint_parts p;
    struct error why = ERROR_INIT;
    struct digest root;
    char origin[64];
    bool there;
    *ret_again = false;
    repo_origin(a->repo, origin);
    int rc = ledger_note(a->log, &note, &there, err);
    if (rc < 0 || !there) return rc;
    a->ret->objects++;
    if (checkpoint_split(buf_bytes(&note), origin, &p, &why) < 0) return tell_why(a, "checkpoint", &why, err);
    rc = repo_checkpoint_signer(a->repo, &p, &a->ret->checkpoint_signer, err);
    if (rc < 0) return rc;
    if (!a->ret->checkpoint_signer) {
        error_set(&why, ERR_LEDGER_BROKEN, "no key of the log signed it");
        return tell_why(a, "checkpoint", &why, err);
    }
    if (p.head.size > ledger_size(a->log) && ledger_sync(a->log, err) < 0) return -(int)err->code;
    if (p.head.size > ledger_size(a->log)) {
        error_set(&why, ERR_LEDGER_ROLLBACK, "it counts %llu entries, and the log has %llu",
                  (unsigned long long)p.head.size, (unsigned long long)ledger_size(a->log));
        return tell_why(a, "checkpoint", &why, err);
    }
    if ((rc = ledger_root_at(a->log, p.head.size, &root, err)) < 0) return rc;
    if (!digest_equal(&root, &p.head.root)) {
        error_set(&why, ERR_LEDGER_BROKEN, "it has another root than the log's first %llu entries",
                  (unsigned long long)p.head.size);
        return tell_why(a, "checkpoint", &why, err);
    }
    a->ret->checkpoint_size = p.head.size;
    a->note = buf_bytes(&note);
    rc = derived_check_tiles(a->log, 0, p.head.size, &a->ret->objects, tell_derived, a, err);
    *ret_again = rc > 0;
    return rc < 0 ? rc : 0;
}

int repo_log_audit(struct repo *r, log_audit_found found, void *ctx, struct log_audit *ret, struct error *err) {
    struct summaries_check derived;
    struct audit a = {.repo = r, .ret = ret, .found = found, .ctx = ctx};
    bool again = true;
    char origin[64];
    *ret = (struct log_audit){0};
    repo_origin(r, origin);
    int rc = summaries_check_begin(r, &derived, err);
    if (rc == 0) rc = ledger_open(r->store, origin, NULL, summaries_judge, &derived, &a.log, err);
    if (rc == 0) rc = ledger_sync(a.log, err);
    if (rc == 0) rc = same_log(&a, err);
    for (unsigned i = 0; rc == 0 && again; i++) {
        rc = i < 16 ? look_at_checkpoint(&a, &again, err)
                    : error_set(err, ERR_REPO_BUSY, "the checkpoint was replaced each time it was looked at");
    }
    if (rc == 0) rc = summaries_check_end(&derived, r, a.log, &ret->objects, tell, &a, err);
    if (rc == 0) {
        ret->entries = ledger_size(a.log);
        ret->voids = derived.fold.state.void_count;
        ledger_root(a.log, &ret->root);
    }
    ledger_close(a.log);
    summaries_check_free(&derived);
    return rc;
}
