/* Shared by copy.c and copy_pack.c. */
#ifndef PK_REPO_COPY_INTERNAL_H
#define PK_REPO_COPY_INTERNAL_H

#include "repo/copy.h"
#include "repo/writer_internal.h"

struct need { /* a chunk that the destination lacks, and where the source has it */
    struct digest pack;
    uint32_t frame;
    uint32_t turn;  /* when it came in the window; then of the first need of its pack */
    unsigned epoch; /* of the pack's ids */
    bool meta;
    bool base; /* as the base of a delta: a copy that is one itself does not do */
    uint8_t id[ID_PREFIX_BYTES];
};
struct copy_bench { /* what one task needs */
    struct codec *codec;
    uint8_t *sealed, *plain, *back;
    size_t sealed_cap, plain_cap, back_cap;
    struct member *members;
    size_t members_cap;
    struct copy_bench *next;
};
struct copier {
    struct repo *from;
    struct writer *w;
    struct fetcher *fetcher; /* of the source: metadata, bases, chunks of frames that are not moved whole */
    const struct copy_options *o;
    struct need *window;
    size_t count;
    struct idset deltas, plains; /* stored by this copier as deltas; of these, also plain. Under the writer's set_lock */
    pthread_mutex_t lock;        /* of what follows */
    struct copy_bench *benches;
    struct error failed;
    atomic_bool has_failed;
    atomic_uint_fast64_t frames, frame_bytes, encoded_chunks, read_bytes;
};
/* Under index_lock for reading: whether the destination has a copy of this chunk that is no delta; marks its pack as used. */
bool copy_base_there(struct copier *c, const uint8_t *id);
/* Moves what is needed of one pack: a task of the writer's pool, which owns its argument. */
struct copy_task {
    struct copier *c;
    size_t n;
    struct need needs[]; /* of one pack, sorted by frame and id */
};
void copy_pack(void *task);
void copy_failed(struct copier *c, const struct error *err);
void copy_bench_free(struct copy_bench *b);

#endif
