/* Shared by the files of the writer. */
#ifndef PK_REPO_WRITER_INTERNAL_H
#define PK_REPO_WRITER_INTERNAL_H

#include "base/time.h"
#include "crypto/parts.h"
#include "repo/gather.h"
#include "repo/maintain_internal.h"
#include "repo/repo_internal.h"

#define STRIPES 16
#define BLOCK_BYTES (1u << 20)
#define PAGE_CHUNK PART_BYTES
#define BLOCK_CHUNKS (BLOCK_BYTES / PAGE_CHUNK)
#define ORDER_WINDOW 4096u
#define ENTRIES_MAX (512u << 10) /* chunks of this session held in memory before they move into a run */
#define DATA_PACKS_OPEN 2

/* A frame in the making: chunks that are compressed together; or deltas, each of which becomes a frame. */
struct group {
    struct writer *w;
    uint8_t *plain;
    size_t len, cap;
    struct member *members;
    unsigned count, members_cap, bases_cap;
    enum chunk_kind kind;
    size_t page_bytes; /* of len, pages of a database */
    uint8_t (*bases)[ID_PREFIX_BYTES]; /* of deltas, as many as members */
    bool deltas;
    struct group *next; /* free list */
};

/* Deltas that follow each other are one task, since their bases follow each other in a frame, too: two threads with one
 * each would have one of them wait for the other to decode that. */
struct stripe {
    pthread_mutex_t lock;
    struct group *group, *long_text, *deltas; /* each with its neighbours */
};

/* What one sealing task needs; as many as tasks run at once. */
struct bench_seat {
    struct codec *codec;
    uint8_t *out, *back, *plain;
    size_t cap;
    struct bench_seat *next;
};

struct open_pack {
    struct pack_out *pack;
    unsigned pending; /* frames that are not sealed and verified yet */
    bool spoiled;     /* one of them failed: the pack must never be stored */
};

/* Ids stored by this session, 16 bytes each, open addressing; the all-zero prefix does not occur in practice and is never added. */
struct idset {
    uint8_t (*ids)[ID_PREFIX_BYTES];
    size_t slots, used;
};
bool idset_has(const struct idset *s, const uint8_t *id);
int idset_add(struct idset *s, const uint8_t *id, struct error *err) PK_CHECK;
void idset_free(struct idset *s);

/* A manifest with its lists, as kept in the local cache. */
struct memo;
struct memo_item {
    struct bytes name, attr;
    uint8_t kind;
    uint64_t bytes, ref_count;
    struct digest sha256;
    struct bytes refs;
};
/* NULL in *ret when there is none for that header. */
int memo_open(const struct repo *r, const char *path, const struct digest *snapshot, struct memo **ret, struct error *err) PK_CHECK;
bool memo_find(struct memo *m, struct bytes name, struct memo_item *ret); /* in any order; walks one manifest chunk at most. The name is borrowed until the next call, the rest until free. */
bool memo_list(const struct memo *m, const struct digest *id, struct bytes *ret);
void memo_free(struct memo *m);
struct memo_writer;
int memo_writer_open(const char *path, const struct digest *snapshot, struct memo_writer **ret, struct error *err) PK_CHECK;
int memo_put(struct memo_writer *m, enum chunk_kind kind, const struct digest *id, struct bytes body, struct error *err) PK_CHECK;
int memo_flush(struct memo_writer *m, struct error *err) PK_CHECK;
int memo_rename(struct memo_writer *m, const char *path, struct error *err) PK_CHECK;
/* Name it finally, for `snapshot`. */
int memo_finish(struct memo_writer *m, const char *path, const struct digest *snapshot, struct error *err) PK_CHECK;
void memo_writer_free(struct memo_writer *m); /* leaves an unfinished file where it is: it serves resuming */
void memo_path(const struct repo *r, const char *environment, const char *surface, const char *what, char out[4200]);
int memo_rebuild(struct repo *r, const struct snapshot_info *info, const char *path, struct error *err) PK_CHECK;

/* The former self of an item that is written anew: where its delta bases are. */
struct former {
    struct bytes name; /* owned with the block */
    uint8_t kind;
    uint32_t count;
    struct digest *ids;
    uint64_t *ends;    /* offset of each chunk's end */
    uint32_t *lens;
    uint64_t *anchors;
    uint32_t *by_start, *by_end; /* hash tables of 1-based chunk numbers, slots a power of two */
    uint32_t slots;
    uint64_t moved;    /* added to a place now gives the place then, modulo 2^64 */
    uint32_t guesses;  /* pieces since an anchor last told it */
};
void former_free(struct former *f);
/* Where to cut a chunk of len bytes at `at`, and the base of the first piece (untouched when it has none): len if it is best
 * left whole. Ask again for the rest. end_anchor 0: never cut. Calls go from the start of an item to its end. */
size_t former_piece(struct former *f, uint64_t at, size_t len, uint64_t start_anchor, uint64_t end_anchor, const struct digest **ret_base);
int former_make(struct writer *w, const struct memo_item *m, struct former **ret, struct error *err) PK_CHECK;
/* The same, if a delta may be used at all; *ret stays as it is when not. */
void former_hold(struct writer *w, const struct memo_item *m, struct former **ret);
/* Whether all chunks are in it: those of a very long item are not, and cannot be read. */
bool former_whole(const struct former *f);
/* n bytes of the content as it was, from `at` on; holes, and what lies behind its end, as zeros. Of one that is whole. */
int former_read(const struct former *f, struct fetcher *from, uint64_t at, uint8_t *out, size_t n, struct error *err) PK_CHECK;
/* What the previous snapshot (no interrupted run) has of that name, for reading: an owned copy without attributes, and its
 * chunks. Both stay NULL when there is nothing that can be read. */
int known_again(struct writer *w, struct bytes name, struct memo_item **ret, struct former **ret_was, struct error *err) PK_CHECK;
/* What writer_known just found of that name, once; NULL when it found nothing. Stays as it is until this thread asks again. */
const struct memo_item *known_take(struct writer *w, struct bytes name);
void lists_copy(struct writer *w, const struct memo_item *m);

struct done_item { /* waits for its turn in the manifest */
    bool done, dropped;
    struct buf name, body;
};

struct writer {
    struct repo *repo;
    struct session session;
    unsigned threads;
    int level;
    size_t group_max, group_long;
    bool delta;
    uint64_t checkpoint_bytes;
    int64_t started_ns;                /* time_monotonic_ns */
    atomic_int_fast64_t checkpoint_ns; /* when the last one was begun */
    char environment[128], surface[192];
    struct pool *pool;
    struct fetcher *fetcher; /* delta bases; NULL without the read key */

    pthread_rwlock_t index_lock; /* repo->index and used[] shape */
    uint8_t **used;              /* a byte a pack, for each run of the index; set atomically, under the lock for reading */
    size_t used_count, used_cap;
    uint64_t opened_at;          /* log size when the index was read */

    pthread_mutex_t set_lock;
    struct idset set;

    struct stripe stripes[STRIPES];
    pthread_mutex_t free_lock;
    struct group *free_groups[2]; /* of group_max and of group_long */
    struct bench_seat *seats;
    uint8_t *free_blocks[32];
    unsigned free_block_count;

    pthread_mutex_t pack_lock;
    pthread_cond_t pack_cond;
    struct open_pack *data[DATA_PACKS_OPEN], *meta;
    unsigned elder; /* of data. Seven eighths of what is moved go there, so that one is stored while the other fills */

    pthread_mutex_t done_lock; /* finished packs and their entries */
    struct run_entry *entries;
    size_t entry_count, entry_cap;
    uint8_t *packs; /* RUN_PACK_BYTES each: of the run being collected */
    uint32_t pack_count;
    size_t pack_cap;
    struct digest *own_packs; /* of a bare writer, all; another's are those of own_runs */
    size_t own_count, own_cap;
    struct digest *own_runs;
    size_t run_count, run_cap;
    char (*sess_keys)[96];
    size_t sess_count, sess_cap;

    pthread_mutex_t order_lock;
    pthread_cond_t order_cond;
    struct done_item *window;
    uint64_t next_seq;
    bool ordered;          /* an item came by number; then none may come without */
    struct gather *gather; /* of items that came without; NULL before the first */
    uint64_t unfinished;   /* of those */
    struct buf manifest, last_name, root_chunks;
    uint32_t manifest_items;
    struct buf first_name;
    uint32_t root_count;

    struct memo *prev, *part;
    struct memo_item known;
    struct buf known_name; /* of it */
    bool known_valid;
    pthread_mutex_t former_lock;
    struct former *formers[64];
    unsigned former_next;
    pthread_mutex_t memo_lock;
    struct memo_writer *memo; /* NULL without a cache, or after it failed */
    pthread_mutex_t checkpoint_lock; /* held by the thread that makes one */

    pthread_mutex_t fail_lock;
    struct error failed;
    atomic_bool has_failed;

    struct digest *root_ids;
    size_t root_id_count;
    struct digest packlist;
    uint64_t packlist_bytes;
    struct digests list_parts;                /* of packlist */
    struct digests merged_runs, removed_runs; /* made of others, and what they are made of */
    bool has_kept; /* a copied snapshot: the object that keeps its source's receipt */
    struct digest kept;
    bool finished;
    bool moving; /* repacking: what the index knows is stored anew */

    atomic_uint_fast64_t items, bytes, new_chunks, new_bytes, dup_bytes, kept_bytes, delta_chunks, delta_bytes, delta_stored,
        stored_bytes, pack_total, since_checkpoint;
    atomic_bool run_due; /* ENTRIES_MAX is reached */
};

/* How far apart resume points are when that goes by time: a sixteenth of what the run has taken, within these. */
#define CHECKPOINT_MIN_NS (30 * NS_PER_S)
#define CHECKPOINT_MAX_NS (15 * 60 * NS_PER_S)
bool writer_checkpoint_due(const struct writer *w);

int writer_fail(struct writer *w, const struct error *err); /* latch; answers the code */
int writer_alive(struct writer *w, struct error *err) PK_CHECK;

/* Store a chunk unless it is known. `sha` is the SHA-256 of data. base (may be NULL): the full id of its former self. */
int chunk_put(struct writer *w, enum chunk_kind kind, struct bytes data, const struct digest *sha, const struct digest *base, struct digest *ret_id, struct error *err) PK_CHECK;
/* Data of which more is known: pages of a database, or a part of something long, which is read in order, so that more
 * of it, where it is text, is compressed together. */
enum chunk_part { PART_ANY, PART_PAGES, PART_LONG };
int chunk_put_part(struct writer *w, enum chunk_part part, struct bytes data, const struct digest *sha,
                   const struct digest *base, struct digest *ret_id, struct error *err) PK_CHECK;
/* PART_PAGES for a whole block of pages, which may be exchanged for another: what is all new, and all deltas or none,
 * is stored as it lies there, without being copied first. */
struct page_chunk {
    struct digest sha;
    const struct digest *base; /* may be NULL */
    struct digest id;          /* this is answered */
};
int chunk_put_block(struct writer *w, uint8_t **block, struct page_chunk c[BLOCK_CHUNKS], struct error *err) PK_CHECK;
/* Mark the packs of a chunk that is kept; false when it is not in the index. */
bool chunk_use(struct writer *w, const uint8_t *id);
/* The same for a copy that is no delta. Under index_lock. */
bool base_use(struct writer *w, const uint8_t *id);
/* Store a frame whose payload is encoded already: `f` as it is in another pack. What is stored is opened
 * into `back` (as long as the payload) and compared. Any thread. */
int frame_put(struct writer *w, const struct frame *f, const struct member *members, struct bytes payload, uint8_t *back, struct error *err) PK_CHECK;
/* Stores a frame of another pack of this repository, no delta, as it is: `sealed` is opened in its place and, with
 * `prove`, decoded and held against the ids of its chunks, as what takes the place of other copies must be; then
 * `claim` may still say no. *ret_moved: it was, or is being, stored. ERR_OBJECT_CORRUPT: it is not what it should be,
 * and nothing was stored. Any thread. */
typedef int (*frame_claim_cb)(void *ctx, const struct frame *f, bool *ret, struct error *err);
int frame_carry(struct writer *w, struct pack_in *in, uint32_t ordinal, uint8_t *sealed, bool prove,
                frame_claim_cb claim, void *ctx, bool *ret_moved, struct error *err) PK_CHECK;
int groups_flush(struct writer *w, struct error *err) PK_CHECK; /* submits what is gathered; does not wait */
/* Between packs and what names them, which is not looked for before the log names it: where a request takes long they
 * are stored at once, and the barrier before the entry of the log is for both. */
int packs_barrier(struct repo *r, struct error *err) PK_CHECK;
int packs_close(struct writer *w, struct error *err) PK_CHECK;  /* finish the open packs */
void groups_free(struct writer *w);
uint8_t *block_take(struct writer *w);
void block_give(struct writer *w, uint8_t *b);

/* Waits for the turn of a number; of WRITER_ANY_ORDER every one is it. */
int order_wait(struct writer *w, uint64_t seq, struct error *err) PK_CHECK;
/* Hand in a finished item; takes name and body over. */
int order_done(struct writer *w, uint64_t seq, struct buf name, struct buf body, bool dropped, struct error *err) PK_CHECK;
/* Items that came without a number, and the last manifest chunk. */
int order_finish(struct writer *w, struct error *err) PK_CHECK;
int meta_put(struct writer *w, enum chunk_kind kind, struct bytes body, struct digest *ret_id, struct error *err) PK_CHECK;
struct former *former_take(struct writer *w, struct bytes name); /* NULL: none */
/* The same for a name that was not asked about. */
struct former *former_find(struct writer *w, struct bytes name);
void known_close(struct writer *w);
/* Note a body in the memory of this snapshot. It only saves time, so when that fails the run goes on without it. */
void memory_put(struct writer *w, enum chunk_kind kind, const struct digest *id, struct bytes body);
/* A writer without the memory of a surface, for repacking: only chunk_put and what follows it. */
int writer_open_bare(struct repo *r, const struct writer_options *o, struct writer **ret, struct error *err) PK_CHECK;
/* A writer for a snapshot that is copied, for frame_put and chunk_put: it resumes, and has no memory of a surface. */
int writer_open_copy(struct repo *r, const struct writer_options *o, struct writer **ret, struct error *err) PK_CHECK;
/* writer_finish for a snapshot whose root is stored already. `kept` is staged. */
int writer_finish_copy(struct writer *w, const struct snapshot_info *source, const struct digest *kept, struct error *err) PK_CHECK;
int run_flush(struct writer *w, struct error *err) PK_CHECK; /* entries so far into a run object (staged) */

#endif
