/* A snapshot in memory: a sink that keeps what is written to it, and a source over that. Holds drivers to the contract
 * of surface.h: sequence numbers in the order of names, each used once, never far ahead. */
#ifndef PK_TEST_SURFACE_PG_SNAPSHOT_H
#define PK_TEST_SURFACE_PG_SNAPSHOT_H

#include "surface/surface.h"

struct snapshot_item {
    char *name;
    struct buf attr, content;
    enum item_kind kind;
    struct digest sha256;
    bool done, dropped;
};

struct snapshot {
    struct sink sink;
    struct source source;
    struct snapshot_item *items;
    size_t count;
    uint64_t bytes;
    size_t piece;                /* the source hands out at most so much at once */
    void (*at_bytes)(void *ctx); /* called once, when `bytes` passes `at` */
    void *at_ctx;
    uint64_t at;
    uint64_t fail_at; /* the sink refuses from so many bytes on; 0 never */
    bool discard;     /* keep nothing: for measuring speed */
};
void snapshot_init(struct snapshot *s);
void snapshot_free(struct snapshot *s);
const struct snapshot_item *snapshot_find(const struct snapshot *s, const char *name);

#endif
