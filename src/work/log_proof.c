#include "work/log_proof.h"

#include "base/seam.h"
#include "base/time.h"
#include "ledger/audit.h"
#include "ledger/tlog_proof.h"
#include "repo/log_view.h"
#include "work/witnesses.h"

#include <errno.h>
#include <stdio.h>

/* ---- which checkpoint ---- */

/* Those of the same text as the first: each has the log's line and one cosignature. */
static int add_words(const struct work_witnesses *s, const struct witness_word *best, struct buf *ret, size_t *ret_n,
                     struct error *err) {
    struct checkpoint_parts a, b;
    int rc = checkpoint_split(buf_bytes(&best->note), NULL, &a, err);
    if (rc == 0) rc = buf_append(ret, best->note.ptr, best->note.len, err);
    *ret_n = 1;
    for (size_t i = 0; i < s->count && rc == 0; i++) {
        const struct witness_word *x = &s->each[i];
        if (x == best || x->size != best->size) continue;
        rc = checkpoint_split(buf_bytes(&x->note), NULL, &b, err);
        if (rc < 0 || !bytes_equal(a.text, b.text)) continue;
        rc = buf_append(ret, b.lines.ptr, b.lines.len, err);
        ++*ret_n;
    }
    return rc;
}

int log_note_for(struct work *w, uint64_t seq, struct buf *ret, size_t *ret_witnesses, struct error *err) {
    const struct witness_word *best = NULL;
    const struct key_info *signer = NULL;
    struct checkpoint_parts p;
    char origin[64];
    bool there;
    *ret_witnesses = 0;
    for (size_t i = 0; w->witnesses && i < w->witnesses->count; i++) {
        const struct witness_word *x = &w->witnesses->each[i];
        if (x->size > seq && (!best || x->size > best->size)) best = x;
    }
    if (best) return add_words(w->witnesses, best, ret, ret_witnesses, err);
    repo_origin(w->repo, origin);
    int rc = ledger_note(repo_ledger(w->repo), ret, &there, err);
    if (rc < 0 || !there) return rc;
    if ((rc = checkpoint_split(buf_bytes(ret), origin, &p, err)) < 0) return rc;
    if ((rc = repo_checkpoint_signer(w->repo, &p, &signer, err)) < 0) return rc;
    if (!signer) return error_set(err, ERR_LEDGER_BROKEN, "the published checkpoint is signed by no key of the log");
    if (p.head.size <= seq) buf_clear(ret);
    return 0;
}

int log_note_sign(struct work *w, struct buf *note, struct error *err) {
    const struct keyring *k = repo_keys(w->repo);
    struct note_key own;
    struct checkpoint_parts p;
    struct error no = ERROR_INIT;
    struct digest root;
    uint8_t pub[SIGN_PUBLIC_BYTES];
    int rc = sign_public(secret_bytes(k->sign_seed), pub, err);
    if (rc == 0) rc = repo_verifier(w->repo, pub, &own, err);
    if (rc == 0) rc = checkpoint_split(buf_bytes(note), NULL, &p, err);
    if (rc == 0) rc = ledger_root_at(repo_ledger(w->repo), p.head.size, &root, err);
    if (rc < 0) return rc;
    if (!digest_equal(&root, &p.head.root))
        return error_set(err, ERR_LEDGER_BROKEN, "the published checkpoint has another root than the log's entries");
    if (checkpoint_signed_by(&p, &own, NULL, &no) == 0) return 0;
    CLEANUP(buf_free) struct buf text = BUF_INIT(CHECKPOINT_MAX_BYTES);
    rc = buf_append(&text, p.text.ptr, p.text.len, err);
    return rc < 0 ? rc : checkpoint_line(buf_bytes(&text), &own, secret_bytes(k->sign_seed), 0, note, err);
}

static int note_get(struct work *w, uint64_t seq, struct buf *ret, size_t *ret_witnesses, struct error *err) {
    int rc = log_note_for(w, seq, ret, ret_witnesses, err);
    if (rc == 0 && ret->len == 0) {
        rc = repo_publish(w->repo, err);
        if (rc == 0) rc = log_note_for(w, seq, ret, ret_witnesses, err);
    }
    if (rc == 0 && ret->len == 0)
        rc = error_set(err, ERR_REPO_BUSY, "no checkpoint counts entry %llu yet", (unsigned long long)seq);
    return rc < 0 ? rc : log_note_sign(w, ret, err);
}

/* ---- which entry ---- */

static int find_seq(struct work *w, const char *what, uint64_t *ret, struct error *err) {
    const struct snapshot_info *point;
    size_t digits = strspn(what, "0123456789");
    if (strchr(what, '/')) {
        int rc = work_find_point(w, what, &point, err);
        if (rc == 0) *ret = point->seq;
        return rc;
    }
    int rc = work_open_repo(w, NULL, err);
    if (rc < 0) return rc;
    if (what[digits] == 0 && digits > 0 && digits < 17) {
        *ret = 0;
        for (const char *p = what; *p; p++) *ret = *ret * 10 + (uint64_t)(*p - '0');
        if (*ret < ledger_size(repo_ledger(w->repo))) return 0;
        error_set(err, ERR_NO_POINT, "there is no entry %s in the log of %llu entries", what,
                  (unsigned long long)ledger_size(repo_ledger(w->repo)));
        return error_next(err, "See what there is: 'proofkeep ledger list'.");
    }
    for (size_t i = repo_snapshot_count(w->repo); i-- > 0;)
        if (strcmp(repo_snapshot(w->repo, i)->id, what) == 0) {
            *ret = repo_snapshot(w->repo, i)->seq;
            return 0;
        }
    for (size_t i = repo_job_count(w->repo); i-- > 0;)
        if (strcmp(repo_job(w->repo, i)->id, what) == 0) {
            *ret = repo_job(w->repo, i)->seq;
            return 0;
        }
    return error_set(err, ERR_NO_POINT, "no entry of the log is of a backup '%.64s'", what);
}

/* ---- files ---- */

static bool ends(const char *s, const char *with) {
    size_t n = strlen(s), m = strlen(with);
    return n > m && strcmp(s + n - m, with) == 0;
}

static int names(const char *out, char proof[4096], char envelope[4096], struct error *err) {
    size_t n = strlen(out) - (ends(out, LOG_PROOF_SUFFIX) ? strlen(LOG_PROOF_SUFFIX) : 0);
    if (n == 0 || n > 4000) return error_set(err, ERR_USAGE, "'%.100s' cannot be the name of a file", out);
    snprintf(proof, 4096, "%.*s" LOG_PROOF_SUFFIX, (int)n, out);
    snprintf(envelope, 4096, "%.*s" LOG_ENVELOPE_SUFFIX, (int)n, out);
    return 0;
}

static int free_check(const char *path, struct error *err) {
    struct stat st;
    if (seam_fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return error_set(err, ERR_IO_EXISTS, "%s is there already", path);
    return errno == ENOENT ? 0 : error_set_errno(err, ERR_IO_READ, "%s", path);
}

int log_proof_make(struct work *w, const char *what, const char *out, struct log_proof_made *ret, struct error *err) {
    CLEANUP(buf_free) struct buf note = BUF_INIT(CHECKPOINT_MAX_BYTES + 1);
    CLEANUP(buf_free) struct buf envelope = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    CLEANUP(buf_free) struct buf text = BUF_INIT(TLOG_PROOF_MAX_BYTES);
    struct checkpoint_parts p;
    struct log_proof_made made = {0};
    struct tlog_proof proof;
    int rc = names(out, made.proof, made.envelope, err);
    if (rc == 0) rc = free_check(made.proof, err);
    if (rc == 0) rc = free_check(made.envelope, err);
    if (rc == 0) rc = find_seq(w, what, &made.seq, err);
    if (rc == 0) rc = note_get(w, made.seq, &note, &made.witnesses, err);
    if (rc == 0) rc = checkpoint_split(buf_bytes(&note), NULL, &p, err);
    if (rc == 0) rc = ledger_read(repo_ledger(w->repo), made.seq, &envelope, err);
    if (rc == 0) rc = ledger_prove_inclusion(repo_ledger(w->repo), made.seq, p.head.size, &proof.path, err);
    if (rc < 0) return rc;
    proof.index = made.seq;
    proof.note = buf_bytes(&note);
    made.size = p.head.size;
    struct digest leaf;
    merkle_leaf(buf_bytes(&envelope), &leaf);
    rc = proof_check_inclusion(&leaf, made.seq, p.head.size, &p.head.root, &proof.path, err);
    if (rc == 0) rc = tlog_proof_write(&proof, &text, err);
    if (rc == 0) rc = io_replace_file(AT_FDCWD, made.envelope, buf_bytes(&envelope), 0644, err);
    if (rc == 0) rc = io_replace_file(AT_FDCWD, made.proof, buf_bytes(&text), 0644, err);
    if (rc == 0) *ret = made;
    return rc;
}

/* ---- checking ---- */

static int check_keys(const struct log_proof_request *q, const struct checkpoint_parts *p, int64_t *ret_witnessed_s,
                      struct error *err) {
    bool signed_by_log = false;
    struct error last = ERROR_INIT;
    *ret_witnessed_s = 0;
    for (size_t i = 0; q->log_keys[i]; i++) {
        struct note_key k;
        struct error no = ERROR_INIT;
        int rc = note_key_parse(q->log_keys[i], &k, err);
        if (rc < 0) return rc;
        if (k.kind != NOTE_ED25519) return error_set(err, ERR_USAGE, "'%.200s' is not a log's key", q->log_keys[i]);
        if (!bytes_equal(p->origin, BYTES_STR(k.name)))
            return error_set(err, ERR_LEDGER_BROKEN, "the proof is of the log '%.*s', and the key of '%s'",
                             p->origin.len > 200 ? 200 : (int)p->origin.len, (const char *)p->origin.ptr, k.name);
        signed_by_log |= checkpoint_signed_by(p, &k, NULL, &no) == 0;
        last = no;
    }
    if (!signed_by_log && q->log_keys[1])
        return error_set(err, ERR_LEDGER_BROKEN, "the checkpoint is signed by none of the log keys given");
    if (!signed_by_log) return error_set(err, ERR_LEDGER_BROKEN, "%s", last.text);
    for (size_t i = 0; q->witness_keys[i]; i++) {
        struct note_key k;
        int64_t time_s;
        int rc = note_key_parse(q->witness_keys[i], &k, err);
        if (rc == 0 && k.kind != NOTE_COSIGNATURE)
            rc = error_set(err, ERR_USAGE, "'%.200s' is not a witness's key", q->witness_keys[i]);
        if (rc == 0) rc = checkpoint_signed_by(p, &k, &time_s, err);
        if (rc < 0) return rc;
        if (!*ret_witnessed_s || time_s < *ret_witnessed_s) *ret_witnessed_s = time_s;
    }
    return 0;
}

static int check_entry(struct bytes envelope, uint64_t seq, struct log_proof_checked *c, struct error *err) {
    CLEANUP(buf_free) struct buf payload = BUF_INIT(LEDGER_ENTRY_MAX_BYTES);
    uint8_t sig[SIGN_BYTES];
    int64_t number;
    json_t *place = NULL, *predicate = NULL;
    const char *when;
    int rc = dsse_decode(envelope, &payload, c->signer, sig, err);
    buf_clear(&payload);
    if (rc == 0) rc = dsse_verify(envelope, c->signer, &payload, err);
    if (rc == 0) rc = json_parse(buf_bytes(&payload), LEDGER_ENTRY_MAX_BYTES, "statement", &c->statement, err);
    if (rc == 0) rc = json_need_object(c->statement, "predicate", "statement", &predicate, err);
    if (rc == 0) rc = json_need_object(predicate, "ledger", "predicate", &place, err);
    if (rc == 0) rc = json_need_int(place, "seq", "ledger", &number, err);
    if (rc == 0) rc = json_need_str(place, "time", "ledger", &when, err);
    if (rc == 0 && (number < 0 || (uint64_t)number != seq || !time_parse(when, &c->time_ns)))
        rc =
            error_set(err, ERR_LEDGER_BROKEN, "the envelope says that it is entry %lld, and the proof is of entry %llu",
                      (long long)number, (unsigned long long)seq);
    return rc;
}

int log_proof_check(const struct log_proof_request *q, struct log_proof_checked *ret, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(TLOG_PROOF_MAX_BYTES + 1);
    CLEANUP(buf_free) struct buf envelope = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    struct log_proof_checked c = {0};
    struct tlog_proof p;
    struct checkpoint_parts parts;
    struct digest leaf;
    char beside[4096], same[4096];
    if (!q->log_keys[0]) {
        error_set(err, ERR_USAGE, "nothing says which log's key is trusted");
        return error_next(err,
                          "Name it with --log-key; 'proofkeep ledger verifier' prints it where the repository is.");
    }
    int rc = crypto_init(err);
    if (rc == 0 && !q->envelope) rc = names(q->proof, same, beside, err);
    if (rc == 0) rc = io_read_file(AT_FDCWD, q->proof, TLOG_PROOF_MAX_BYTES, &text, err);
    if (rc == 0)
        rc = io_read_file(AT_FDCWD, q->envelope ? q->envelope : beside, LEDGER_ENTRY_MAX_BYTES, &envelope, err);
    if (rc < 0) return rc;
    if ((rc = tlog_proof_parse(buf_bytes(&text), &p, err)) == 0) rc = checkpoint_split(p.note, NULL, &parts, err);
    if (rc == 0) rc = check_keys(q, &parts, &c.witnessed_s, err);
    if (rc == 0) {
        merkle_leaf(buf_bytes(&envelope), &leaf);
        rc = proof_check_inclusion(&leaf, p.index, parts.head.size, &parts.head.root, &p.path, err);
    }
    if (rc == 0) rc = check_entry(buf_bytes(&envelope), p.index, &c, err);
    if (rc < 0) {
        json_decref(c.statement);
        return error_wrap(err, "%s", q->proof);
    }
    c.seq = p.index;
    c.size = parts.head.size;
    c.root = parts.head.root;
    sha256(buf_bytes(&envelope), &c.entry);
    *ret = c;
    return 0;
}
