#include "repo/reader.h"
#include "base/thread.h"
#include "crypto/parts.h"
#include "crypto/sha256_x2.h"
#include "repo/ahead.h"
#include "repo/moving.h"
#include "repo/scout.h"

/* Where the references of each item of a manifest chunk lie in it. */
struct span {
    uint32_t at, len;
};
struct refs_map {
    bool used;
    size_t chunk; /* which of the root's */
    uint64_t last;
    uint32_t count;
    struct span *spans;
};
#define REFS_MAPS 16
#define SCOUTS_MAX 2 /* at once of a snapshot: where more large items are read side by side, the cores are busy */
#define SCOUT_ITEM (16u << 20) /* an item of which it is worth a thread */
#define SCOUT_AFTER (2u << 20) /* that was read of it in order */
#define SCOUT_WINDOW (4u << 20)
#define SCOUT_CACHE (32u << 20) /* below there is no room for what is ahead; those of sets are */

struct snapshot {
    struct repo *repo;
    struct moving *chunks;
    struct root_doc root;
    /* the walk in progress, so that an item opened from its callback needs no search */
    pthread_mutex_t lock;
    const struct manifest_item *current;
    uint64_t current_ordinal;
    pthread_t walker;
    /* for items that are opened outside the walk: the maps used last, so that a chunk is parsed once and not once an
     * item */
    struct refs_map maps[REFS_MAPS];
    uint64_t map_clock;
    atomic_size_t ahead_bytes;
    bool scout_room;        /* in its caches */
    unsigned scout_threads; /* of each */
    atomic_uint scouts;     /* that may be started */
};

int snapshot_open(struct repo *r, const struct snapshot_info *info, struct snapshot **ret, struct error *err) {
    int rc = snapshot_open_sized(r, info, 48u << 20, ret, err);
    if (rc == 0) snapshot_reader(*ret);
    return rc;
}

int snapshot_open_sized(struct repo *r, const struct snapshot_info *info, size_t cache_bytes, struct snapshot **ret,
                        struct error *err) {
    void *mem;
    int rc = mem_alloc(sizeof(struct snapshot), &mem, err);
    if (rc < 0) return rc;
    struct snapshot *s = mem;
    s->repo = r;
    s->scout_room = cache_bytes >= SCOUT_CACHE;
    pthread_mutex_init(&s->lock, NULL);
    rc = moving_new(r, info, cache_bytes, &s->chunks, err);
    if (rc == 0) rc = moving_root(s->chunks, info, &s->root, err);
    if (rc < 0) {
        snapshot_close(s);
        return error_wrap(err, "opening snapshot %s", info->id);
    }
    *ret = s;
    return 0;
}

void repo_readers_bound(struct repo *r, size_t decoded_bytes) {
    r->decoded.max = decoded_bytes;
    r->sealed.max = ahead_several_max(r);
}

void snapshot_close(struct snapshot *s) {
    if (!s) return;
    moving_free(s->chunks);
    root_free(&s->root);
    for (size_t i = 0; i < REFS_MAPS; i++) seam_free(s->maps[i].spans);
    pthread_mutex_destroy(&s->lock);
    seam_free(s);
}

const json_t *snapshot_root(const struct snapshot *s) {
    return s->root.facts;
}
uint64_t snapshot_items(const struct snapshot *s) {
    return s->root.items;
}

static bool starts_with(struct bytes name, struct bytes prefix) {
    return name.len >= prefix.len && (prefix.len == 0 || memcmp(name.ptr, prefix.ptr, prefix.len) == 0);
}

static struct item_head head_of(const struct manifest_item *it, uint64_t ordinal) {
    return (struct item_head){it->name, it->attr, (enum content_kind)it->kind, it->bytes, it->sha256, ordinal};
}

static int walk_chunk(struct snapshot *s, const struct root_chunk *k, struct bytes prefix, bool *done, item_cb cb,
                      void *ctx, struct error *err) {
    struct fetched c;
    struct manifest_parser p;
    struct manifest_item it;
    bool end = false;
    int rc = moving_chunk(s->chunks, &k->id, CHUNK_MANIFEST, &c, err);
    if (rc < 0) return rc;
    manifest_parser_init(&p, c.data);
    uint32_t n = 0;
    for (; rc == 0 && (rc = manifest_next(&p, &it, &end, err)) == 0 && !end; n++) {
        if (!starts_with(it.name, prefix)) {
            if (name_compare(it.name, prefix) > 0) {
                *done = true;
                break;
            }
            continue;
        }
        struct item_head h = head_of(&it, k->first_ordinal + n);
        pthread_mutex_lock(&s->lock);
        s->current = &it;
        s->current_ordinal = h.ordinal;
        s->walker = pthread_self();
        pthread_mutex_unlock(&s->lock);
        rc = cb(ctx, &h, err);
        pthread_mutex_lock(&s->lock);
        s->current = NULL;
        pthread_mutex_unlock(&s->lock);
    }
    if (rc == 0 && !*done && n != k->items)
        rc = error_set(err, ERR_OBJECT_CORRUPT, "a manifest chunk has %u items where the root says %u", n, k->items);
    manifest_parser_free(&p);
    moving_release(&c);
    return rc;
}

/* The chunk in which names from `name` on begin: it may be the one before the first whose first name lies behind it. */
static size_t chunk_of(const struct snapshot *s, struct bytes name) {
    size_t lo = 0, hi = s->root.chunk_count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (name_compare(s->root.chunks[mid].first_name, name) <= 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo ? lo - 1 : 0;
}

int snapshot_walk(struct snapshot *s, struct bytes prefix, item_cb cb, void *ctx, struct error *err) {
    bool done = false;
    int rc = 0;
    for (size_t i = 0; !prefix.len && i < s->root.chunk_count; i++) moving_expect(s->chunks, &s->root.chunks[i].id);
    for (size_t i = chunk_of(s, prefix); i < s->root.chunk_count && rc == 0 && !done; i++)
        rc = walk_chunk(s, &s->root.chunks[i], prefix, &done, cb, ctx, err);
    return rc;
}

/* Shows the items of a chunk from `next` on; the callback may move that further. */
static int walk_chunk_from(struct snapshot *s, const struct root_chunk *k, struct buf *next, walk_cb cb, void *ctx,
                           struct error *err) {
    struct fetched c;
    struct manifest_parser p;
    struct manifest_item it;
    bool end = false, passing = true;
    int rc = moving_chunk(s->chunks, &k->id, CHUNK_MANIFEST, &c, err);
    if (rc < 0) return rc;
    manifest_parser_init(&p, c.data);
    uint32_t n = 0;
    for (; rc == 0 && (rc = manifest_next(&p, &it, &end, err)) == 0 && !end; n++) {
        if (passing && name_compare(it.name, buf_bytes(next)) < 0) continue;
        passing = false;
        struct item_head h = head_of(&it, k->first_ordinal + n);
        struct bytes skip = {0};
        if ((rc = cb(ctx, &h, &skip, err)) != 0 || !skip.len) continue;
        /* A NUL, which no name has, sorts behind '/' and before all else. */
        buf_clear(next);
        rc = buf_append(next, skip.ptr, skip.len, err);
        if (rc == 0) rc = buf_append(next, "", 1, err);
        passing = true;
    }
    if (rc == 0 && n != k->items)
        rc = error_set(err, ERR_OBJECT_CORRUPT, "a manifest chunk has %u items where the root says %u", n, k->items);
    manifest_parser_free(&p);
    moving_release(&c);
    return rc;
}

int snapshot_walk_from(struct snapshot *s, struct bytes start, walk_cb cb, void *ctx, struct error *err) {
    CLEANUP(buf_free) struct buf next = BUF_INIT(1u << 20);
    int rc = buf_append(&next, start.ptr, start.len, err);
    for (size_t i = 0; rc == 0; i++) {
        size_t from = chunk_of(s, buf_bytes(&next));
        if (i < from) i = from;
        if (i >= s->root.chunk_count) break;
        rc = walk_chunk_from(s, &s->root.chunks[i], &next, cb, ctx, err);
    }
    return rc;
}

/* Where an ordinal is; there is at least one chunk. */
static size_t chunk_at(const struct snapshot *s, uint64_t ordinal) {
    size_t lo = 0, hi = s->root.chunk_count;
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if (s->root.chunks[mid].first_ordinal <= ordinal)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

int snapshot_item_at(struct snapshot *s, uint64_t ordinal, item_cb cb, void *ctx, struct error *err) {
    if (ordinal >= s->root.items) return error_set(err, ERR_NO_POINT, "the snapshot has no such item");
    struct fetched c;
    struct manifest_parser p;
    struct manifest_item it;
    bool end = false;
    const struct root_chunk *k = &s->root.chunks[chunk_at(s, ordinal)];
    int rc = moving_chunk(s->chunks, &k->id, CHUNK_MANIFEST, &c, err);
    if (rc < 0) return rc;
    manifest_parser_init(&p, c.data);
    for (uint64_t n = k->first_ordinal; n <= ordinal && rc == 0 && !end; n++) rc = manifest_next(&p, &it, &end, err);
    if (rc == 0 && end) rc = error_set(err, ERR_OBJECT_CORRUPT, "a manifest chunk has fewer items than the root says");
    if (rc == 0) {
        struct item_head h = head_of(&it, ordinal);
        rc = cb(ctx, &h, err);
    }
    manifest_parser_free(&p);
    moving_release(&c);
    return rc;
}

void snapshot_scouts(struct snapshot *s, unsigned threads) {
    if (!threads || !s->scout_room) return;
    /* far away frames come in ranges, and better in their order */
    s->scout_threads = snapshot_is_far(s) ? 1 : threads;
    s->scouts = SCOUTS_MAX;
}

int snapshot_ahead(struct snapshot *s, const struct digest *id, size_t *ret_bytes, struct error *err) {
    int rc = moving_ahead(s->chunks, id, ret_bytes, err);
    if (rc == 0) s->ahead_bytes += *ret_bytes;
    return rc;
}

size_t snapshot_ahead_bytes(const struct snapshot *s) {
    return s->ahead_bytes;
}

int snapshot_prefetch(struct snapshot *s, const struct digest *id, struct error *err) {
    struct fetched c;
    int rc = moving_chunk(s->chunks, id, CHUNK_DATA, &c, err);
    if (rc == 0) moving_release(&c);
    return rc;
}

struct ritem {
    struct snapshot *s;
    struct buf refs;
    struct cursor c;
    struct fetched list;
    struct cursor list_c;
    bool in_list, ended;
    bool moved;  /* by a seek or a skip: the whole cannot be digested */
    bool late;   /* parts of it are judged by its SHA-256 alone */
    bool apart;  /* by their ids alone */
    bool parts;  /* its digest is the one by parts: every chunk is one */
    unsigned peeked; /* so many of `ahead` are the next references, taken already */
    struct {
        struct ref ref;
        bool hashed; /* `sha` is of what somebody has in its place */
        struct digest sha;
    } ahead[2];
    uint64_t into; /* bytes of the next piece that a seek has passed */
    struct fetched chunk;
    struct sha256_state *sha;
    struct digest want, only;
    uint64_t bytes, seen, pieces, ordinal;
    struct scout *scout;
    bool scouted; /* there is one, or was, or there shall be none */
};

static int map_make(struct bytes chunk, uint32_t items, struct span **ret, struct error *err) {
    struct manifest_parser p;
    struct manifest_item it;
    bool end = false;
    void *mem;
    int rc = mem_alloc((items + 1u) * sizeof(struct span), &mem, err);
    if (rc < 0) return rc;
    struct span *spans = mem;
    manifest_parser_init(&p, chunk);
    for (uint32_t n = 0; n < items && rc == 0; n++) {
        rc = manifest_next(&p, &it, &end, err);
        if (rc == 0 && end)
            rc = error_set(err, ERR_OBJECT_CORRUPT, "a manifest chunk has %u items where the root says %u", n, items);
        if (rc == 0 && it.refs.len)
            spans[n] = (struct span){(uint32_t)(it.refs.ptr - chunk.ptr), (uint32_t)it.refs.len};
    }
    manifest_parser_free(&p);
    if (rc < 0)
        seam_free(spans);
    else
        *ret = spans;
    return rc;
}

static bool map_look(struct snapshot *s, size_t chunk, uint64_t n, struct span *ret) {
    for (size_t i = 0; i < REFS_MAPS; i++) {
        struct refs_map *m = &s->maps[i];
        if (!m->used || m->chunk != chunk || n >= m->count) continue;
        m->last = ++s->map_clock;
        *ret = m->spans[n];
        return true;
    }
    return false;
}

/* Under the lock, which only a new map lets go of. */
static int map_find(struct snapshot *s, size_t chunk, uint64_t n, struct bytes body, struct span *ret,
                    struct error *err) {
    if (map_look(s, chunk, n, ret)) return 0;
    struct refs_map *oldest = &s->maps[0];
    struct span *spans = NULL;
    const uint32_t count = s->root.chunks[chunk].items;
    if (n >= count) return error_set(err, ERR_INTERNAL, "an item is not where it was");
    pthread_mutex_unlock(&s->lock);
    int rc = map_make(body, count, &spans, err);
    pthread_mutex_lock(&s->lock);
    if (rc < 0) return rc;
    *ret = spans[n];
    for (size_t i = 0; i < REFS_MAPS && oldest->used; i++)
        if (!s->maps[i].used || s->maps[i].last < oldest->last) oldest = &s->maps[i];
    seam_free(oldest->spans);
    *oldest = (struct refs_map){true, chunk, ++s->map_clock, count, spans};
    return 0;
}

/* The references of an item that is opened outside the walk. */
static int refs_find(struct snapshot *s, const struct item_head *h, struct buf *refs, struct error *err) {
    if (!s->root.chunk_count) return error_set(err, ERR_NO_POINT, "the snapshot has no items");
    size_t lo = chunk_at(s, h->ordinal);
    struct fetched c;
    struct span span = {0};
    const struct root_chunk *k = &s->root.chunks[lo];
    int rc = moving_chunk(s->chunks, &k->id, CHUNK_MANIFEST, &c, err);
    if (rc < 0) return rc;
    pthread_mutex_lock(&s->lock);
    rc = map_find(s, lo, h->ordinal - k->first_ordinal, c.data, &span, err);
    pthread_mutex_unlock(&s->lock);
    if (rc == 0) rc = buf_append(refs, c.data.ptr + span.at, span.len, err);
    moving_release(&c);
    return rc;
}

int ritem_open(struct snapshot *s, const struct item_head *h, struct ritem **ret, struct error *err) {
    void *mem;
    int rc = mem_alloc(sizeof(struct ritem), &mem, err);
    if (rc < 0) return rc;
    struct ritem *it = mem;
    it->s = s;
    it->refs = BUF_INIT(256u << 20);
    it->want = h->sha256;
    it->parts = h->kind == CONTENT_PARTS;
    it->bytes = h->bytes;
    it->ordinal = h->ordinal;
    pthread_mutex_lock(&s->lock);
    const struct manifest_item *current = s->current;
    bool here = current && s->current_ordinal == h->ordinal && pthread_equal(s->walker, pthread_self());
    pthread_mutex_unlock(&s->lock);
    if (here)
        rc = buf_append(&it->refs, current->refs.ptr, current->refs.len, err);
    else
        rc = refs_find(s, h, &it->refs, err);
    if (rc < 0) {
        ritem_close(it);
        return rc;
    }
    it->c = cursor_of(buf_bytes(&it->refs));
    *ret = it;
    return 0;
}

/* The next chunk or hole that ends behind `from` and was not peeked at, lists unfolded. What is passed over is counted
 * in `seen`. 1: have one; 0: end. */
static int ref_read(struct ritem *it, uint64_t from, struct ref *ref, struct error *err) {
    for (;;) {
        if (it->in_list) {
            if (ref_take(&it->list_c, ref)) {
                if (ref->type == REF_LIST)
                    return error_set(err, ERR_OBJECT_CORRUPT, "a list of references names a list");
                if (from <= it->seen || ref->len > from - it->seen) return 1;
                it->seen += ref->len;
                continue;
            }
            bool bad = it->list_c.bad;
            moving_release(&it->list);
            it->in_list = false;
            if (bad) return error_set(err, ERR_OBJECT_CORRUPT, "a list of references is malformed");
        }
        if (!ref_take(&it->c, ref)) {
            if (it->c.bad) return error_set(err, ERR_OBJECT_CORRUPT, "an item's references are malformed");
            return 0;
        }
        if (from > it->seen && ref->len <= from - it->seen) {
            it->seen += ref->len;
            continue;
        }
        if (ref->type != REF_LIST) return 1;
        int rc = moving_chunk(it->s->chunks, &ref->id, CHUNK_LIST, &it->list, err);
        if (rc < 0) return rc;
        it->list_c = cursor_of(it->list.data);
        it->in_list = true;
    }
}

static void ahead_pop(struct ritem *it) {
    it->ahead[0] = it->ahead[1];
    it->peeked--;
}

/* The next one of all. */
static int ref_next(struct ritem *it, struct ref *ref, struct error *err) {
    if (!it->peeked) return ref_read(it, 0, ref, err);
    *ref = it->ahead[0].ref;
    ahead_pop(it);
    return 1;
}

/* Peeks at one more. */
static int ref_ahead(struct ritem *it, uint64_t from, struct error *err) {
    int rc = ref_read(it, from, &it->ahead[it->peeked].ref, err);
    if (rc != 1) return rc;
    it->ahead[it->peeked++].hashed = false;
    return 1;
}

static int differs(struct error *err, const char *what) {
    return error_set(err, ERR_RESTORE_DIFFERS, "an item's content does not have the %s recorded for it", what);
}

static int digest_feed(struct ritem *it, struct bytes data, struct error *err) {
    if (!it->sha) {
        int rc = sha256_new(&it->sha, err);
        if (rc < 0) return rc;
    }
    sha256_update(it->sha, data);
    return 0;
}

static void scout_dismiss(struct ritem *it) {
    if (!it->scout) return;
    scout_end(it->scout);
    it->scout = NULL;
    atomic_fetch_add(&it->s->scouts, 1);
}

/* Someone goes ahead of a large item's reader, when there is someone. */
static void scout_lead(struct ritem *it) {
    if (it->scout) scout_follow(it->scout, it->seen);
    if (it->scouted || it->moved || it->seen < SCOUT_AFTER || it->bytes < SCOUT_ITEM) return;
    if (!place_take(&it->s->scouts)) return;
    it->scouted = true;
    const struct item_head h = {.bytes = it->bytes, .sha256 = it->want, .ordinal = it->ordinal};
    if (!(it->scout = scout_start(it->s, &h, it->s->scout_threads, SCOUT_WINDOW, it->seen)))
        atomic_fetch_add(&it->s->scouts, 1);
}

/* Whether the reference behind `at` is one that content by parts may have there. */
static bool is_part(const struct ritem *it, const struct ref *ref, uint64_t at) {
    const uint64_t left = it->bytes - at;
    return ref->type == REF_CHUNK && ref->len == (left < PART_BYTES ? left : PART_BYTES);
}

int ritem_next(struct ritem *it, struct bytes *ret, struct error *err) {
    static const uint8_t zeros[4096];
    struct ref ref;
    if (it->chunk.hold) moving_release(&it->chunk);
    *ret = BYTES_OF(NULL, 0);
    if (it->ended) return 0;
    int rc = ref_next(it, &ref, err);
    if (rc < 0) return rc;
    if (rc == 0 && (it->moved || it->apart)) {
        it->ended = true;
        return it->seen == it->bytes ? 0 : differs(err, "size");
    }
    if (rc == 0) {
        struct digest got;
        if (it->sha)
            sha256_finish(it->sha, &got);
        else if (it->pieces && !it->parts)
            got = it->only;
        else
            sha256(BYTES_OF(NULL, 0), &got);
        it->ended = true;
        if (it->seen != it->bytes) return differs(err, "size");
        return digest_equal(&got, &it->want) ? 0 : differs(err, "SHA-256");
    }
    const uint64_t at = it->seen;
    it->seen += ref.len;
    it->pieces++;
    if (it->seen > it->bytes) return differs(err, "size");
    if (it->parts && !is_part(it, &ref, at))
        return error_set(err, ERR_OBJECT_CORRUPT, "an item that has a digest by parts is not stored in them");
    const uint64_t into = it->into;
    it->into = 0;
    if (ref.type == REF_HOLE) {
        for (uint64_t left = it->moved || it->apart ? 0 : ref.len; left > 0 && rc >= 0;) {
            size_t n = left < sizeof zeros ? (size_t)left : sizeof zeros;
            rc = digest_feed(it, BYTES_OF(zeros, n), err);
            left -= n;
        }
        *ret = BYTES_OF(NULL, ref.len - into);
        return rc < 0 ? rc : 0;
    }
    /* the chunk's own digest is computed anyway: an item of one chunk, or by parts, needs no second pass */
    const bool only = !it->moved && it->pieces == 1 && ref.len == it->bytes,
               part = !it->moved && !it->apart && !only && !it->parts;
    if (part && !it->sha && (rc = sha256_new(&it->sha, err)) < 0) return rc;
    scout_lead(it);
    /* of what is read apart, its neighbours are there already for the most part */
    const enum check_of proof = part && it->late ? CHECK_NONE
                                : part           ? CHECK_CHUNK
                                : it->apart      ? CHECK_APART
                                                 : CHECK_FRAME;
    rc = moving_chunk_into(it->s->chunks, &ref.id, CHUNK_DATA, part ? &it->sha : NULL, proof, &it->chunk, err);
    if (rc < 0) return rc;
    if (it->chunk.data.len != ref.len) return differs(err, "size");
    if (it->parts && !it->moved && !it->apart)
        rc = digest_feed(it, BYTES_OF(it->chunk.sha.b, sizeof it->chunk.sha.b), err);
    else if (only)
        it->only = it->chunk.sha;
    if (rc < 0) return rc;
    *ret = BYTES_OF(it->chunk.data.ptr + into, it->chunk.data.len - into);
    return 0;
}

void ritem_late(struct ritem *it) {
    it->late = true;
}

void ritem_apart(struct ritem *it) {
    it->apart = true;
}

int ritem_seek(struct ritem *it, uint64_t at, struct error *err) {
    if (it->chunk.hold) moving_release(&it->chunk);
    if (it->in_list) moving_release(&it->list);
    scout_dismiss(it);
    sha256_free(it->sha);
    it->sha = NULL;
    it->in_list = it->ended = false;
    it->peeked = 0;
    it->moved = at > 0;
    it->seen = it->pieces = it->into = 0;
    it->c = cursor_of(buf_bytes(&it->refs));
    if (at == 0) return 0;
    int rc = ref_ahead(it, at, err);
    if (rc == 1) it->into = at - it->seen;
    return rc < 0 ? rc : 0;
}

int ritem_peek(struct ritem *it, struct ritem_extent *ret, struct error *err) {
    if (!it->peeked && !it->ended) {
        int rc = ref_ahead(it, 0, err);
        if (rc < 0) return rc;
    }
    *ret = (struct ritem_extent){.at = it->seen};
    if (!it->peeked) return 0;
    ret->len = it->ahead[0].ref.len;
    ret->hole = it->ahead[0].ref.type == REF_HOLE;
    ret->id = it->ahead[0].ref.id;
    return 0;
}

void ritem_skip(struct ritem *it) {
    if (!it->peeked) return;
    it->moved = true;
    it->into = 0;
    it->seen += it->ahead[0].ref.len;
    ahead_pop(it);
}

/* The digest of what somebody has in the next piece's place, and with it that of the piece behind. */
static int digest_apart(struct ritem *it, struct bytes have, struct digest *ret, struct error *err) {
    const size_t len = (size_t)it->ahead[0].ref.len;
    struct bytes in[2] = {BYTES_OF(have.ptr, len), BYTES_OF(have.ptr + len, have.len - len)};
    struct digest sha[2];
    if (it->ahead[0].hashed) {
        *ret = it->ahead[0].sha;
        return 0;
    }
    int rc = in[1].len && it->peeked < 2 ? ref_ahead(it, 0, err) : 0;
    if (rc < 0) return rc;
    const bool two = it->peeked == 2 && it->ahead[1].ref.type == REF_CHUNK && it->ahead[1].ref.len <= in[1].len;
    if (two) in[1].len = (size_t)it->ahead[1].ref.len;
    sha256_many(in, sha, two ? 2 : 1);
    it->ahead[0].hashed = true;
    it->ahead[0].sha = *ret = sha[0];
    if (two) it->ahead[1].hashed = true;
    if (two) it->ahead[1].sha = sha[1];
    return 0;
}

int ritem_match(struct ritem *it, struct bytes have, bool *ret, struct error *err) {
    const struct ref ref = it->ahead[0].ref;
    struct sha256_state *next = NULL;
    struct digest sha;
    int rc = 0;
    *ret = false;
    scout_dismiss(it); /* it would decode what is there already */
    it->scouted = true;
    if (!it->peeked || (it->moved && !it->apart) || it->into || ref.type == REF_HOLE || have.len < ref.len) return 0;
    if (it->parts && (it->seen > it->bytes || !is_part(it, &ref, it->seen))) return 0; /* which the next read refuses */
    const bool only = it->pieces == 0 && ref.len == it->bytes;
    if (it->apart) {
        rc = digest_apart(it, have, &sha, err);
    } else if (have.len = (size_t)ref.len, it->parts) {
        sha256(have, &sha);
        rc = it->sha ? sha256_copy(it->sha, &next, err) : sha256_new(&next, err);
        if (rc == 0) sha256_update(next, BYTES_OF(sha.b, sizeof sha.b));
    } else if (only) {
        sha256(have, &sha);
    } else {
        rc = it->sha ? sha256_copy(it->sha, &next, err) : sha256_new(&next, err);
        if (rc == 0) sha256_beside(next, have, &sha);
    }
    if (rc < 0) return rc;
    *ret = chunk_id_holds(it->s->repo, CHUNK_DATA, &sha, ref.id.b);
    if (*ret) {
        struct sha256_state *was = it->sha;
        it->sha = next;
        next = was;
        it->only = sha;
        it->pieces++;
        it->seen += ref.len;
        ahead_pop(it);
    }
    sha256_free(next);
    return 0;
}

void ritem_close(struct ritem *it) {
    if (!it) return;
    scout_dismiss(it);
    if (it->chunk.hold) moving_release(&it->chunk);
    if (it->in_list) moving_release(&it->list);
    sha256_free(it->sha);
    buf_free(&it->refs);
    seam_free(it);
}

int ritem_chunks(struct snapshot *s, const struct item_head *h,
                 int (*cb)(void *, const struct digest *, uint32_t, struct error *), void *ctx, struct error *err) {
    struct ritem *it;
    struct ref ref;
    int rc = ritem_open(s, h, &it, err);
    if (rc < 0) return rc;
    while ((rc = ref_next(it, &ref, err)) == 1)
        if (ref.type == REF_CHUNK && (rc = cb(ctx, &ref.id, (uint32_t)ref.len, err)) != 0) break;
    ritem_close(it);
    return rc;
}

void snapshot_expect_chunk(struct snapshot *s, const struct digest *id) {
    moving_expect(s->chunks, id);
}

struct item_packs {
    struct snapshot *s;
    int (*cb)(void *, const struct digest *, uint64_t, struct error *);
    void *ctx;
};

static int chunk_packs(void *ctx, const struct digest *id, uint32_t len, struct error *err) {
    struct item_packs *p = ctx;
    (void)len;
    return moving_packs(p->s->chunks, id->b, p->cb, p->ctx, err);
}

int snapshot_item_packs(struct snapshot *s, const struct item_head *h,
                        int (*cb)(void *, const struct digest *, uint64_t, struct error *), void *ctx,
                        struct error *err) {
    struct item_packs p = {s, cb, ctx};
    return h->bytes ? ritem_chunks(s, h, chunk_packs, &p, err) : 0;
}

bool snapshot_is_far(const struct snapshot *s) {
    return store_reads_many(s->repo->store) || s->repo->alternates;
}

bool snapshot_retell(const struct snapshot *s) {
    return moving_retell(s->chunks);
}

void snapshot_reader(struct snapshot *s) {
    moving_reader(s->chunks);
}

void snapshot_forget(struct snapshot *s) {
    moving_forget(s->chunks);
}

static int expect_chunk(void *ctx, const struct digest *id, uint32_t len, struct error *err) {
    struct snapshot *s = ctx;
    (void)len, (void)err;
    moving_expect(s->chunks, id);
    return 0;
}

void snapshot_expect(struct snapshot *s, const struct item_head *h) {
    struct error e = ERROR_INIT; /* whoever reads the item finds it out */
    if (h->bytes && snapshot_is_far(s)) (void)!ritem_chunks(s, h, expect_chunk, s, &e);
}
