#include "work/witness_serve.h"

#include "base/seam.h"
#include "base/time.h"
#include "ledger/add_checkpoint.h"
#include "work/witness_internal.h"

#include <inttypes.h>
#include <stdio.h>

#define TEXT "text/plain; charset=utf-8"

static int refuse(struct witness_answer *a, int status, const struct error *why, struct error *err) {
    a->status = status;
    a->type = TEXT;
    snprintf(a->why, sizeof a->why, "%.290s", why->text);
    return buf_printf(&a->body, err, "%.290s\n", why->text);
}

static int refuse_size(struct witness *w, struct witness_answer *a, uint64_t old_size, struct error *err) {
    a->status = 409;
    a->type = ADD_CHECKPOINT_SIZE_TYPE;
    snprintf(a->why, sizeof a->why, "the proof is from %" PRIu64 " entries, and %" PRIu64 " were vouched for last",
             old_size, w->seen.size);
    return buf_printf(&a->body, err, "%" PRIu64 "\n", w->seen.size);
}

/* By the log's own key, else by one that its entries have in force: then they are read. */
static int signer_check(struct witness *w, const struct checkpoint_parts *p, bool *ret_good, struct error *why,
                        struct error *err) {
    char label[65];
    struct error e = ERROR_INIT;
    *ret_good = checkpoint_signed_by(p, &w->log, NULL, why) == 0;
    if (*ret_good) return 0;
    int rc = witness_watch(w, &e);
    if (rc == 0) rc = witness_log_signed(w->watch, p, label, &e);
    *ret_good = rc == 0;
    if (rc == 0) return 0;
    witness_unwatch(w);
    /* Whose key it is cannot be known now: no answer about the request. */
    if (rc == -ERR_NO_MEMORY || repo_out_of_reach(rc)) {
        *err = e;
        return rc;
    }
    *why = e;
    return 0;
}

/* Two checkpoints of one size, both signed, are proof against the log; the request has one, `cosigned` the other. */
static void evidence(struct witness *w, struct bytes note) {
    char name[64], when[32];
    struct error lost = ERROR_INIT;
    int64_t now = time_now_ns();
    time_format_compact(now, when);
    snprintf(name, sizeof name, "evidence/%s-fork", when); /* one a second at most, whoever asks however often */
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", w->dir, name);
    if (io_mkdirs(path, 0700, &lost) < 0) return;
    snprintf(path, sizeof path, "%s/%s/seen.checkpoint", w->dir, name);
    if (io_replace_file(AT_FDCWD, path, buf_bytes(&w->cosigned), 0600, &lost) < 0) return;
    snprintf(path, sizeof path, "%s/%s/found.checkpoint", w->dir, name);
    (void)!io_replace_file(AT_FDCWD, path, note, 0600, &lost);
}

static int vouch(struct witness *w, const struct add_checkpoint *a, const struct checkpoint_parts *p,
                 struct witness_answer *ret, struct error *err) {
    CLEANUP(buf_free) struct buf note = BUF_INIT(CHECKPOINT_MAX_BYTES + 1);
    size_t line = 0;
    int rc = witness_vouch(w, a->note, p, time_now_ns() / NS_PER_S, &note, &line, err);
    if (rc == 0) rc = buf_append(&ret->body, note.ptr + line, note.len - line, err);
    if (rc < 0) return rc;
    ret->status = 200;
    ret->type = TEXT;
    ret->size = p->head.size;
    return 0;
}

int witness_add_checkpoint(struct witness *w, struct bytes request, struct witness_answer *ret, struct error *err) {
    struct add_checkpoint a;
    struct checkpoint_parts p;
    struct error why = ERROR_INIT;
    struct digest empty;
    bool good;
    *ret = (struct witness_answer){.body = BUF_INIT(CHECKPOINT_MAX_BYTES)};
    if (add_checkpoint_parse(request, &a, &why) < 0 || checkpoint_split(a.note, NULL, &p, &why) < 0)
        return refuse(ret, 400, &why, err);
    if (!bytes_equal(p.origin, BYTES_STR(w->log.name))) {
        error_set(&why, ERR_LEDGER_BROKEN, "this witness does not know the log '%.*s'",
                  p.origin.len > 200 ? 200 : (int)p.origin.len, (const char *)p.origin.ptr);
        return refuse(ret, 404, &why, err);
    }
    int rc = signer_check(w, &p, &good, &why, err);
    if (rc < 0) return rc;
    if (!good) return refuse(ret, 403, &why, err);
    if (a.old_size > p.head.size) {
        error_set(&why, ERR_LEDGER_BROKEN, "the old size is above that of the checkpoint");
        return refuse(ret, 400, &why, err);
    }
    if (a.old_size != w->seen.size) return refuse_size(w, ret, a.old_size, err);
    if (w->seen.size && a.old_size == p.head.size && !digest_equal(&p.head.root, &w->seen.root)) {
        evidence(w, a.note);
        error_set(&why, ERR_LEDGER_ROLLBACK,
                  "another checkpoint of %" PRIu64 " entries was vouched for: the log was forked", p.head.size);
        return refuse(ret, 409, &why, err);
    }
    sha256(BYTES_OF(NULL, 0), &empty);
    if (proof_check_consistency(a.old_size, a.old_size ? &w->seen.root : &empty, p.head.size, &p.head.root, &a.proof,
                                &why) < 0)
        return refuse(ret, 422, &why, err);
    return vouch(w, &a, &p, ret, err);
}
