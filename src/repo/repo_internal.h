/* Shared inside src/repo only. */
#ifndef PK_REPO_INTERNAL_H
#define PK_REPO_INTERNAL_H

#include "base/seam.h"
#include "base/thread.h"
#include "base/time.h"
#include "crypto/epoch.h"
#include "repo/codec.h"
#include "repo/cut.h"
#include "repo/repo.h"
#include "repo/set.h"
#include "repo/wal_object.h"
#include "repo/writer.h"
#include <stdatomic.h>

#define FORMAT_VERSION 1
#define FEATURE_SHARED_CONTENT "shared-content-keys" /* of those that must be known to read */
#define ID_PREFIX_BYTES 16
#define GROUP_PLAIN_MAX (1024u * 1024u) /* neighbours are compressed together up to this (a quarter of a smaller pack) */
/* And text of something long up to this; with more than two threads less. Besides the groups that threads work on there
 * are as many waiting, one being filled by each reader, and three times their size in buffers of each thread. */
#define GROUP_LONG_MAX (4096u * 1024u)
#define GROUP_LONG_ALL (2 * GROUP_LONG_MAX)
#define CHUNK_PLAIN_MAX (8u << 20)      /* no frame's plain bytes exceed this */
#define ROOT_PIECE_MAX (512u << 10)
#define ROOT_KEPT_PIECES 2 /* of a root that stays in memory */
#define READ_BODIES 16
#define READ_BODY_MAX (64u << 10)
#define SEALED_KEY_BYTES (KEY_BYTES + SEAL_OVERHEAD_BYTES)

enum chunk_kind { CHUNK_DATA = 1, CHUNK_MANIFEST = 2, CHUNK_LIST = 3, CHUNK_ROOT = 4 };
static inline bool chunk_is_meta(enum chunk_kind k) { return k != CHUNK_DATA; }

/* ---- state: the fold of the log ---- */
struct delete_info {
    uint64_t seq;
    struct digest packs; /* pack list of what was removed */
    bool has_packs;
    struct digest replaced_by; /* pack list of what took its place */
    bool has_replacement;
    struct digest swept; /* the same kind of list, of index objects removed */
    bool has_swept;
};
struct epoch_info {
    uint64_t seq;        /* the entry that began it */
    struct digest keys;  /* the object that holds its keys: epoch.c */
};
struct state {
    struct snapshot_info *snapshots;
    size_t snapshot_count, snapshot_cap;
    struct job_info *jobs;
    size_t job_count, job_cap;
    struct key_info *keys;
    size_t key_count, key_cap;
    struct hold_info *holds;
    size_t hold_count, hold_cap;
    struct digest *runs; /* live index runs */
    size_t run_count, run_cap;
    struct delete_info *deletes;
    size_t delete_count, delete_cap;
    struct epoch_info *epochs; /* epoch n is [n - 1] */
    size_t epoch_count, epoch_cap;
    struct drill_info drill; /* seq 0: none */
    struct copy_info *copies;
    size_t copy_count, copy_cap;
    struct wal_batch *wal; /* wal_log.c */
    size_t wal_count, wal_cap;
    struct wal_first *wal_first; /* wal_gone.c; one for each timeline of a cluster */
    size_t wal_first_count, wal_first_cap;
    struct wal_ack *wal_acks; /* wal_ack.c */
    size_t wal_ack_count, wal_ack_cap;
    struct set_info *sets; /* set_log.c */
    size_t set_count, set_cap;
    struct digest format; /* of the object 'format', by entry 0 */
    bool initialised;
    size_t void_count;  /* entries that count for nothing: see state.c */
    uint64_t void_seq;  /* the newest of them */
    char void_text[256]; /* why the newest of them does */
    bool read_void;      /* read/v1 is among them: see STATE_VERSION_READ */
};
/* Whether our own key may sign such an entry: asked before it is built, as a refusal afterwards comes too late. */
int state_may(const struct repo *r, const char *type, struct error *err) PK_CHECK;
/* The judge of the log (ledger_judge): ctx is the struct repo that folds it. */
int state_judge(void *ctx, const struct ledger_entry *e, struct error *err) PK_CHECK;
void state_free(struct state *s);
/* The receipt at that place of the log; NULL: there is none. Snapshots are in log order. */
struct snapshot_info *state_snapshot_at(const struct state *s, uint64_t seq);
int judge_wal(struct state *s, const struct ledger_entry *e, const json_t *p, enum key_role role, struct error *err) PK_CHECK; /* wal_log.c */
int judge_wal_ack(struct state *s, const struct ledger_entry *e, const json_t *p, struct error *err) PK_CHECK; /* wal_ack.c */
/* wal_log_mended by a state that another handle folded; `r` reads the log. */
int state_wal_mended(struct repo *r, const struct state *st, struct wal_mended **ret, size_t *ret_n, struct error *err) PK_CHECK;
/* wal_harm (wal_object.h) by a state and a store. */
void state_wal_harm(struct store *store, const struct state *st, const char *environment, const char *surface, const char *key, int64_t about_ns,
                    char out[WAL_HARM_BYTES]);
bool wal_place_parse(const char *text, uint64_t *ret); /* "16/B374D848" */
int judge_wal_gone(struct state *s, const struct ledger_entry *e, const json_t *p, struct error *err) PK_CHECK; /* wal_gone.c */
int judge_set(struct state *s, const struct ledger_entry *e, const json_t *p,
              struct error *err) PK_CHECK; /* set_log.c */
int judge_set_restore(struct state *s, const struct ledger_entry *e, const json_t *p, struct error *err) PK_CHECK;
void state_sets_free(struct state *s);
bool state_wal_gone(const struct state *s, const char *key);
/* Whether a live run is none: the keys of an epoch lie among them. */
bool state_epoch_object(const struct state *s, const struct digest *run);

/* ---- index ---- */
#define RUN_ENTRY_BYTES 32
#define RUN_PACK_BYTES 40 /* name, u64 size with the top bit set for metadata packs */
#define RUN_PACK_META (UINT64_C(1) << 63)
#define RUN_ENTRIES_MAX (1u << 20)
#define ENTRY_DELTA 1u /* the next entry has the same id and ENTRY_BASE */
#define ENTRY_BASE 2u  /* bytes 16..31 are the base's id prefix; told apart by coming second */
#define ENTRY_KIND_SHIFT 8

struct run; /* one sorted run: run_image.h */
struct run_view { /* while it is scanned */
    const uint8_t *packs;
    uint32_t pack_count;
    const uint8_t *entries;
    uint64_t entry_count;
    void *map; /* what index_scan_end gives back; NULL for a run in memory */
    size_t map_len;
};
struct location {
    size_t run;            /* position in the index */
    uint64_t entry;        /* position in the run */
    uint32_t pack, frame;  /* ordinals */
    uint32_t plain_len;
    enum chunk_kind kind;
    bool delta;
    uint8_t base[ID_PREFIX_BYTES]; /* when delta */
};
struct index {
    struct run **runs;
    struct digest *names;
    size_t count, cap;
    struct repo *repo;
};
int index_add(struct repo *r, struct index *x, const struct digest *name, struct error *err) PK_CHECK; /* loads; no-op when there */
int index_follow(struct repo *r, struct index *x, struct error *err) PK_CHECK; /* exactly the state's live runs */
void index_drop(struct repo *r, struct index *x, size_t i, bool forget); /* forget: remove the cached copy too */
/* A chunk may have several copies, as two writers may store it at once; a snapshot's pack list names the packs of one. So
 * every copy of a live chunk is live, and a copy that needs no base is preferred. */
struct copies { size_t runs_done; uint64_t next; }; /* zero to begin */
bool index_copy(const struct index *x, const uint8_t *id, struct copies *at, struct location *ret); /* the next one */
bool index_find(const struct index *x, const uint8_t *id, struct location *ret); /* the best one */
bool index_find_plain(const struct index *x, const uint8_t *id, struct location *ret); /* one that is no delta: a base */
/* false when the run is lost (see repo_index_whole). */
bool index_pack(const struct index *x, const struct location *l, struct digest *ret_name, uint64_t *ret_bytes, bool *ret_meta);
/* Whether this handle read the run's object, all of it, and not a local copy. */
bool index_read_whole(const struct index *x, const struct digest *name);
uint32_t index_pack_count(const struct index *x, size_t run);
uint64_t index_entry_count(const struct index *x, size_t run);
/* All packs of a run, and all its entries if wanted, in order. End it before the next run's, so that memory holds one at a
 * time. One thread, or under the lock that guards the index. */
int index_scan(const struct index *x, size_t run, bool entries, struct run_view *ret, struct error *err) PK_CHECK;
void index_scan_end(struct run_view *v);
void index_free(struct index *x);

/* Build and stage one run object from entries (any order; sorted in place). Entries' pack ordinals index `packs`. */
struct run_entry {
    uint8_t id[ID_PREFIX_BYTES];
    uint32_t pack, frame, plain_len, flags;
    uint8_t base[ID_PREFIX_BYTES];
};
int run_write(struct repo *r, struct run_entry *entries, size_t n, const uint8_t *packs, uint32_t pack_count, struct digest *ret, struct error *err) PK_CHECK;
/* Sorted list of pack names as an object under index/. */
int packlist_write(struct repo *r, struct digest *names, size_t n, struct digest *ret, uint64_t *ret_bytes, struct error *err) PK_CHECK;
/* The envelope of a copied snapshot's receipt, as a sealed object under index/. Staged. */
int kept_write(struct repo *r, struct bytes envelope, struct digest *ret, struct error *err) PK_CHECK;
int kept_read(struct repo *r, const struct digest *name, struct buf *ret, struct error *err) PK_CHECK;
int packlist_read(struct repo *r, const struct digest *name, struct digest **ret, size_t *ret_n, struct error *err) PK_CHECK;
int digest_order(const void *a, const void *b);
bool digest_in(const struct digest *sorted, size_t n, const struct digest *d);
size_t digest_sort_unique(struct digest *d, size_t n);

/* ---- packs ---- */
#define PACK_HEADER_BYTES 256
#define PACK_FOOTER_BYTES 64
#define PACK_BYTES_MAX (256u << 20)
#define DATA_PACK_BYTES (16u << 20)     /* the usual size of a full pack */
#define DATA_PACK_BYTES_FAR (24u << 20) /* in a store where each request costs */
#define PACK_EPOCH_AT 12 /* u16 of the header: the epoch of its chunks' ids */
#define PACK_DIR_MAGIC "PKDIR01\n"

struct session { /* a writer's session key, as packs carry it */
    uint8_t id[16];
    struct secret *key;
    uint8_t sealed[SEALED_KEY_BYTES];
    unsigned epoch; /* of the ids in its packs */
};
int session_new(struct repo *r, struct session *ret, struct error *err) PK_CHECK;
void session_clear(struct session *s);

struct member {
    struct digest id;
    uint32_t len;
};
struct frame { /* one record of a pack's directory */
    uint64_t at; /* offset of the sealed bytes */
    uint32_t stored_len, plain_len;
    uint8_t codec, kind;
    uint16_t member_count;
    struct digest base; /* CODEC_ZSTD_DELTA */
    struct bytes record; /* borrowed: the associated data */
    const uint8_t *members; /* member_count times 36 bytes */
};
struct member frame_member(const struct frame *f, unsigned i);
/* Append a directory record. */
int frame_record(struct buf *b, uint32_t stored_len, uint32_t plain_len, enum codec_kind codec, enum chunk_kind kind, const struct digest *base, const struct member *m, unsigned n, struct error *err) PK_CHECK;

/* The AEAD of one part of a pack: nonce from its ordinal, associated data from header, ordinal and directory record. */
int pack_aead(enum cipher cipher, const uint8_t key[KEY_BYTES], const uint8_t header[PACK_HEADER_BYTES], uint32_t ordinal, struct bytes record, struct aead **ret, uint8_t nonce[AEAD_NONCE_BYTES], struct buf *aad, struct error *err) PK_CHECK;

struct pack_out; /* a pack being filled, in memory */
int pack_out_new(struct repo *r, const struct session *s, bool meta, struct pack_out **ret, struct error *err) PK_CHECK;
/* Whether a frame of that size fits. */
bool pack_out_fits(const struct pack_out *p, size_t stored_len, unsigned members);
bool pack_out_empty(const struct pack_out *p);
bool pack_out_is_meta(const struct pack_out *p);
/* Reserve room: the caller holds the lock that guards p, then seals without it. */
struct pack_slot {
    struct pack_out *pack;
    uint32_t ordinal;
    uint64_t at;
    size_t record_at, record_len;
};
int pack_out_reserve(struct pack_out *p, uint32_t payload_len, uint32_t plain_len, enum codec_kind codec, enum chunk_kind kind, const struct digest *base, const struct member *m, unsigned n, struct pack_slot *ret, struct error *err) PK_CHECK;
/* Seal payload into the slot, open it again from the pack's bytes into `back` (payload_len bytes) for comparison. `record` is
 * a copy of the slot's record, taken under the lock. */
int pack_out_seal(const struct pack_slot *s, struct bytes record, struct bytes payload, uint8_t *back, struct error *err) PK_CHECK;
struct bytes pack_out_record(const struct pack_slot *s);
/* Directory, padding, footer, name; staged in the store, to which its bytes are given. After it only pack_out_entries,
 * _empty, _is_meta and _free. */
int pack_out_finish(struct repo *r, struct pack_out *p, struct digest *ret_name, uint64_t *ret_bytes, struct error *err) PK_CHECK;
int pack_out_entries(struct pack_out *p, uint32_t pack_ordinal, struct run_entry **entries, size_t *n, size_t *cap, struct error *err) PK_CHECK;
void pack_out_free(struct pack_out *p);
void pack_key(bool meta, const struct digest *name, char out[96]); /* object key */
uint64_t padme(uint64_t len);

struct pack_in; /* a pack's directory, read and opened */
int pack_in_open(struct repo *r, bool meta, const struct digest *name, struct pack_in **ret, struct error *err) PK_CHECK;
/* From its header alone. */
int pack_epoch(struct repo *r, bool meta, const struct digest *name, unsigned *ret, struct error *err) PK_CHECK;
/* The same from `whole` when that has bytes, which are borrowed for the call; else `bytes` (0: not known) is the object's size by
 * the index, which spares asking for it where that costs a request. */
int pack_in_open_from(struct repo *r, bool meta, const struct digest *name, uint64_t bytes, struct bytes whole, struct pack_in **ret, struct error *err) PK_CHECK;
uint32_t pack_in_frames(const struct pack_in *p);
const struct frame *pack_in_frame(const struct pack_in *p, uint32_t ordinal); /* NULL when out of range */
/* A frame's sealed bytes (frame->stored_len of them) as they are stored; or as the pack's parity mends them, false when it
 * cannot. */
int pack_in_sealed(struct repo *r, struct pack_in *p, uint32_t ordinal, uint8_t *out, struct error *err) PK_CHECK;
bool pack_in_sealed_mended(struct repo *r, struct pack_in *p, uint32_t ordinal, uint8_t *out);
/* Open one frame's payload from `sealed` (frame->stored_len bytes) into out (stored_len - 16). */
int pack_in_unseal(struct pack_in *p, uint32_t ordinal, const uint8_t *sealed, uint8_t *out, struct error *err) PK_CHECK;
const char *pack_in_key(const struct pack_in *p);
unsigned pack_in_epoch(const struct pack_in *p);
void pack_in_free(struct pack_in *p);

/* ---- chunks ---- */
/* By the id key of an epoch, as repo_id_key gives it. */
void chunk_id(struct bytes id_key, enum chunk_kind kind, const struct digest *sha, struct digest *ret);
/* By the id key of the epoch in force, or of one before it: what was stored then has its id from then. */
bool chunk_id_holds(const struct repo *r, enum chunk_kind kind, const struct digest *sha, const uint8_t *id);

/* Fetching decoded chunks through caches. Thread-safe. */
struct fetcher;
/* `lock` (may be NULL) guards the index against growth. */
int fetcher_new(struct repo *r, const struct index *x, pthread_rwlock_t *lock, size_t cache_bytes, struct fetcher **ret, struct error *err) PK_CHECK;
void fetcher_free(struct fetcher *f);
struct fetched { /* a decoded frame, held */
    struct bytes data;      /* the chunk's plain bytes */
    struct digest id, sha;
    void *hold;
    struct fetcher *from; /* whom it is released to; moving.c's, else NULL */
};
/* By the first 16 bytes of its id; `full` may be NULL (else all 32 must match). Release when done. */
int fetch_chunk(struct fetcher *f, const uint8_t *id_prefix, const struct digest *full, enum chunk_kind kind, struct fetched *ret, struct error *err) PK_CHECK;
/* Decodes the frame with a chunk of data into the cache, unchecked, unless it is there or on its way: then 0 bytes. */
int fetch_ahead(struct fetcher *f, const struct digest *id, size_t *ret_bytes, struct error *err) PK_CHECK;
enum check_of {
    CHECK_NONE,  /* the stream's digest is what tells whether the chunk is right; its sha is not told */
    CHECK_CHUNK, /* it is checked on its way out, in one pass with the stream's digest when there is one */
    CHECK_APART, /* the same, and no more of its frame is decoded than that takes */
    CHECK_FRAME, /* its frame's other chunks with it, side by side, for less than each costs: they are wanted too */
};
/* The same as fetch_chunk, and `*stream`, unless it is NULL, absorbs the chunk when it is had. */
int fetch_chunk_into(struct fetcher *f, const uint8_t *id_prefix, const struct digest *full, enum chunk_kind kind,
                     struct sha256_state **stream, enum check_of proof, struct fetched *ret,
                     struct error *err) PK_CHECK;
/* The base of a delta: a copy of it that is none itself. */
int fetch_base(struct fetcher *f, const uint8_t *id_prefix, const struct digest *full, struct fetched *ret,
               struct error *err) PK_CHECK;
void fetch_release(struct fetcher *f, struct fetched *c);
/* That chunk will be asked for, and what belongs to it (a delta's base): where reads cost a request, what is told before comes
 * in few of them. */
void fetch_expect(struct fetcher *f, const struct digest *id);
void fetch_expect_at(struct fetcher *f, const struct location *at);
bool fetch_knows(const struct fetcher *f, const uint8_t *id_prefix); /* whether the index does */
/* The packs that fetching a chunk may take, as far as the index knows any; one may be told of more than once. */
int fetch_packs(struct fetcher *f, const uint8_t *id_prefix,
                int (*cb)(void *ctx, const struct digest *pack, uint64_t bytes, struct error *err), void *ctx,
                struct error *err) PK_CHECK;
void fetch_reader(struct fetcher *f); /* of a snapshot, in order: has more room for what is ahead */
void fetch_forget(struct fetcher *f); /* nothing that was told of is expected any more */
void fetch_rooms(struct fetcher *f, struct repo *r); /* shares r's, which outlives it; before anything is fetched */
size_t fetch_sealed_max(const struct fetcher *f);    /* of what it reads ahead; 0: nothing is */
void fetch_drop(struct fetcher *f);                  /* fetch_forget, and nothing that nobody holds is kept any more */
void fetch_narrow(struct fetcher *f); /* another one reads ahead beside it: it gets no more room than it needs */
/* Packs of which one frame in `share` is expected come whole; half to begin with. Before anything is expected. */
void fetch_share(struct fetcher *f, unsigned share);
/* A pack's directory, held until it is let go; `at` is a chunk in that pack. */
/* A whole metadata pack that is at hand and will be asked for. True: its bytes, which seam_free frees, are the fetcher's now; they
 * are believed as little as what the store gives. */
bool fetch_offer(struct fetcher *f, const struct digest *pack, struct bytes whole);
int fetch_dir(struct fetcher *f, const struct location *at, const struct pack_in **ret, void **ret_hold, struct error *err) PK_CHECK;
void fetch_dir_release(struct fetcher *f, void *hold);
/* The sealed bytes of a frame: what came ahead, else asked for. `at` is the frame's place, or NULL when that is not
 * known. They are believed by nobody yet. */
int fetch_sealed(struct fetcher *f, const struct location *at, struct pack_in *in, uint32_t ordinal, uint8_t *out,
                 struct error *err) PK_CHECK;

/* ---- one frame (frame_read.c) ---- */
/* Its payload, opened, in the codec's room. `sealed_in` is what is known of it already; none: it is read. */
int frame_payload(struct repo *r, struct pack_in *in, uint32_t ordinal, struct codec *codec, struct bytes sealed_in,
                  struct bytes *ret, struct error *err) PK_CHECK;
/* Opens and decodes it; plain has plain_len bytes. With `prove` its chunks are held against their ids, and their SHA-256s
 * told when shas is not NULL. What was put over a pack is seen past when it does not decode. */
int frame_read(struct repo *r, struct pack_in *in, uint32_t ordinal, struct codec *codec, struct bytes sealed_in,
                 struct bytes base, bool prove, uint8_t *plain, struct digest *shas, struct error *err) PK_CHECK;
/* Decode an opened frame's payload and check every member against its id. Otherwise as frame_open. */
int frame_verify(struct repo *r, struct pack_in *in, uint32_t ordinal, struct codec *codec, struct bytes payload,
                 struct bytes base, uint8_t *plain, struct error *err) PK_CHECK;
/* Open and decode one frame, without holding its chunks against their ids. plain has plain_len bytes. */
int frame_open(struct repo *r, struct pack_in *in, uint32_t ordinal, struct codec *codec, struct bytes sealed_in,
               struct bytes base, uint8_t *plain, struct error *err) PK_CHECK;
/* Which of n decoded frames of a pack have in them what the ids of their chunks say; many at once cost less each. */
int frames_hold(struct repo *r, struct pack_in *in, const uint32_t *ordinals, uint8_t *const *plain, unsigned n,
                bool *ret_good, struct error *err) PK_CHECK;

/* ---- manifests ---- */
enum ref_type { REF_CHUNK = 0, REF_HOLE = 1, REF_LIST = 2, REF_ANCHORED = 3 }; /* 3: on disk only, a chunk with an anchor */
struct ref {
    enum ref_type type;
    uint64_t len;       /* of the bytes covered */
    struct digest id;   /* REF_CHUNK, REF_LIST */
    uint64_t anchor;    /* REF_CHUNK: hash of the 64 bytes before its end, 0 without */
};
int ref_append(struct buf *b, const struct ref *ref, struct error *err) PK_CHECK;
bool ref_take(struct cursor *c, struct ref *ret); /* false at the end or when bad */
struct manifest_item { /* a parsed record; borrows from the manifest chunk, name from the parser */
    struct bytes name, attr;
    uint8_t kind;
    uint64_t bytes;
    struct digest sha256;
    uint64_t ref_count;
    struct bytes refs;
};
struct manifest_parser {
    struct cursor c;
    struct buf name;
};
void manifest_parser_init(struct manifest_parser *p, struct bytes chunk);
int manifest_next(struct manifest_parser *p, struct manifest_item *ret, bool *ret_end, struct error *err) PK_CHECK;
void manifest_parser_free(struct manifest_parser *p);
/* The part of a record after the name: encoded when the item closes, prefixed with its name when its turn comes. */
int manifest_body(struct buf *b, enum content_kind kind, struct bytes attr, uint64_t bytes, const struct digest *sha, uint64_t ref_count, struct bytes refs, struct error *err) PK_CHECK;

struct root_chunk {
    struct digest id;
    uint32_t plain_len;
    uint64_t first_ordinal;
    uint32_t items;
    struct bytes first_name;
};
struct root_doc {
    json_t *facts;
    uint64_t items, bytes;
    struct root_chunk *chunks;
    size_t chunk_count;
    struct buf raw; /* owns first names */
};
int root_parse(struct buf raw /* taken over */, struct root_doc *ret, struct error *err) PK_CHECK;
/* Fetch and parse a snapshot's root from its pieces. */
int root_read(struct fetcher *f, const struct snapshot_info *info, struct root_doc *ret, struct error *err) PK_CHECK;
void root_free(struct root_doc *d);

/* ---- the repository ---- */
#define OWN_RUNS 3
struct session_key { uint8_t id[16]; struct secret *key; };
/* What may lie in an archive: data is read by restores and checks only. */
#define PACKS_COLD "packs/d/"

/* Bytes that all readers of a handle keep, with its alternates. max 0: each has its own bounds alone. */
struct room {
    atomic_size_t used, max;
};
static inline void room_raise(struct room *r, size_t max) {
    for (size_t was = r->max; was < max && !atomic_compare_exchange_weak(&r->max, &was, max);) continue;
}
static inline bool room_has(const struct room *r, size_t n) {
    return !r->max || r->used + n <= r->max;
}
/* Nobody sees more taken than there is, not for a moment. */
static inline bool room_take(struct room *r, size_t n) {
    size_t used = r->used;
    do {
        if (r->max && used + n > r->max) return false;
    } while (!atomic_compare_exchange_weak(&r->used, &used, used + n));
    return true;
}

struct repo {
    struct store *store;
    struct keyring *keys;
    uint8_t id[16];
    char id_hex[33];
    enum cipher cipher;
    uint32_t data_pack_bytes, meta_pack_bytes;
    unsigned parity_percent; /* of packs that this handle writes */
    char slot[96];   /* the object that opened it; empty when its keys are another handle's */
    bool slot_hidden; /* it lies under a delete marker */
    bool slot_read;   /* from the store, by this handle */
    char (*slots)[96]; /* object keys, as they were listed when it was opened */
    size_t slot_count;
    bool slot_lost; /* it came with the unlock: the store does not have it */
    char *cache_dir; /* of this repository, NULL without */
    struct ledger *ledger;
    struct ledger_start start;
    uint64_t summed_up; /* by a summary that this handle made or found */
    struct state state;
    struct index index;
    struct cutter cutter;
    unsigned epoch, own_epoch; /* the newest whose keys are here, which what is written belongs to; that of `keys` */
    bool epochs_known;
    struct epoch_keys epochs[EPOCHS_MAX + 1]; /* of those that `keys` does not hold; entries stay once they are there */
    bool latched;
    size_t part_names; /* of pack lists; 0: PART_NAMES */
    bool index_behind; /* the runs that the log names could not all be loaded */
    bool no_index;     /* opened by repo_open_log */
    bool mending;      /* opened by repo_open_damaged: runs that are lost are left out of the index */
    struct session_key *sessions;
    size_t session_count, session_cap;
    pthread_mutex_t lock; /* sessions */
    int64_t log_time_ns;
    struct mended {
        pthread_mutex_t lock;
        struct digest name;
        bool known;     /* name was tried */
        uint8_t *bytes; /* NULL: it cannot be mended */
        size_t len;
    } mended;
    struct { /* the snapshot root that was read last (moving.c); under the lock */
        struct digest ids[ROOT_KEPT_PIECES];
        size_t count; /* 0: none */
        struct buf raw;
    } root;
    struct { /* a whole metadata pack that a reader had, for the next one (ahead.c); under the lock */
        struct digest pack;
        uint8_t *bytes; /* NULL: none */
        size_t len;
    } left;
    struct { /* index objects that were read, when they are small: content under its name does not change; under the lock */
        struct digest name;
        uint8_t type;
        uint64_t entries;
        uint32_t packs;
        uint8_t *body; /* NULL: nothing */
        size_t len;
    } read_bodies[READ_BODIES];
    unsigned read_next;
    uint64_t published;          /* entries of the log that this handle has seen published (repo_publish); 0: none */
    struct packs_listed *listed; /* collect.c; NULL: none */
    struct alternates *alternates; /* alternate.h; NULL: none */
    struct room sealed, decoded;   /* what is read ahead (ahead.h); frames (fetch.c) */
    int64_t fresh_ns; /* when the log was last read to its end, by the monotonic clock; 0: that is not to be relied on */
    struct { /* what run_write made last; under the lock */
        struct digest name;
        uint64_t entries;
        uint32_t packs;
        uint8_t *body; /* NULL: nothing */
    } own_runs[OWN_RUNS];
    unsigned own_next;
};
/* Bytes of a damaged pack as its own parity gives them, with the length of the whole; ERR_OBJECT_CORRUPT when it cannot be
 * mended. One such pack is kept in memory. Any thread. */
int mended_read(struct repo *r, bool meta, const struct digest *name, uint64_t at, void *p, size_t n, uint64_t *ret_size, struct error *err) PK_CHECK;
void mended_free(struct repo *r);
void slot_key(struct bytes slot, char out[96]); /* its object key */
/* A slot as it was stored, whatever was put over it. Its bytes may still not be those of its name. */
int slot_fetch(struct repo *r, const char *name, struct buf *ret, struct error *err) PK_CHECK;
/* The object that carries the keys of epoch n: boxes for every key of the state, ret_rows of them for writers and prune keys. */
int epoch_object_make(const struct repo *r, unsigned n, const struct epoch_keys *now, struct buf *out, uint64_t *ret_rows, struct error *err) PK_CHECK;
/* Read the object of an epoch and check that it is what the log names. */
int epoch_check(const struct repo *r, unsigned epoch, struct error *err) PK_CHECK;
/* The keys of every epoch that the state knows, as far as our own key may have them. After every sync. */
int epochs_load(struct repo *r, struct error *err) PK_CHECK;
void epochs_free(struct repo *r);
/* Borrowed while the repository is open. ERR_KEY_ROLE for one that we have not got. */
int repo_id_key(const struct repo *r, unsigned epoch, struct bytes *ret, struct error *err) PK_CHECK;
int repo_index_key(const struct repo *r, unsigned epoch, struct bytes *ret, struct error *err) PK_CHECK;
void packs_listed_drop(struct repo *r); /* collect.c */
void collect_expect(struct repo *r);    /* what a collection's plan reads first is read next: see store_expect */
int repo_writable(struct repo *r, struct error *err) PK_CHECK;
/* Reads the log's newcomers into the state (not the index); whether there were any. What is missing may have been removed
 * by a collection that came in between. */
bool repo_log_moved(struct repo *r);
/* Loads the index runs that the state names, without looking at the log again. */
int repo_follow(struct repo *r, struct error *err) PK_CHECK;
/* Refuses to look things up in an index that is known to lack runs: what it lacks is not missing. */
int repo_index_whole(const struct repo *r, struct error *err) PK_CHECK;
int repo_needs_read(const struct repo *r, const char *what, struct error *err) PK_CHECK;
/* The session key sealed in a pack's header, cached. Needs the read secret. */
int repo_session_key(struct repo *r, const uint8_t id[16], const uint8_t *sealed, const struct secret **ret, struct error *err) PK_CHECK;
/* A statement of ours: {_type, subject, predicateType, predicate}; takes predicate over. */
int statement_make(const char *type, const char *subject, const struct digest *digest, json_t *predicate, json_t **ret, struct error *err) PK_CHECK;
json_t *json_digest(const struct digest *d);
bool json_get_digest(const json_t *j, struct digest *ret);

#endif
