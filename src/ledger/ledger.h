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
 * A handle belongs to one thread at a time.
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
/* The envelope of one entry as stored. */
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
