/* What a witness does, who has no key of the repository: it reads every entry of the log once, remembers them on a
 * machine of its own, and vouches for a checkpoint only when the log still is the one that it remembers, only longer
 * (C2SP tlog-witness).
 *
 * Invariants
 *  1. Trust begins with one key, the admin's, given by hand. Which other keys may sign checkpoints, the entries say
 * that this one signed; a key that was removed may not any more.
 *  2. Every entry was read, its signature and place checked, and its leaf comes to the checkpoint's root. No summary is
 * used.
 *  3. The tiles and bundles that a checkpoint counts are in the store as the entries give them, or it is not vouched
 * for.
 *  4. Nothing of what was seen is ever forgotten: see ledger/cache.h.
 * One thread at a time. */
#ifndef PK_REPO_WITNESS_H
#define PK_REPO_WITNESS_H

#include "ledger/cosign.h"
#include "repo/repo.h"

struct witness_seen { /* what was vouched for; size 0: nothing yet */
    uint64_t size;
    struct digest root;
};
struct witness_view {
    struct buf note;               /* the checkpoint as it stands; owned: buf_free */
    struct checkpoint_parts parts; /* of it */
    char signer[65];               /* label of the key that signed it */
    uint64_t entries;              /* of the log; not fewer than the checkpoint's */
    uint64_t objects;              /* tiles and bundles looked at */
};

struct witness_log;
/* `log` is the verifier key of the log, which is the admin's; `dir` is where entries are remembered. `s` is borrowed.
 */
int witness_log_open(struct store *s, const struct note_key *log, const char *dir, struct witness_log **ret,
                     struct error *err) PK_CHECK;
void witness_log_close(struct witness_log *w); /* NULL is fine */
/* Look at log and checkpoint; `whole`: at all tiles, else at those since `seen`. 0: may be vouched for.
 * ERR_LEDGER_ROLLBACK when the log was rolled back, forked, or its checkpoint is older than what was seen;
 * ERR_LEDGER_BROKEN for whatever else is wrong with it; ERR_UNVERIFIABLE when no checkpoint was published yet.
 * ret->note holds the checkpoint that was found also when it failed, as far as there was one. */
int witness_log_look(struct witness_log *w, const struct witness_seen *seen, bool whole, struct witness_view *ret,
                     struct error *err) PK_CHECK;
/* Read what is new of the log, and find who of the keys in force signed this checkpoint: its label. ERR_LEDGER_BROKEN when none
 * did. The checkpoint need not be of what is there. */
int witness_log_signed(struct witness_log *w, const struct checkpoint_parts *p, char ret_signer[65], struct error *err) PK_CHECK;
/* After ERR_LEDGER_ROLLBACK: the first entry that is not the one remembered, as it was and as it is (empty: missing).
 * *ret_found is false when every remembered entry is there. */
int witness_log_difference(struct witness_log *w, bool *ret_found, uint64_t *ret_seq, struct buf *ret_was,
                           struct buf *ret_is, struct error *err) PK_CHECK;

#endif
