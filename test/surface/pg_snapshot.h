/* A snapshot in memory: a sink that keeps what is written to it, and a source over that. Holds drivers to the contract
 * of surface.h: sequence numbers in the order of names, each used once, and whoever is far ahead waits. */
#ifndef PK_TEST_SURFACE_PG_SNAPSHOT_H
#define PK_TEST_SURFACE_PG_SNAPSHOT_H

#include "surface/surface.h"
#include <pthread.h>

#define SNAPSHOT_ITEMS_MAX (1u << 16)

struct snapshot_item {
    char *name;
    struct buf attr, content;
    enum item_kind kind;
    struct digest sha256;
    bool opened, done, dropped;
};

struct snapshot {
    struct sink sink;
    struct source source;
    struct snapshot_item *items;
    size_t count;               /* the highest number used, and one */
    size_t oldest;              /* unfinished */
    size_t open_now, open_most; /* items at once */
    uint64_t bytes;
    pthread_mutex_t lock;
    pthread_cond_t moved;
    size_t piece;                /* the source hands out at most so much at once */
    void (*at_bytes)(void *ctx); /* called once, when `bytes` passes `at` */
    void *at_ctx;
    uint64_t at;
    uint64_t fail_at; /* the sink refuses from so many bytes on; 0 never */
    bool discard;     /* keep nothing: for measuring speed */
};
void snapshot_init(struct snapshot *s);
void snapshot_free(struct snapshot *s);
/* After a capture, successful or not: every number was used. */
bool snapshot_whole(const struct snapshot *s);
const struct snapshot_item *snapshot_find(const struct snapshot *s, const char *name);

#endif
