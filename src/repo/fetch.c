/* Decoded chunks through two caches: pack directories, and decoded frames (a frame holds neighbours that are asked for
 * next). A frame that one thread is decoding is waited for by the others.
 *
 * Of a frame of which one member is wanted alone, what is in front of that member's end is decoded. The frame keeps the
 * decoder, and who wants a later member goes on with it, one thread at a time; what is decoded is never written again.
 * When the decoder has gone to another frame, or finds damage, the frame is loaded anew and whole. */
#include "crypto/sha256_x2.h"
#include "repo/ahead.h"

#define DIRS_MAX 64
#define LEAST_BYTES (4u << 20) /* of frames, when others have all the room */
#define COPIES_MAX 8 /* of one chunk that are tried */
#define SPARES 4     /* fresh memory for each frame costs a quarter of decoding it */
#define SPARE_MIN (256u << 10)
#define SPARE_MAX (2u << 20)
#define BEGUN 16 /* frames that keep a decoder */

struct cached_frame {
    struct digest pack;
    uint32_t ordinal;
    bool ready, failed, delta, moving; /* moving: a thread decodes more of it */
    unsigned holds;
    uint64_t used;
    size_t cost;
    uint8_t *plain;
    uint32_t plain_len, plain_cap, have; /* have: so much is decoded */
    struct seat *seat;                   /* that decodes the rest */
    unsigned count;
    struct digest *ids, *shas;
    atomic_uchar *proven; /* that a member is what its id says; its sha is known then */
    uint32_t *offsets;    /* count + 1 */
    uint8_t kind;
    uint32_t epoch;
    struct cached_frame *next;
};
struct cached_dir {
    struct digest pack;
    struct pack_in *in; /* NULL while a thread loads it */
    bool loading;
    bool loose; /* in no place of the table: it goes with its one holder */
    unsigned holds;
    uint64_t used;
};
struct seat {
    struct codec *codec;
    struct seat *next;
};
struct fetcher {
    struct repo *repo;
    const struct index *index;
    pthread_rwlock_t *index_lock;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    struct cached_frame *frames[256]; /* by pack and ordinal */
    struct cached_dir dirs[DIRS_MAX];
    struct room *room;
    size_t bytes, bytes_max;
    struct {
        uint8_t *p;
        uint32_t cap;
    } spares[SPARES]; /* of frames that went */
    uint64_t clock;
    struct seat *seats;
    struct cached_frame *begun[BEGUN];
    struct ahead *ahead; /* NULL where reads cost little */
};

int fetcher_new(struct repo *r, const struct index *x, pthread_rwlock_t *lock, size_t cache_bytes, struct fetcher **ret,
                struct error *err) {
    void *mem;
    int rc = repo_needs_read(r, "reading a snapshot", err);
    if (rc == 0) rc = repo_index_whole(r, err);
    if (rc == 0) rc = mem_alloc(sizeof(struct fetcher), &mem, err);
    if (rc < 0) return rc;
    struct fetcher *f = mem;
    f->repo = r;
    f->index = x;
    f->index_lock = lock;
    f->room = &r->decoded;
    f->bytes_max = cache_bytes;
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->cond, NULL);
    /* what it knows of the index must not change under it */
    if (!lock && (rc = ahead_new(r, x, cache_bytes * 2, &f->ahead, err)) < 0) {
        fetcher_free(f);
        return rc;
    }
    if (f->ahead) f->bytes_max = cache_bytes / 3 * 2; /* the rest is sealed bytes' */
    *ret = f;
    return 0;
}

/* Under the lock: others may have the frame's decoder. */
static void frame_settle(struct fetcher *f, struct cached_frame *c) {
    if (!c->seat) return;
    for (unsigned i = 0; i < BEGUN; i++)
        if (f->begun[i] == c) f->begun[i] = NULL;
    codec_room_limit(c->seat->codec, SPARE_MIN);
    c->seat->next = f->seats;
    f->seats = c->seat;
    c->seat = NULL;
}

/* Under the lock. */
static void frame_free(struct fetcher *f, struct cached_frame *c) {
    if (!c) return;
    frame_settle(f, c);
    seam_free(c->plain);
    seam_free(c->ids);
    seam_free(c->shas);
    seam_free(c->proven);
    seam_free(c->offsets);
    seam_free(c);
}

/* Memory for a decoded frame, of one that went if that fits. */
static uint8_t *plain_take(struct fetcher *f, uint32_t n, uint32_t *ret_cap) {
    uint8_t *p = NULL;
    *ret_cap = n;
    pthread_mutex_lock(&f->lock);
    for (unsigned i = 0; i < SPARES && !p; i++) {
        if (!f->spares[i].p || f->spares[i].cap < n || f->spares[i].cap / 2 > n) continue;
        p = f->spares[i].p;
        *ret_cap = f->spares[i].cap;
        f->spares[i].p = NULL;
    }
    pthread_mutex_unlock(&f->lock);
    return p ? p : seam_alloc(n);
}

/* Under the lock. Not where others wait for room. */
static void plain_keep(struct fetcher *f, struct cached_frame *c) {
    if (c->plain_cap < SPARE_MIN || c->plain_cap > SPARE_MAX || !room_has(f->room, 0)) return;
    for (unsigned i = 0; i < SPARES && c->plain; i++) {
        if (f->spares[i].p) continue;
        f->spares[i].p = c->plain;
        f->spares[i].cap = c->plain_cap;
        c->plain = NULL;
    }
}

void fetcher_free(struct fetcher *f) {
    if (!f) return;
    ahead_free(f->ahead);
    f->room->used -= f->bytes;
    for (size_t i = 0; i < 256; i++)
        while (f->frames[i]) {
            struct cached_frame *c = f->frames[i];
            f->frames[i] = c->next;
            frame_free(f, c);
        }
    for (int i = 0; i < DIRS_MAX; i++) pack_in_free(f->dirs[i].in);
    for (unsigned i = 0; i < SPARES; i++) seam_free(f->spares[i].p);
    while (f->seats) {
        struct seat *s = f->seats;
        f->seats = s->next;
        codec_free(s->codec);
        seam_free(s);
    }
    pthread_mutex_destroy(&f->lock);
    pthread_cond_destroy(&f->cond);
    seam_free(f);
}

void fetch_rooms(struct fetcher *f, struct repo *r) {
    f->room = &r->decoded;
    ahead_room(f->ahead, &r->sealed);
}

size_t fetch_sealed_max(const struct fetcher *f) {
    return ahead_max(f->ahead);
}

static struct cached_frame **bucket(struct fetcher *f, const struct digest *pack, uint32_t ordinal) {
    return &f->frames[(pack->b[0] + ordinal * 31u) & 255];
}

/* Drops the frames used longest ago until the cache is within bounds. Under the lock. */
static void evict(struct fetcher *f) {
    while (f->bytes > f->bytes_max || (f->bytes > LEAST_BYTES && !room_has(f->room, 0))) {
        struct cached_frame **oldest = NULL;
        for (size_t i = 0; i < 256; i++)
            for (struct cached_frame **c = &f->frames[i]; *c; c = &(*c)->next)
                if (!(*c)->holds && (*c)->ready && (!oldest || (*c)->used < (*oldest)->used)) oldest = c;
        if (!oldest) return;
        struct cached_frame *gone = *oldest;
        *oldest = gone->next;
        f->bytes -= gone->cost;
        f->room->used -= gone->cost;
        plain_keep(f, gone);
        frame_free(f, gone);
    }
}

/* Where one copy of a chunk lies. */
struct copy {
    struct digest pack;
    struct location at;
    uint64_t bytes; /* of the pack */
    bool meta, based;
};

/* In nobody's way, when all places are held: whoever holds one may be waiting for another. */
static int dir_loose(struct fetcher *f, const struct copy *l, struct bytes whole, struct cached_dir **ret,
                     struct error *err) {
    void *mem;
    int rc = mem_alloc(sizeof(struct cached_dir), &mem, err);
    if (rc < 0) return rc;
    struct cached_dir *d = mem;
    d->loose = true;
    rc = pack_in_open_from(f->repo, l->meta, &l->pack, l->bytes, whole, &d->in, err);
    if (rc < 0)
        seam_free(d);
    else
        *ret = d;
    return rc;
}

/* A pack's directory, held. `whole` is the pack, when it is at hand. Waits only for a thread that loads the same one.
 */
static int dir_get(struct fetcher *f, const struct copy *l, struct bytes whole, struct cached_dir **ret,
                   struct error *err) {
    const struct digest *pack = &l->pack;
    pthread_mutex_lock(&f->lock);
    for (;;) {
        struct cached_dir *spare = NULL;
        bool coming = false;
        for (int i = 0; i < DIRS_MAX; i++) {
            struct cached_dir *d = &f->dirs[i];
            coming |= d->loading && digest_equal(&d->pack, pack);
            if (d->in && digest_equal(&d->pack, pack)) {
                d->holds++;
                d->used = ++f->clock;
                pthread_mutex_unlock(&f->lock);
                *ret = d;
                return 0;
            }
            if (!d->holds && (!spare || !d->in || (spare->in && d->used < spare->used))) spare = d;
        }
        if (spare && !coming) {
            spare->holds = 1; /* ours while we load */
            struct pack_in *old = spare->in;
            spare->in = NULL;
            spare->pack = *pack;
            spare->loading = true;
            pthread_mutex_unlock(&f->lock);
            pack_in_free(old);
            struct pack_in *in = NULL;
            int rc = pack_in_open_from(f->repo, l->meta, pack, l->bytes, whole, &in, err);
            pthread_mutex_lock(&f->lock);
            spare->in = in;
            spare->loading = false;
            spare->used = ++f->clock;
            if (rc < 0) spare->holds = 0;
            pthread_cond_broadcast(&f->cond);
            pthread_mutex_unlock(&f->lock);
            *ret = spare;
            return rc;
        }
        if (!coming) {
            pthread_mutex_unlock(&f->lock);
            return dir_loose(f, l, whole, ret, err);
        }
        pthread_cond_wait(&f->cond, &f->lock);
    }
}

static void dir_put(struct fetcher *f, struct cached_dir *d) {
    if (d->loose) {
        pack_in_free(d->in);
        seam_free(d);
        return;
    }
    pthread_mutex_lock(&f->lock);
    d->holds--;
    pthread_cond_broadcast(&f->cond);
    pthread_mutex_unlock(&f->lock);
}

static struct seat *seat_get(struct fetcher *f, struct error *err) {
    pthread_mutex_lock(&f->lock);
    struct seat *s = f->seats;
    if (s) f->seats = s->next;
    pthread_mutex_unlock(&f->lock);
    if (s) return s;
    void *mem;
    if (mem_alloc(sizeof *s, &mem, err) < 0) return NULL;
    s = mem;
    if (codec_new(&s->codec, err) == 0) return s;
    seam_free(s);
    return NULL;
}

static void seat_put(struct fetcher *f, struct seat *s) {
    pthread_mutex_lock(&f->lock);
    s->next = f->seats;
    f->seats = s;
    pthread_mutex_unlock(&f->lock);
}

/* What a chunk is wanted for. */
struct use {
    bool as_base;   /* a copy that is no delta itself */
    bool unchecked; /* by its id: what is made of it will be */
    bool ahead;     /* nobody takes it yet: what another thread has or decodes is left to it */
    bool alone;     /* its frame's other chunks are not checked with it */
    bool part;      /* nor decoded, as far as they lie behind it */
    struct sha256_state **stream;
};

static int base_is_delta(struct error *err) {
    return error_set(err, ERR_OBJECT_CORRUPT, "a delta's base is a delta itself");
}

static int fetch(struct fetcher *f, const uint8_t *id_prefix, const struct digest *full, enum chunk_kind kind,
                 struct use use, struct fetched *ret, struct error *err);

/* The frame's sealed bytes among those that came ahead, which stay while `held` does; none without. */
static struct bytes came_ahead(struct fetcher *f, const struct location *l, const struct pack_in *in,
                               const struct frame *fr, bool whole, struct ahead_hold *held) {
    if ((!whole && !ahead_range(f->ahead, l, in, held)) || fr->at < held->at ||
        fr->at - held->at + fr->stored_len > held->bytes.len)
        return BYTES_OF(NULL, 0);
    return BYTES_OF(held->bytes.ptr + (fr->at - held->at), fr->stored_len);
}

/* Where the member ends up to which the frame is wanted. */
static uint32_t wanted_end(const struct cached_frame *c, const uint8_t *id_prefix, bool part) {
    for (unsigned i = 0; i < c->count && part; i++)
        if (memcmp(c->ids[i].b, id_prefix, ID_PREFIX_BYTES) == 0) return c->offsets[i + 1];
    return c->plain_len;
}

/* Decodes the frame's beginning; then the seat is the frame's. */
static int begin(struct fetcher *f, struct pack_in *in, struct cached_frame *c, struct seat *seat, struct bytes sealed,
                 uint32_t upto, struct error *err) {
    struct bytes payload;
    size_t have;
    int rc = frame_payload(f->repo, in, c->ordinal, seat->codec, sealed, &payload, err);
    if (rc == 0) rc = codec_steps(seat->codec, payload, c->plain_len, err);
    if (rc == 0) rc = codec_step(seat->codec, c->plain, upto, &have, err);
    if (rc < 0) return rc;
    c->have = (uint32_t)have;
    c->seat = seat;
    pthread_mutex_lock(&f->lock);
    c->used = ++f->clock; /* or it would be the first to lose its decoder */
    struct cached_frame **at = NULL;
    for (unsigned i = 0; i < BEGUN; i++) {
        struct cached_frame **b = &f->begun[i];
        if (!*b || (!(*b)->moving && (!at || (*at && (*b)->used < (*at)->used)))) at = b;
    }
    if (at && *at) frame_settle(f, *at);
    if (at) *at = c;
    if (!at || have == c->plain_len) frame_settle(f, c);
    pthread_mutex_unlock(&f->lock);
    return 0;
}

static int load(struct fetcher *f, const struct copy *l, const uint8_t *id_prefix, struct use use,
                struct cached_frame *c, struct error *err) {
    struct cached_dir *d;
    struct ahead_hold held = {0};
    struct bytes sealed = {0};
    const bool whole = ahead_whole(f->ahead, &l->at, &held);
    int rc = dir_get(f, l, held.bytes, &d, err);
    if (rc < 0) {
        ahead_release(f->ahead, &l->at, 0, 0, &held);
        return rc;
    }
    struct fetched base = {0};
    struct seat *seat = NULL;
    const struct frame *fr = pack_in_frame(d->in, c->ordinal);
    const bool prove = !use.alone && !use.unchecked;
    void *mem;
    if (!fr) {
        rc =
            error_set(err, ERR_OBJECT_CORRUPT, "%s: the index names a frame that it does not have", pack_in_key(d->in));
        goto out;
    }
    if (!(c->plain = plain_take(f, fr->plain_len + 1u, &c->plain_cap))) {
        rc = error_set(err, ERR_NO_MEMORY, "no memory for a frame of %u bytes", fr->plain_len);
        goto out;
    }
    if ((rc = mem_alloc(fr->member_count * sizeof(struct digest), &mem, err)) < 0) goto out;
    c->ids = mem;
    if ((rc = mem_alloc(fr->member_count * sizeof(struct digest), &mem, err)) < 0) goto out;
    c->shas = mem;
    if ((rc = mem_alloc(fr->member_count + 1u, &mem, err)) < 0) goto out;
    c->proven = mem;
    if ((rc = mem_alloc((fr->member_count + 1u) * sizeof(uint32_t), &mem, err)) < 0) goto out;
    c->offsets = mem;
    c->plain_len = fr->plain_len;
    c->count = fr->member_count;
    c->kind = fr->kind;
    c->epoch = pack_in_epoch(d->in);
    for (unsigned i = 0; i < c->count; i++) {
        const struct member m = frame_member(fr, i);
        c->ids[i] = m.id;
        c->offsets[i + 1] = c->offsets[i] + m.len;
    }
    if (fr->codec == CODEC_ZSTD_DELTA) {
        /* Depth is one. A writer that lies about it could otherwise make deltas wait for each other for ever. */
        pthread_mutex_lock(&f->lock);
        c->delta = true;
        pthread_cond_broadcast(&f->cond);
        pthread_mutex_unlock(&f->lock);
        const struct use unchecked = {.as_base = true, .unchecked = true, .part = use.part};
        rc = use.as_base ? base_is_delta(err) : fetch(f, fr->base.b, &fr->base, CHUNK_DATA, unchecked, &base, err);
        if (rc < 0) {
            rc = error_wrap(err, "the base of a delta");
            goto out;
        }
    }
    sealed = came_ahead(f, &l->at, d->in, fr, whole, &held);
    seat = seat_get(f, err);
    c->cost = sizeof *c + c->plain_cap + c->count * 72u;
    const uint32_t upto = wanted_end(c, id_prefix, use.part && fr->codec == CODEC_ZSTD);
    if (seat && upto < c->plain_len) {
        rc = begin(f, d->in, c, seat, sealed, upto, err);
        c->cost += fr->stored_len;
        if (rc == 0) seat = NULL;
        if (rc != -ERR_OBJECT_CORRUPT) goto out;
        error_clear(err); /* what it is, and what can be done, is found out with the whole */
    }
    rc = seat ? frame_read(f->repo, d->in, c->ordinal, seat->codec, sealed, base.data, prove, c->plain, c->shas, err)
              : -(int)err->code;
    if (rc == -ERR_OBJECT_CORRUPT && sealed.len) {
        /* what came ahead is asked for again, and seen past or mended then */
        error_clear(err);
        rc = frame_read(f->repo, d->in, c->ordinal, seat->codec, BYTES_OF(NULL, 0), base.data, prove, c->plain, c->shas,
                        err);
    }
    if (rc == -ERR_OBJECT_CORRUPT && base.hold) {
        /* with a base that is what its id says: there may be another copy, and if there is none, that is the news */
        error_clear(err);
        fetch_release(f, &base);
        rc = fetch_base(f, fr->base.b, &fr->base, &base, err);
        if (rc < 0)
            rc = error_wrap(err, "the base of a delta");
        else
            rc = frame_read(f->repo, d->in, c->ordinal, seat->codec, BYTES_OF(NULL, 0), base.data, prove, c->plain,
                            c->shas, err);
    }
    for (unsigned i = 0; rc == 0 && prove && i < c->count; i++) c->proven[i] = true;
    c->have = c->plain_len;
out:
    if (seat) seat_put(f, seat);
    if (base.hold) fetch_release(f, &base);
    ahead_release(f->ahead, &l->at, sealed.len ? fr->at : 0, (uint32_t)sealed.len, &held);
    dir_put(f, d);
    return rc;
}

/* Copies in the order in which they are worth trying: plain ones, deltas whose base is there, the others. */
static unsigned copies_find(struct fetcher *f, const uint8_t *id_prefix, bool as_base, struct copy *ret) {
    struct copies at = {0};
    struct copy c;
    struct location base;
    unsigned n = 0;
    if (f->index_lock) pthread_rwlock_rdlock(f->index_lock);
    while (n < COPIES_MAX && index_copy(f->index, id_prefix, &at, &c.at)) {
        const bool delta = c.at.delta;
        if (delta && as_base) continue;
        c.based = delta && index_find_plain(f->index, c.at.base, &base);
        if (!index_pack(f->index, &c.at, &c.pack, &c.bytes, &c.meta)) continue;
        unsigned to = n++;
        for (; to > 0 && (delta ? c.based && ret[to - 1].at.delta && !ret[to - 1].based : ret[to - 1].at.delta); to--)
            ret[to] = ret[to - 1];
        ret[to] = c;
    }
    if (f->index_lock) pthread_rwlock_unlock(f->index_lock);
    return n;
}

/* Under the lock: nobody finds it any more, and it goes with its last holder. */
static void frame_unlist(struct fetcher *f, struct cached_frame *c) {
    for (struct cached_frame **p = bucket(f, &c->pack, c->ordinal); *p; p = &(*p)->next)
        if (*p == c) {
            *p = c->next;
            break;
        }
    c->failed = true;
}

static struct bytes member_data(const struct cached_frame *c, unsigned i) {
    return BYTES_OF(c->plain + c->offsets[i], c->offsets[i + 1] - c->offsets[i]);
}

static void member_prove(struct fetcher *f, struct cached_frame *c, unsigned i, const struct digest *sha) {
    pthread_mutex_lock(&f->lock);
    if (!c->proven[i]) {
        c->shas[i] = *sha;
        atomic_store_explicit(&c->proven[i], true, memory_order_release);
    }
    pthread_mutex_unlock(&f->lock);
}

/* Whether member i is what its id says; then the stream has absorbed it. Two threads may ask at once. For no stream,
 * and unless it is alone, the one behind it is hashed beside it, for little more than one costs. */
static int member_out(struct fetcher *f, struct cached_frame *c, unsigned i, const struct use *use, bool *ret_is,
                      struct error *err) {
    struct sha256_state **stream = use->stream, *next = NULL;
    const struct bytes data = member_data(c, i);
    struct bytes in[2] = {data}, key;
    struct digest sha[2], id[2];
    *ret_is = true;
    if (atomic_load_explicit(&c->proven[i], memory_order_acquire)) {
        if (stream) sha256_update(*stream, data);
        return 0;
    }
    int rc = repo_id_key(f->repo, c->epoch, &key, err);
    if (rc == 0 && stream) rc = sha256_copy(*stream, &next, err);
    if (rc < 0) return rc;
    const bool two = !next && !use->alone && i + 1 < c->count && !c->proven[i + 1];
    if (two) in[1] = member_data(c, i + 1);
    if (next)
        sha256_beside(next, data, &sha[0]);
    else
        sha256_many(in, sha, two ? 2 : 1);
    for (unsigned k = 0; k <= two; k++) chunk_id(key, (enum chunk_kind)c->kind, &sha[k], &id[k]);
    if (!digest_equal(&id[0], &c->ids[i])) {
        sha256_free(next);
        *ret_is = false;
        return 0;
    }
    if (next) {
        sha256_free(*stream);
        *stream = next;
    }
    member_prove(f, c, i, &sha[0]);
    if (two && digest_equal(&id[1], &c->ids[i + 1])) member_prove(f, c, i + 1, &sha[1]);
    return 0;
}

/* Whether the frame is decoded up to there now, by this thread or another. */
static bool frame_reach(struct fetcher *f, struct cached_frame *c, uint32_t upto) {
    struct error e = ERROR_INIT;
    size_t have = 0;
    pthread_mutex_lock(&f->lock);
    while (c->have < upto && c->moving) pthread_cond_wait(&f->cond, &f->lock);
    if (c->have < upto && c->seat) {
        c->moving = true;
        pthread_mutex_unlock(&f->lock);
        int rc = codec_step(c->seat->codec, c->plain, upto, &have, &e);
        pthread_mutex_lock(&f->lock);
        c->moving = false;
        if (rc == 0) c->have = (uint32_t)have;
        if (rc < 0 || have == c->plain_len) frame_settle(f, c);
        pthread_cond_broadcast(&f->cond);
    }
    const bool is = c->have >= upto;
    pthread_mutex_unlock(&f->lock);
    return is;
}

/* Nobody finds it any more, and who asks again loads it anew. */
static void frame_disown(struct fetcher *f, struct cached_frame *c) {
    struct fetched h = {.hold = c};
    pthread_mutex_lock(&f->lock);
    if (!c->failed) {
        frame_unlist(f, c);
        f->bytes -= c->cost;
        f->room->used -= c->cost;
    }
    pthread_mutex_unlock(&f->lock);
    fetch_release(f, &h);
}

static int fetch_copy(struct fetcher *f, const struct copy *l, const uint8_t *id_prefix, const struct digest *full,
                      enum chunk_kind kind, struct use use, struct fetched *ret, struct error *err) {
    const struct digest pack = l->pack;
    struct use loading = use;
    int rc = 0;
    struct cached_frame **b = bucket(f, &pack, l->at.frame), *c;
    pthread_mutex_lock(&f->lock);
again:
    for (c = *b; c; c = c->next)
        if (!c->failed && c->ordinal == l->at.frame && digest_equal(&c->pack, &pack)) break;
    if (c && use.ahead) {
        c->used = ++f->clock;
        pthread_mutex_unlock(&f->lock);
        *ret = (struct fetched){0};
        return 0;
    }
    if (c) {
        c->holds++;
        while (!c->ready && !c->failed && !(use.as_base && c->delta)) pthread_cond_wait(&f->cond, &f->lock);
        if (use.as_base && c->delta) {
            if (--c->holds == 0 && c->failed) frame_free(f, c);
            pthread_mutex_unlock(&f->lock);
            return base_is_delta(err);
        }
        if (c->failed) {
            /* why is the other thread's to tell; to say it of this one, try */
            if (--c->holds == 0) frame_free(f, c);
            goto again;
        }
    } else {
        void *mem;
        if ((rc = mem_alloc(sizeof *c, &mem, err)) < 0) {
            pthread_mutex_unlock(&f->lock);
            return rc;
        }
        c = mem;
        c->pack = pack;
        c->ordinal = l->at.frame;
        c->holds = 1;
        c->next = *b;
        *b = c;
        pthread_mutex_unlock(&f->lock);
        rc = load(f, l, id_prefix, loading, c, err);
        pthread_mutex_lock(&f->lock);
        if (rc < 0) {
            frame_unlist(f, c);
            pthread_cond_broadcast(&f->cond);
            if (--c->holds == 0) frame_free(f, c);
            pthread_mutex_unlock(&f->lock);
            return rc;
        }
        c->ready = true;
        f->bytes += c->cost;
        f->room->used += c->cost;
        evict(f);
        pthread_cond_broadcast(&f->cond);
    }
    c->used = ++f->clock;
    pthread_mutex_unlock(&f->lock);
    for (unsigned i = 0; i < c->count; i++) {
        if (memcmp(c->ids[i].b, id_prefix, ID_PREFIX_BYTES) != 0) continue;
        if (c->kind != kind || (full && !digest_equal(&c->ids[i], full))) break;
        bool is = true;
        struct fetched h = {.hold = c};
        if (!frame_reach(f, c, use.part ? c->offsets[i + 1] : c->plain_len)) {
            frame_disown(f, c);
            pthread_mutex_lock(&f->lock);
            loading.part = false; /* nothing of it is decoded a third time */
            goto again;
        }
        if (!use.unchecked) rc = member_out(f, c, i, &use, &is, err);
        if (rc < 0) {
            fetch_release(f, &h);
            return rc;
        }
        if (!is) {
            /* with all of its members checked, there are other ways to come by it, and words for it */
            frame_disown(f, c);
            pthread_mutex_lock(&f->lock);
            loading.alone = loading.part = false;
            goto again;
        }
        *ret = (struct fetched){
            .data = BYTES_OF(c->plain + c->offsets[i], c->offsets[i + 1] - c->offsets[i]), .id = c->ids[i], .hold = c};
        if (!use.unchecked) ret->sha = c->shas[i];
        return 0;
    }
    struct fetched h = {.hold = c};
    fetch_release(f, &h);
    return error_set(err, ERR_OBJECT_CORRUPT, "the index names a frame that does not hold the chunk");
}

/* A copy that is damaged, gone or in an archive (what was thawed is what the point names, and the index may name more)
 * is no reason to give up while there is another. What is said is what was wrong with the first; that something is
 * missing goes before, as those who follow a moving log look again for that. */
static int fetch(struct fetcher *f, const uint8_t *id_prefix, const struct digest *full, enum chunk_kind kind,
                 struct use use, struct fetched *ret, struct error *err) {
    struct copy copies[COPIES_MAX];
    struct error first = ERROR_INIT;
    unsigned n = copies_find(f, id_prefix, use.as_base, copies);
    if (n == 0) {
        char hex[33];
        int behind = repo_index_whole(f->repo, err);
        if (behind < 0) return behind;
        hex_encode(id_prefix, ID_PREFIX_BYTES, hex);
        return error_set(err, ERR_OBJECT_MISSING, "chunk %s is in no pack that the index knows", hex);
    }
    for (unsigned i = 0; i < n; i++) {
        struct error e = ERROR_INIT;
        int rc = fetch_copy(f, &copies[i], id_prefix, full, kind, use, ret, &e);
        if (rc == 0) return 0;
        if (i == 0 || (e.code == ERR_OBJECT_MISSING && first.code == ERR_OBJECT_CORRUPT) ||
            error_info(rc)->status != EXIT_INTEGRITY)
            first = e;
        if (error_info(rc)->status != EXIT_INTEGRITY && rc != -ERR_S3_ARCHIVED) break;
    }
    *err = first;
    return -(int)first.code;
}

int fetch_chunk(struct fetcher *f, const uint8_t *id_prefix, const struct digest *full, enum chunk_kind kind,
                struct fetched *ret, struct error *err) {
    return fetch(f, id_prefix, full, kind, (struct use){0}, ret, err);
}

int fetch_chunk_into(struct fetcher *f, const uint8_t *id_prefix, const struct digest *full, enum chunk_kind kind,
                     struct sha256_state **stream, enum check_of proof, struct fetched *ret, struct error *err) {
    const struct use use = {
        .stream = stream, .alone = proof == CHECK_CHUNK || proof == CHECK_APART, .part = proof == CHECK_APART};
    if (proof != CHECK_NONE) return fetch(f, id_prefix, full, kind, use, ret, err);
    int rc = fetch(f, id_prefix, full, kind, (struct use){.unchecked = true}, ret, err);
    if (rc == 0 && stream) sha256_update(*stream, ret->data);
    return rc;
}

int fetch_ahead(struct fetcher *f, const struct digest *id, size_t *ret_bytes, struct error *err) {
    struct fetched c;
    *ret_bytes = 0;
    int rc = fetch(f, id->b, id, CHUNK_DATA, (struct use){.unchecked = true, .ahead = true}, &c, err);
    if (rc < 0 || !c.hold) return rc;
    *ret_bytes = ((struct cached_frame *)c.hold)->plain_len;
    fetch_release(f, &c);
    return 0;
}

int fetch_base(struct fetcher *f, const uint8_t *id_prefix, const struct digest *full, struct fetched *ret,
               struct error *err) {
    return fetch(f, id_prefix, full, CHUNK_DATA, (struct use){.as_base = true}, ret, err);
}

void fetch_release(struct fetcher *f, struct fetched *h) {
    struct cached_frame *c = h->hold;
    h->hold = NULL;
    pthread_mutex_lock(&f->lock);
    if (--c->holds == 0 && c->failed) frame_free(f, c);
    pthread_mutex_unlock(&f->lock);
}

void fetch_expect(struct fetcher *f, const struct digest *id) {
    struct location l, base;
    if (!f->ahead || !index_find(f->index, id->b, &l)) return;
    if (l.delta && index_find_plain(f->index, l.base, &base)) ahead_expect(f->ahead, &base);
    ahead_expect(f->ahead, &l);
}

void fetch_expect_at(struct fetcher *f, const struct location *at) {
    ahead_expect(f->ahead, at);
}

bool fetch_knows(const struct fetcher *f, const uint8_t *id_prefix) {
    struct location l;
    return index_find(f->index, id_prefix, &l);
}

int fetch_packs(struct fetcher *f, const uint8_t *id_prefix,
                int (*cb)(void *, const struct digest *, uint64_t, struct error *), void *ctx, struct error *err) {
    struct copy copies[COPIES_MAX], bases[COPIES_MAX];
    int rc = 0;
    const unsigned n = copies_find(f, id_prefix, false, copies);
    for (unsigned i = 0; i < n && rc == 0; i++) {
        rc = cb(ctx, &copies[i].pack, copies[i].bytes, err);
        const unsigned k = copies[i].at.delta ? copies_find(f, copies[i].at.base, true, bases) : 0;
        for (unsigned j = 0; j < k && rc == 0; j++) rc = cb(ctx, &bases[j].pack, bases[j].bytes, err);
    }
    return rc;
}

void fetch_forget(struct fetcher *f) {
    ahead_forget(f->ahead);
}

void fetch_drop(struct fetcher *f) {
    ahead_forget(f->ahead);
    pthread_mutex_lock(&f->lock);
    f->bytes_max = 0;
    evict(f);
    pthread_mutex_unlock(&f->lock);
}

void fetch_narrow(struct fetcher *f) {
    ahead_narrow(f->ahead);
}

void fetch_reader(struct fetcher *f) {
    ahead_reader(f->ahead);
}

void fetch_share(struct fetcher *f, unsigned share) {
    ahead_share(f->ahead, share);
}

bool fetch_offer(struct fetcher *f, const struct digest *pack, struct bytes whole) {
    return ahead_offer(f->ahead, pack, whole);
}

int fetch_dir(struct fetcher *f, const struct location *at, const struct pack_in **ret, void **ret_hold,
              struct error *err) {
    struct cached_dir *d;
    struct ahead_hold held = {0};
    struct copy c = {.at = *at};
    if (!index_pack(f->index, at, &c.pack, &c.bytes, &c.meta)) {
        int behind = repo_index_whole(f->repo, err);
        return behind < 0 ? behind : error_set(err, ERR_OBJECT_MISSING, "a pack is in no run that the index knows");
    }
    (void)ahead_whole(f->ahead, at, &held);
    int rc = dir_get(f, &c, held.bytes, &d, err);
    struct location none = *at;
    none.frame = UINT32_MAX; /* no frame of it is taken */
    ahead_release(f->ahead, &none, 0, 0, &held);
    if (rc < 0) return rc;
    *ret = d->in;
    *ret_hold = d;
    return 0;
}

void fetch_dir_release(struct fetcher *f, void *hold) {
    dir_put(f, hold);
}

int fetch_sealed(struct fetcher *f, const struct location *at, struct pack_in *in, uint32_t ordinal, uint8_t *out,
                 struct error *err) {
    const struct frame *fr = pack_in_frame(in, ordinal);
    struct ahead_hold held = {0};
    struct bytes sealed = {0};
    if (at) sealed = came_ahead(f, at, in, fr, ahead_whole(f->ahead, at, &held), &held);
    if (sealed.len) memcpy(out, sealed.ptr, sealed.len);
    if (at) ahead_release(f->ahead, at, sealed.len ? fr->at : 0, (uint32_t)sealed.len, &held);
    return sealed.len ? 0 : pack_in_sealed(f->repo, in, ordinal, out, err);
}
