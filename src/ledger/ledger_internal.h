/* What the files of the ledger share. */
#ifndef PK_LEDGER_LEDGER_INTERNAL_H
#define PK_LEDGER_LEDGER_INTERNAL_H

#include "ledger/cache.h"
#include "ledger/ledger.h"
#include "ledger/note.h"
#include "ledger/tree.h"

#define ENTRY_KEY_BYTES 24
#define SUMMARY_PREFIX "summary/"

/* Keys that signed accepted entries; a checkpoint counts only when one of them signed it. */
struct signers {
    uint8_t (*keys)[SIGN_PUBLIC_BYTES];
    size_t count, cap;
};

struct ledger {
    struct store *store;
    char *origin;
    ledger_judge judge;
    void *judge_ctx;
    struct cache *cache; /* NULL without */
    struct tree *tree;   /* of every accepted entry */
    struct digest last;  /* of the newest accepted entry; zeros when there is none */
    struct signers signers;
    struct buf scratch; /* one entry */
    bool primed;        /* the cache was replayed and the store was held against pin, listing and checkpoint */
};

/* ---- entry.c: one entry ---- */
struct entry {
    struct digest digest;
    json_t *statement; /* owned */
    uint8_t signer[SIGN_PUBLIC_BYTES];
    int64_t time_ns;
};
void entry_key(uint64_t seq, char ret[ENTRY_KEY_BYTES]);
/* Everything that can be said of an entry without its judge. `trusted` spares the signature: for bytes that a later
 * entry, whose signature is checked, names by its chain of digests. */
int entry_check(struct bytes envelope, uint64_t seq, const struct digest *prev, bool trusted, struct entry *ret,
                struct error *err) PK_CHECK;
void entry_free(struct entry *e);
/* Add the "ledger" object, sign; the result is at most LEDGER_ENTRY_MAX_BYTES. */
int entry_make(json_t *statement, uint64_t seq, const struct digest *prev, struct bytes sign_seed, struct buf *ret,
               struct error *err) PK_CHECK;

/* ---- ledger.c ---- */
/* Room for one more entry, so that ledger_take can only fail in the judge. */
int ledger_reserve(struct ledger *l, struct error *err) PK_CHECK;
/* Judge and take in the next entry. */
int ledger_take(struct ledger *l, struct bytes envelope, const struct entry *e, int64_t stored_ns,
                struct error *err) PK_CHECK;
/* Read an accepted entry from wherever it is cheapest, and check it against the tree. */
int ledger_fetch(struct ledger *l, uint64_t seq, struct buf *ret, struct error *err) PK_CHECK;
/* Remember size and root on this machine. Nothing to do without a cache. */
int ledger_pin(struct ledger *l, struct error *err) PK_CHECK;
/* The checkpoint in the store, if there is one that a known key signed. An unsigned or malformed one is as none: it is
 * derived, and whoever can write there could as well remove it. */
int ledger_published(struct ledger *l, bool *ret_found, struct checkpoint *ret, struct error *err) PK_CHECK;
bool signers_have(const struct signers *s, const uint8_t pub[SIGN_PUBLIC_BYTES]);

#endif
