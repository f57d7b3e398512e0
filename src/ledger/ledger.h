/* The log: a totally ordered chain of signed envelopes, the sole commit of a repository. Knows nothing of bodies.
 *
 * Invariants
 *  1. Entry n is the object log/<n as 16 decimal digits>, created only if absent; nothing ever replaces it.
 *  2. An entry is a DSSE envelope (DSSE v1.0.2, payload type application/vnd.in-toto+json) of at most 48 KiB, around an
 *     in-toto Statement v1 whose predicate has an object "ledger": {"seq": n, "prev": hex SHA-256 of entry n-1's bytes,
 *     "time": RFC 3339, "key": hex of the signer's Ed25519 key}. Entry 0 has "prev" of 64 zeros and is signed by the admin key.
 *  3. A reader accepts entry n only after n-1, only when prev matches, and only when the key that signed it was allowed by
 *     the judge (which sees entries in order and so knows the keys registered below n).
 *  4. What a client has accepted it pins (size and root, in its cache); a log that is shorter or differs is ERR_LEDGER_ROLLBACK.
 *  5. tile/…, and checkpoint (C2SP tlog-tiles, signed-note) are functions of the entries: leaf hash SHA-256(0 || entry bytes).
 *     They are written after the commit and can be rebuilt by anyone.
 *  6. Only the entries decide. A handle that was given a `ledger_start` and has no cache may begin at a signed summary
 *     (summary.h) and read what follows from bundles (tile/entries/…), which are both derived: see below.
 * A handle belongs to one thread at a time.
 *
 * Beginning at a summary: why it may be believed, and how far
 *  - Bundles need no trust. What comes out of one is checked, chained and judged like any entry, and the newest entry of the
 *    last one must be log/<n> itself, whose chain of digests covers all before it.
 *  - A summary stands for entries that are not read, so it speaks with the authority of whoever could have signed them
 *    all: who may sign a summary may say anything. That is one key, which the caller knows before it has read the log
 *    (proofkeep: the admin key, in every bundle of keys). A summary by any other key, also a registered one, is refused;
 *    so the thief of a writer's key cannot vouch, forget, release or register through a summary what his entries could not.
 *    Nor could the state itself say who may sign: a forged one would name the forger.
 *  - It must be of this origin, and its edge must give its root; a checkpoint signed by a key of its state must count at
 *    least as many entries, and the tree that goes on from the edge must come to that checkpoint's root and to the pinned
 *    one; entry size-1 in the store must be the one that it names; every entry that it sums up must still be listed. A pin
 *    that is older than every summary leaves them all unused.
 *  - Whatever fails is refused, noted (ledger_start_refused) and read around: an older summary, bundles without one, and at
 *    last every entry by itself, which is the only reading whose failure means that the log is broken. A believable
 *    summary of more entries than the log has is ERR_LEDGER_ROLLBACK, like a checkpoint. Where each request costs, summaries are not
 *    looked for beside a log of less than a bundle whose checkpoint counts all of it.
 *  - What remains is a lie signed by that one key, whose holder can say all of it in entries anyway, though not unseen. It is
 *    found by whoever reads the log: the state is a pure function of the entries in one canonical form, so that publishing
 *    the same size and `verify` compute it again, and name the signer of one that differs.
 */
#ifndef PK_LEDGER_LEDGER_H
#define PK_LEDGER_LEDGER_H

#include "base/json.h"
#include "crypto/crypto.h"
#include "store/store.h"

#define LEDGER_ENTRY_MAX_BYTES (48u * 1024u)
#define STATEMENT_TYPE "https://in-toto.io/Statement/v1"
#define PAYLOAD_TYPE "application/vnd.in-toto+json"

struct ledger_entry {
    uint64_t seq;
    struct bytes envelope;      /* the entry's bytes, borrowed for the call */
    struct digest digest;       /* SHA-256 of them */
    const json_t *statement;    /* parsed from exactly the verified bytes; borrowed */
    uint8_t signer[SIGN_PUBLIC_BYTES];
    int64_t time_ns;            /* the signer's claim */
    int64_t stored_ns;          /* the store's clock for the object; 0 when it came from the cache without one */
};
/* Called for each accepted-so-far entry in order. Must refuse (ERR_LEDGER_BROKEN, ERR_KEY_ROLE) what its signer may not say.
 * Entry 0's judge checks the admin key itself. */
typedef int (*ledger_judge)(void *ctx, const struct ledger_entry *e, struct error *err);

struct ledger;
/* `origin` names the log in checkpoints ("proofkeep/<hex repo id>"). cache_dir may be NULL (no pin, no cached entries). */
int ledger_open(struct store *s, const char *origin, const char *cache_dir, ledger_judge judge, void *ctx, struct ledger **ret, struct error *err) PK_CHECK;
/* Help only, where requests take long: asks for what the first sync of a handle reads (see store_expect). First for
 * what depends on nothing; then, when that has come, for the entries. The sync follows at once, and then
 * store_expect_end. */
void ledger_expect_first(struct store *s);
void ledger_expect_next(struct ledger *l);
/* The same for the look that ledger_append begins with, unless it needs none: it is asked for while what the entry
 * names is being stored. What was asked for ends with the next sync of the handle, whatever it is for. */
void ledger_expect_append(struct ledger *l);
/* How a handle without a cache may begin elsewhere than at entry 0. The functions are called with the judge's ctx. */
struct ledger_start {
    uint8_t signer[SIGN_PUBLIC_BYTES]; /* whose summaries are believed */
    /* Take over the state of the first `size` entries, instead of judging them; on failure nothing may have changed.
     * stored_ns has the store's clock for each of them. */
    int (*load)(void *ctx, const json_t *state, uint64_t size, const int64_t *stored_ns, struct error *err);
    /* The keys of that state, who may have signed checkpoints: i counts from 0; false at the end. */
    bool (*key)(void *ctx, size_t i, uint8_t ret[SIGN_PUBLIC_BYTES]);
    /* As if nothing had been loaded or judged. */
    void (*reset)(void *ctx);
};
/* Before the first sync; `s` is borrowed for the life of the handle. */
void ledger_start_from(struct ledger *l, const struct ledger_start *s);
/* Entries that this handle knows from a summary only; 0 when it has read all. */
uint64_t ledger_base(const struct ledger *l);
/* What was refused while beginning, with object, signer and reason; "" when nothing was. The handle is as good as any. */
const char *ledger_start_refused(const struct ledger *l);
/* The size of the newest summary among that; 0: none. */
uint64_t ledger_refused_summary(const struct ledger *l);
/* Give accepted entries [from, end) to another judge; ledger_base <= from <= end <= ledger_size. They have no stored_ns. */
int ledger_replay(struct ledger *l, uint64_t from, uint64_t end, ledger_judge judge, void *ctx, struct error *err) PK_CHECK;
/* Read every accepted entry as it is stored, unless this handle did so when it accepted it, hold it against what was accepted
 * (ERR_LEDGER_BROKEN), and give it to another judge, without stored_ns. */
int ledger_reread(struct ledger *l, ledger_judge judge, void *ctx, struct error *err) PK_CHECK;
/* Whether this handle began with that bundle, as it is stored: then all that is in it is the log's. */
bool ledger_took_bundle(const struct ledger *l, uint64_t index, unsigned width);
/* Read, check and judge every entry not seen yet. Entries below the cached ones are read from the cache, whose chain is
 * checked against the store's last known entry. */
int ledger_sync(struct ledger *l, struct error *err) PK_CHECK;
uint64_t ledger_size(const struct ledger *l);
void ledger_root(const struct ledger *l, struct digest *ret); /* Merkle root over all entries seen */
/* Build the statement for entry `seq` (type, subject, predicate; the "ledger" object is added by the ledger). Called again
 * with a higher seq after every lost race, after the newcomers have been judged; may refuse (e.g. its packs were deleted). */
typedef int (*ledger_build)(void *ctx, uint64_t seq, json_t **ret_statement, struct error *err);
/* Append, durable when it returns; the judge sees the new entry too. ret may be NULL. After 64 lost races: ERR_REPO_BUSY. */
int ledger_append(struct ledger *l, struct bytes sign_seed, ledger_build build, void *ctx, uint64_t *ret_seq, struct digest *ret, struct error *err) PK_CHECK;
/* Write tiles and checkpoint for what was seen; derived, so failure harms nothing. Never signs two roots for one size. */
int ledger_publish(struct ledger *l, struct bytes sign_seed, struct error *err) PK_CHECK;
/* Whether the checkpoint that this handle published last took the place of the very one it knew, so that it cannot have come
 * over one of more entries. False when nobody can tell. */
bool ledger_published_last(const struct ledger *l);
/* Whether this machine's cache knew the log before this handle looked at it. */
bool ledger_pinned_before(const struct ledger *l);
/* Whether these bytes are entry `seq`, which must be below ledger_size. */
int ledger_knows(struct ledger *l, uint64_t seq, struct bytes envelope, bool *ret, struct error *err) PK_CHECK;
/* The envelope of one entry from wherever it is cheapest, which may be this machine's cache. */
int ledger_read_known(struct ledger *l, uint64_t seq, struct buf *ret, struct error *err) PK_CHECK;
/* The envelope of one entry as stored, whether or not this handle began after it. */
int ledger_read(struct ledger *l, uint64_t seq, struct buf *ret, struct error *err) PK_CHECK;
void ledger_close(struct ledger *l);

/* DSSE by itself (also used for receipts in files). keyid is the hex of the public key and is never trusted. */
int dsse_sign(struct bytes sign_seed, struct bytes payload, struct buf *ret_envelope, struct error *err) PK_CHECK;
/* Verify with exactly this key; payload is the very bytes that were verified. ERR_LEDGER_BROKEN otherwise. */
int dsse_verify(struct bytes envelope, const uint8_t pub[SIGN_PUBLIC_BYTES], struct buf *ret_payload, struct error *err) PK_CHECK;
/* Decode without verifying: payload, and the claimed keyid's key (false keys just fail verification later). */
int dsse_decode(struct bytes envelope, struct buf *ret_payload, uint8_t ret_pub[SIGN_PUBLIC_BYTES], uint8_t ret_sig[SIGN_BYTES], struct error *err) PK_CHECK;

/* Merkle tree (RFC 6962 hashing) */
struct merkle; /* compact range: O(log n) memory */
int merkle_new(struct merkle **ret, struct error *err) PK_CHECK;
int merkle_add(struct merkle *m, const struct digest *leaf, struct error *err) PK_CHECK;
void merkle_root(const struct merkle *m, struct digest *ret);
uint64_t merkle_size(const struct merkle *m);
void merkle_free(struct merkle *m);
void merkle_leaf(struct bytes entry, struct digest *ret);

#endif
