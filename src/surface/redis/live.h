/* A restore into a running server. */
#ifndef PK_SURFACE_REDIS_LIVE_H
#define PK_SURFACE_REDIS_LIVE_H

#include "surface/redis/redis_internal.h"

#define LIVE_BATCH 128u
#define LIVE_BATCH_BYTES (64u << 10)
#define LIVE_BATCH_VALUE (4u << 10) /* of a name, and of a value as an RDB has it */
/* What that can be when it is decoded: LZF makes 264 bytes of 3. */
#define LIVE_BATCH_TEXT (88u * LIVE_BATCH_VALUE)

#define LIVE_PENDING_MAX 4096u /* commands that wait for their answers */
#define LIVE_SPANS_MAX 65536u

struct live_pending { /* a command whose answer has not come */
    uint64_t first, last; /* its keys, as they are counted in live_done */
    uint32_t keys, bytes, lasting;
    bool expired, batch;
};
struct live_span { /* keys that are not ours: of a batch, those between first and last that are sent in batches */
    uint64_t first, last;
    bool batch;
};
/* A database that was written to: what it takes to remove again what we put there, and nothing else. */
struct live_done {
    const struct redis_items *of;
    uint64_t to, before; /* keys that were there */
    uint64_t taken;      /* keys of the snapshot that were taken up, in its order */
    uint64_t stored;     /* of those, for which the server said so */
    uint64_t unknown;    /* of those, whose answer never came */
    struct live_span *spans;
    size_t n_spans, cap_spans;
    bool overwrites; /* or there are more spans than are kept: it cannot be undone */
};
struct live {
    const struct redis_settings *s;
    struct source *src;
    const struct restore_request *q;
    const struct redis_target *t;
    enum redis_conflicts conflicts;
    struct resp c;
    struct live_done *done; /* the last one is being written to */
    size_t n_done;
    struct buf functions; /* those that were there, as FUNCTION DUMP has them */
    bool functions_changed;
    struct error torn;         /* why a value could not be sent to its end */
    bool swapped;              /* or it is not known that it did not happen */
    bool unsent, unsent_batch; /* the key that was taken last, and whether it goes in a batch */
    char client[24];           /* our connection, as the server numbers it */
    bool lingers;              /* one that failed may not have ended at the server */
    struct redis_records rec;
    uint64_t bulk_max, to;
    int64_t shift_ms, now_ms;
    struct live_pending *pending; /* a ring */
    size_t oldest, waiting;
    uint64_t flight;                                /* bytes of commands whose answers have not come */
    uint64_t stored, lasting, skipped, gone, bytes; /* lasting: without a time to expire */
    struct buf batch, value, text;
    unsigned batched;
    uint64_t batch_first, batch_last;
    struct rdb_in in; /* over feed */
    struct bytes feed;
};

/* ---- live_check.c: before anything is written ---- */
/* The server can load these values, is not the one that was captured unless that is meant, and takes so much at once.
 */
int live_check(struct live *l, struct error *err) PK_CHECK;
/* ---- live.c ---- */
/* Whether a key goes in a command together with others. */
bool live_batches(const struct live *l, const struct rdb_key *k, uint64_t value_bytes);
/* All answers that are still to come, whatever they are. ERR_NET_*, ERR_REDIS_PROTOCOL. */
int live_settle(struct live *l, struct error *err) PK_CHECK;

static inline const struct live_pending *live_pending_at(const struct live *l, size_t i) {
    return &l->pending[(l->oldest + i) % LIVE_PENDING_MAX];
}

/* ---- live_undo.c ---- */
/* Sends `word` (EXISTS, UNLINK) for the database's keys, and sums up the answers. only: those that we put there, all of
 * them; NULL: all that the request takes, until there is a first one. */
int live_ask_keys(struct live *l, const char *word, const struct redis_items *of, const struct live_done *only,
                  uint64_t *ret_sum, struct error *err) PK_CHECK;
/* These keys of the database that is being written to are not ours. */
int live_not_ours(struct live *l, const struct live_pending *p, struct error *err) PK_CHECK;
/* After a failure: removes what was restored where that can be told from all else, and adds to err what state all is
 * in. */
void live_undo(struct live *l, struct error *err);

/* ---- live_swap.c ---- */
/* An empty database for each that is taken, found in the same way by a plan and its restore; *map has them as a target
 * has. ERR_USAGE for a part of a database; ERR_POLICY where there is none, or where databases cannot be swapped. */
int live_spares(struct resp *c, const struct restore_request *q, struct redis_target *map, struct error *err) PK_CHECK;
/* All at once: what was restored takes the place of the live databases, which are in the spare ones then. */
int live_swap(struct live *l, struct error *err) PK_CHECK;

/* ---- live_functions.c ---- */
int live_functions(struct live *l, uint64_t *ret_libraries, struct error *err) PK_CHECK;
/* What was there before, again. */
int live_functions_undo(struct live *l, struct error *err) PK_CHECK;

#endif
