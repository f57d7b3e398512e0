#include "ledger/ledger_internal.h"

#include "base/seam.h"
#include <inttypes.h>

#define RACES_MAX 64
#define PATIENT_RACES 4 /* lost at once before waiting a little between tries */

/* Rivals that lost together would lose together again. */
static void step_back(unsigned lost) {
    uint8_t r;
    if (lost < PATIENT_RACES || seam_getrandom(&r, 1) != 1) return;
    (void)seam_poll(NULL, 0, 1 + r % (int)lost);
}

/* Create log/<seq>. *ret_won is false when somebody else's entry has the name. Our very bytes under the name mean that
 * an earlier try of a layer below got through. */
static int create(struct ledger *l, uint64_t seq, struct bytes envelope, bool *ret_won, int64_t *ret_stored_ns,
                  struct error *err) {
    char key[ENTRY_KEY_BYTES];
    struct error e = ERROR_INIT;
    entry_key(seq, key);
    *ret_won = true;
    *ret_stored_ns = 0;
    if (store_create_timed(l->store, key, envelope, ret_stored_ns, &e) == 0) return 0;
    if (e.code != ERR_OBJECT_EXISTS) {
        *err = e;
        error_wrap(err, "entry %" PRIu64 " of the log", seq);
        return error_state(err, "Unless the log shows the entry later, nothing was committed.");
    }
    CLEANUP(buf_free) struct buf there = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    if (store_read_all(l->store, key, LEDGER_ENTRY_MAX_BYTES, &there, err) < 0)
        return error_wrap(err, "entry %" PRIu64 " of the log", seq);
    *ret_won = bytes_equal(buf_bytes(&there), envelope);
    struct error unknown = ERROR_INIT;
    if (*ret_won && store_stat(l->store, key, NULL, ret_stored_ns, &unknown) < 0) *ret_stored_ns = 0;
    return 0;
}

/* One try. */
static int attempt(struct ledger *l, struct bytes sign_seed, ledger_build build, void *ctx, bool *ret_won,
                   struct error *err) {
    json_auto_t *statement = NULL;
    CLEANUP(buf_free) struct buf envelope = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    uint64_t seq = ledger_size(l);
    int64_t stored_ns;
    struct entry e;
    if (build(ctx, seq, &statement, err) < 0) return -(int)err->code;
    if (entry_make(statement, seq, &l->last, sign_seed, &envelope, err) < 0) return -(int)err->code;
    /* After the commit nothing may fail but the judge: read our own bytes back, and have the room, before it. */
    if (entry_check(buf_bytes(&envelope), seq, &l->last, false, &e, err) < 0) return -(int)err->code;
    int rc = ledger_reserve(l, err);
    if (rc == 0) rc = create(l, seq, buf_bytes(&envelope), ret_won, &stored_ns, err);
    if (rc == 0 && *ret_won) {
        rc = ledger_take(l, buf_bytes(&envelope), &e, stored_ns, err);
        if (rc < 0) error_state(err, "The entry is in the log, and its own writer does not accept it.");
        l->direct_from = ledger_size(l);
    }
    entry_free(&e);
    return rc;
}

int ledger_append(struct ledger *l, struct bytes sign_seed, ledger_build build, void *ctx, uint64_t *ret_seq,
                  struct digest *ret, struct error *err) {
    for (unsigned lost = 0; lost < RACES_MAX; lost++) {
        bool won = false;
        if (lost) step_back(lost);
        if ((lost ? ledger_sync(l, err) : ledger_sync_for_append(l, err)) < 0) return -(int)err->code;
        if (attempt(l, sign_seed, build, ctx, &won, err) < 0) return -(int)err->code;
        if (!won) continue;
        struct error e = ERROR_INIT;
        if (ledger_pin(l, &e) < 0) error_clear(&e); /* the commit stands, whether or not this machine could note it */
        if (ret_seq) *ret_seq = ledger_size(l) - 1;
        if (ret) *ret = l->last;
        return 0;
    }
    error_set(err, ERR_REPO_BUSY, "%d times in a row somebody else's entry was first", RACES_MAX);
    return error_state(err, "Nothing was added to the log.");
}
