/* A restore into a running server. */
#ifndef PK_SURFACE_REDIS_LIVE_H
#define PK_SURFACE_REDIS_LIVE_H

#include "surface/redis/redis_internal.h"

#define LIVE_BATCH 128u
#define LIVE_BATCH_BYTES (64u << 10)
#define LIVE_BATCH_VALUE (4u << 10) /* of a name, and of a value as an RDB has it */
/* What that can be when it is decoded: LZF makes 264 bytes of 3. */
#define LIVE_BATCH_TEXT (88u * LIVE_BATCH_VALUE)

struct live_pending { /* a command whose answer has not come */
    uint32_t keys, bytes, lasting;
    bool expired;
};
struct live {
    const struct redis_settings *s;
    struct source *src;
    const struct restore_request *q;
    const struct redis_target *t;
    struct resp c;
    struct redis_records rec;
    uint64_t bulk_max, to;
    int64_t shift_ms, now_ms;
    struct live_pending *pending; /* a ring */
    size_t oldest, waiting;
    uint64_t flight;                                /* bytes of commands whose answers have not come */
    uint64_t stored, lasting, skipped, gone, bytes; /* lasting: without a time to expire */
    struct buf batch, value, text;
    unsigned batched;
    struct rdb_in in; /* over feed */
    struct bytes feed;
};

/* ---- live_check.c: before anything is written ---- */
/* The server can load these values, is not the one that was captured unless that is meant, and takes so much at once.
 */
int live_check(struct live *l, struct error *err) PK_CHECK;
/* ---- live_functions.c ---- */
int live_functions(struct live *l, uint64_t *ret_libraries, struct error *err) PK_CHECK;

#endif
