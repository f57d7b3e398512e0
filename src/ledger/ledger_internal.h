/* What the files of the ledger share. */
#ifndef PK_LEDGER_LEDGER_INTERNAL_H
#define PK_LEDGER_LEDGER_INTERNAL_H

#include "ledger/cache.h"
#include "ledger/ledger.h"
#include "ledger/note.h"
#include "ledger/summary.h"
#include "ledger/tiles.h"
#include "ledger/tree.h"

#define ENTRY_KEY_BYTES 24
#define SUMMARY_PREFIX "summary/"
#define SUMMARY_KEY_BYTES 32

/* Keys that signed accepted entries; a checkpoint counts only when one of them signed it. */
struct signers {
    uint8_t (*keys)[SIGN_PUBLIC_BYTES];
    size_t count, cap;
};

/* What the store lists, read before anything else of a short beginning: entries by number, and summaries. */
struct survey {
    bool whole;         /* the entries have no gap among them; only then are there times */
    uint64_t end;       /* one past the highest entry */
    int64_t *stored_ns; /* of entries 0 .. end-1 */
    bool summaries;     /* they were listed */
    uint64_t *sizes;    /* of summaries, ascending */
    size_t size_count;
};

#define BUNDLE_WORTH 3 /* entries that a partial bundle and the newest entry spare to read one by one */

/* Entries fetched together, shortly before they are asked for. */
#define PEEKS_MAX 16
struct peeks {
    uint8_t *mem; /* of PEEKS_MAX entries; NULL until needed */
    uint64_t from;
    unsigned count;
    struct {
        bool found, used;
        size_t len;
        int64_t stored_ns;
    } at[PEEKS_MAX];
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
    const struct ledger_start *start; /* NULL: every entry is read by itself */
    struct buf base_summary;          /* until primed: the summary that this handle began at */
    bool unbound;                     /* the newest entry came from a bundle, and nothing from log/ follows it yet */
    char refused[512];                /* why a summary or a bundle was not used; empty: none */
    uint64_t listed_end;              /* while beginning: one past the highest entry listed; 0: not listed. Where a
                                       * request takes long nothing beyond it is asked for */
    uint64_t refused_size;            /* of the newest summary that was refused */
    struct peeks peeks;
    struct { /* the checkpoint's object as it was last read or put, where it has a tag */
        bool known, there;
        bool untagged;             /* the place refused the tag, or knows it not by its own: it is never known */
        char tag[STORE_TAG_BYTES]; /* "" where it is not there */
        char unmet[STORE_TAG_BYTES]; /* that another was said to have taken the place of, when `missed` */
        bool missed;
        uint8_t bytes[CHECKPOINT_MAX_BYTES + 1];
        size_t len;
    } note;
    uint64_t bundle_index; /* of the last bundle that this handle read, when all in it was held against the log */
    unsigned bundle_width; /* 0: none was */
    uint64_t direct_from; /* entries from here on were read as they are stored, by this handle */
    bool pinned_before;   /* when this handle first looked */
    bool published_last;  /* see ledger_published_last */
    int64_t asked_ns;     /* when the look before an append was asked for ahead; 0: it was not */
    int64_t looked_ns;  /* when the newest entry was last held against the store's, by the monotonic clock */
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
bool entry_number(const char *key, uint64_t *ret); /* false when it is no entry's name */
/* Everything that can be said of an entry without its judge. `trusted` spares the signature: for bytes that a later
 * entry, whose signature is checked, names by its chain of digests. */
int entry_check(struct bytes envelope, uint64_t seq, const struct digest *prev, bool trusted, struct entry *ret,
                struct error *err) PK_CHECK;
void entry_free(struct entry *e);
/* The parts of an entry that was accepted before, so that nothing is checked again. ret borrows the envelope, and
 * *ret_statement, which becomes the caller's; stored_ns is 0. */
int entry_known(uint64_t seq, struct bytes envelope, struct ledger_entry *ret, json_t **ret_statement,
                struct error *err) PK_CHECK;
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
/* ledger_sync, but where a request takes long, newcomers are left to the name that they have taken: it is refused to
 * whoever appends without having read them. */
int ledger_sync_for_append(struct ledger *l, struct error *err) PK_CHECK;
bool ledger_looked_lately(const struct ledger *l); /* so that this looks no more */
/* Remember size and root on this machine. Nothing to do without a cache. */
int ledger_pin(struct ledger *l, struct error *err) PK_CHECK;
/* The checkpoint in the store, if there is one that a known key signed. An unsigned or malformed one is as none: it is
 * derived, and whoever can write there could as well remove it. */
int ledger_published(struct ledger *l, bool *ret_found, struct checkpoint *ret, struct error *err) PK_CHECK;
/* The same, of what was read since this handle began to look at the log, or was put by it: who replaces that by its tag finds
 * out whether it is still there. Where there are no tags it is read. */
int ledger_published_lately(struct ledger *l, bool *ret_found, struct checkpoint *ret, struct error *err) PK_CHECK;
bool signers_have(const struct signers *s, const uint8_t pub[SIGN_PUBLIC_BYTES]);
int signers_add(struct ledger *l, const uint8_t pub[SIGN_PUBLIC_BYTES], struct error *err) PK_CHECK;
/* An entry as the store has it. *ret_found is false, and nothing is appended, when there is none. */
int ledger_stored(struct ledger *l, uint64_t seq, struct buf *ret, bool *ret_found, struct error *err) PK_CHECK;

/* ---- peek.c: for stores whose requests take long; elsewhere nothing happens ---- */
/* Fetch entries from .. from+n-1 (n at most PEEKS_MAX) at once, for ledger_stored. They are as the store had them now, so
 * this is for who asks for them next. */
void ledger_peek(struct ledger *l, uint64_t from, unsigned n);
void ledger_peeks_drop(struct ledger *l);
/* False when it was not fetched. An entry is given out once; stored_ns 0: unknown. */
bool ledger_peek_has(const struct ledger *l, uint64_t seq);
bool ledger_peeked(struct ledger *l, uint64_t seq, bool *ret_found, struct bytes *ret, int64_t *ret_stored_ns);
/* Take in what the store has beyond the entries known, at most up to `end`. */
int ledger_read_on(struct ledger *l, uint64_t end, struct error *err) PK_CHECK;
/* Give the cached entries to the judge. Their digests were held against the pin and the newest one against the store;
 * with its signature checked, the chain vouches for the others. */
int ledger_replay_cache(struct ledger *l, struct error *err) PK_CHECK;
/* The rest of a beginning: newcomers, gaps, pin and published checkpoint. */
int ledger_settle(struct ledger *l, const struct cache_pin *pin, struct error *err) PK_CHECK;

/* ---- start.c: beginning at a summary and by bundles; the argument stands in ledger.h ---- */
int start_survey(struct ledger *l, struct survey *ret, struct error *err) PK_CHECK;
void survey_free(struct survey *s);
/* From a cached or a published summary, else from nothing, by bundles; then settle. Any integrity error means that
 * what is derived cannot be used: start_reset, and read the log itself. */
int start_short(struct ledger *l, const struct survey *s, const struct cache_pin *pin, struct error *err) PK_CHECK;
bool start_doubtful(const struct error *e);
void start_refuse(struct ledger *l, uint64_t summary_size, const char *why);
int start_reset(struct ledger *l, struct error *err) PK_CHECK;
/* A summary that the log does not reach: somebody took entries away. */
int start_check_ahead(struct ledger *l, struct survey *s, struct error *err) PK_CHECK;

/* ---- past.c: entries below the one at which the handle began ---- */
/* The leaf of any entry of the log, from the tree or from tiles that add up to it. */
int past_leaf(struct ledger *l, uint64_t seq, struct digest *ret, struct error *err) PK_CHECK;
/* Root over leaves [begin, end), as tree_range has it, wherever they lie. Begin with {.ledger = l}; the tiles
 * read for it stay until past_end. */
#define PAST_TILES_MAX 16
struct past {
    struct ledger *ledger;
    struct past_tile {
        unsigned level;
        uint64_t index;
        struct digest *hashes; /* 256 */
    } tiles[PAST_TILES_MAX];
    size_t count;
};
int past_range(struct past *p, uint64_t begin, uint64_t end, struct digest *ret, struct error *err) PK_CHECK;
void past_end(struct past *p);
/* The bytes of a tile, or of a bundle, which is made in `bundle`; *ret lies in it or in the tree, which must be whole for it. */
int derived_content(struct ledger *l, int level, uint64_t index, unsigned width, struct buf *bundle, struct bytes *ret, struct error *err) PK_CHECK;
/* Read the entries below and make the tree whole. Nothing to do when it is. */
int past_complete(struct ledger *l, struct error *err) PK_CHECK;
int bundle_read(struct ledger *l, uint64_t index, unsigned width, struct buf *ret, char path[TILE_PATH_MAX],
                struct error *err) PK_CHECK;

/* ---- summary.c ---- */
void summary_key(uint64_t size, char ret[SUMMARY_KEY_BYTES]);
/* Check form, signature, edge. `only` (may be NULL) is the one key that may have signed. ERR_LEDGER_BROKEN otherwise. */
int summary_open(struct bytes envelope, const char *origin, uint64_t size, const uint8_t *only,
                 struct ledger_summary *ret, struct error *err) PK_CHECK;

#endif
