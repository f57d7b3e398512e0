#include "repo/ahead.h"

#define THREADS 4
#define WANTS_MAX (1u << 20) /* packs */
#define RANGE_BYTES_MAX (4u << 20)
#define GAP_BYTES_MAX (256u << 10) /* sooner read than asked for a second time */
/* Of packs that are moved, all of whose ranges are read. */
#define RANGE_IN_ORDER_MAX (8u << 20)
#define GAP_IN_ORDER_MAX (1u << 20)
#define SMALL_BYTES (1u << 20)
#define META_WHOLE_MAX (8u << 20)
/* Of frames that are wanted again, of packs that are not; and of metadata that stays for when it is asked for again,
 * while data passes by. Less where there are several readers. */
#define KEPT_BYTES_MAX (16u << 20)
#define KEPT_BYTES_SEVERAL (4u << 20)
#define ALONE_BYTES (96u << 20)
/* Frames that files beside each other lie in, by turns, as who stores them fills several at once: when the next of them
 * is read, the decoded frame is still there. Fewer where there are several readers, whose caches are small. */
#define LATELY 8
#define LATELY_SEVERAL 3
#define NEXT_RANGES 3 /* behind the one that is read, when a pack's are read in order */
#define GROWING 4 /* packs wanted last, of which more may yet be told: what is not worth it now may be later */

/* What is wanted of one pack. */
struct want {
    struct digest pack;
    bool meta, come; /* come: it was fetched whole, or is being */
    bool asked;      /* come, and before anybody waited for it: that happens once */
    uint64_t bytes;
    size_t run;
    uint32_t run_pack;
    uint32_t left; /* frames wanted and not yet taken */
    uint32_t words;
    uint64_t *frames;  /* two bits each: wanted and not yet taken; wanted at more than one place */
    struct want *next; /* same slot */
};
struct segment {
    struct want *w;
    uint64_t at, len;
    uint8_t *bytes;
    enum { SEGMENT_COMING, SEGMENT_THERE, SEGMENT_FAILED } state;
    unsigned holds;
    bool whole, queued, kept; /* kept: a frame that was taken and will be wanted again */
    bool touched;             /* somebody has held it */
    uint32_t left;            /* of a range: frames wanted and not yet taken */
    uint64_t used;
    struct segment *next;
};
/* How many frames each pack of a run has. */
struct run_frames {
    struct digest run; /* that was counted */
    uint32_t packs, count[];
};
struct ahead {
    struct repo *repo;
    const struct index *index;
    struct room *room;
    size_t bytes, bytes_max, kept_max;
    unsigned share;
    bool in_order;        /* what comes in ranges, too */
    pthread_mutex_t lock; /* everything below */
    pthread_cond_t moved;
    struct want **slots;
    size_t slot_count;
    struct want **order;        /* as first wanted */
    size_t count, cap, next;    /* next: the first that was not asked for yet */
    struct run_frames **frames; /* NULL until asked */
    size_t run_count;
    struct segment *segments;
    size_t kept_bytes;
    struct {
        const struct want *w;
        uint32_t frame;
    } lately[LATELY]; /* what was expected last, each once: who is told of it again soon counts as its neighbour */
    uint64_t clock;
    pthread_t threads[THREADS];
    unsigned thread_count;
    bool started, closing;
};

static size_t room_least(const struct repo *r) {
    return (size_t)r->data_pack_bytes / 3 * 8;
}

int ahead_new(struct repo *r, const struct index *x, size_t bytes_max, struct ahead **ret, struct error *err) {
    *ret = NULL;
    if (!store_reads_many(r->store)) return 0;
    void *mem;
    int rc = mem_alloc(sizeof(struct ahead), &mem, err);
    if (rc < 0) return rc;
    struct ahead *a = mem;
    a->repo = r;
    a->index = x;
    a->room = &r->sealed;
    a->kept_max = bytes_max >= ALONE_BYTES ? KEPT_BYTES_MAX : KEPT_BYTES_SEVERAL;
    a->bytes_max = bytes_max > room_least(r) ? bytes_max : room_least(r);
    a->share = 2;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->moved, NULL);
    a->slot_count = 4096;
    rc = mem_alloc(a->slot_count * sizeof(struct want *), &mem, err);
    if (rc == 0) {
        a->slots = mem;
        a->run_count = x->count;
        rc = mem_alloc((x->count + 1) * sizeof *a->frames, &mem, err);
    }
    if (rc == 0) a->frames = mem;
    if (rc < 0)
        ahead_free(a);
    else
        *ret = a;
    return rc;
}

static size_t room_reader(const struct repo *r) {
    return (size_t)r->data_pack_bytes / 3 * 13;
}

size_t ahead_max(struct ahead *a) {
    if (!a) return 0;
    pthread_mutex_lock(&a->lock);
    const size_t max = a->bytes_max + a->kept_max;
    pthread_mutex_unlock(&a->lock);
    return max;
}

size_t ahead_several_max(const struct repo *r) {
    return room_reader(r) + KEPT_BYTES_SEVERAL;
}

/* Three quarters of it are three packs and a little: two that are read, as writers fill two at a time, and one on its
 * way. With less, the next is asked for when the reader already waits for it. */
void ahead_reader(struct ahead *a) {
    if (!a) return;
    const size_t room = room_reader(a->repo);
    pthread_mutex_lock(&a->lock);
    if (a->bytes_max < room) a->bytes_max = room;
    pthread_mutex_unlock(&a->lock);
}

void ahead_room(struct ahead *a, struct room *room) {
    if (a) a->room = room;
}

void ahead_narrow(struct ahead *a) {
    if (!a) return;
    pthread_mutex_lock(&a->lock);
    a->bytes_max = room_least(a->repo);
    pthread_mutex_unlock(&a->lock);
}

void ahead_share(struct ahead *a, unsigned share) {
    if (!a) return;
    a->share = share;
    a->in_order = true;
}

/* A plan, and what carries it out, each read the metadata: what was used last stays for the next reader. */
static void leave(struct ahead *a) {
    struct repo *r = a->repo;
    struct segment *last = NULL;
    for (struct segment *g = a->segments; g; g = g->next)
        if (g->w->meta && g->whole && g->state == SEGMENT_THERE && g->len <= r->meta_pack_bytes &&
            (!last || g->used > last->used))
            last = g;
    if (!last) return;
    pthread_mutex_lock(&r->lock);
    seam_free(r->left.bytes);
    r->left.pack = last->w->pack;
    r->left.bytes = last->bytes;
    r->left.len = last->len;
    pthread_mutex_unlock(&r->lock);
    last->bytes = NULL;
}

void ahead_free(struct ahead *a) {
    if (!a) return;
    pthread_mutex_lock(&a->lock);
    a->closing = true;
    pthread_cond_broadcast(&a->moved);
    pthread_mutex_unlock(&a->lock);
    for (unsigned i = 0; i < a->thread_count; i++) pthread_join(a->threads[i], NULL);
    leave(a);
    while (a->segments) {
        struct segment *g = a->segments;
        a->segments = g->next;
        a->room->used -= g->len;
        seam_free(g->bytes);
        seam_free(g);
    }
    for (size_t i = 0; i < a->slot_count && a->slots; i++)
        while (a->slots[i]) {
            struct want *w = a->slots[i];
            a->slots[i] = w->next;
            seam_free(w->frames);
            seam_free(w);
        }
    for (size_t i = 0; a->frames && i < a->run_count; i++) seam_free(a->frames[i]);
    seam_free(a->frames);
    seam_free(a->slots);
    seam_free(a->order);
    pthread_cond_destroy(&a->moved);
    pthread_mutex_destroy(&a->lock);
    seam_free(a);
}

/* ---- what is wanted; the lock is held ---- */

static struct want **slot_of(const struct ahead *a, const struct digest *pack) {
    return &a->slots[get_u64(pack->b) % a->slot_count];
}

static struct want *want_find(const struct ahead *a, const struct digest *pack) {
    struct want *w = *slot_of(a, pack);
    while (w && !digest_equal(&w->pack, pack)) w = w->next;
    return w;
}

/* NULL without memory. */
static struct want *want_new(struct ahead *a, const struct want *is) {
    struct want **slot = slot_of(a, &is->pack);
    struct error e = ERROR_INIT;
    void *mem;
    if (a->count >= WANTS_MAX || mem_alloc(sizeof(struct want), &mem, &e) < 0) return NULL;
    struct want *w = mem;
    *w = *is;
    w->next = *slot;
    if (mem_grow((void **)&a->order, &a->cap, a->count + 1, sizeof *a->order, &e) < 0) {
        seam_free(w);
        return NULL;
    }
    a->order[a->count++] = w;
    return *slot = w;
}

/* NULL without memory. */
static struct want *want_get(struct ahead *a, const struct location *l) {
    struct digest pack;
    uint64_t bytes;
    bool meta;
    if (!index_pack(a->index, l, &pack, &bytes, &meta)) return NULL;
    struct want *w = want_find(a, &pack);
    return w ? w
             : want_new(a,
                        &(struct want){.pack = pack, .meta = meta, .bytes = bytes, .run = l->run, .run_pack = l->pack});
}

enum { WANTED = 0, AGAIN = 1 };
static bool bit(const struct want *w, uint32_t frame, unsigned which) {
    return frame / 32 < w->words && w->frames[frame / 32] >> (frame % 32 * 2 + which) & 1;
}
static void bit_set(struct want *w, uint32_t frame, unsigned which, bool on) {
    const uint64_t mask = UINT64_C(1) << (frame % 32 * 2 + which);
    w->frames[frame / 32] = on ? w->frames[frame / 32] | mask : w->frames[frame / 32] & ~mask;
}

static bool wanted(const struct want *w, uint32_t frame) {
    return bit(w, frame, WANTED);
}

/* Whether the frame is one of those that were expected just before; now it is. */
static bool lately(struct ahead *a, const struct want *w, uint32_t frame) {
    const unsigned most = a->kept_max == KEPT_BYTES_MAX ? LATELY : LATELY_SEVERAL;
    unsigned i = 0;
    while (i < most && (a->lately[i].w != w || a->lately[i].frame != frame)) i++;
    const bool was = i < most;
    for (i = was ? i : most - 1; i > 0; i--) a->lately[i] = a->lately[i - 1];
    a->lately[0].w = w;
    a->lately[0].frame = frame;
    return was;
}

static void want_frame(struct ahead *a, struct want *w, uint32_t frame) {
    struct error e = ERROR_INIT;
    size_t cap = w->words, need = frame / 32 + 1;
    if (frame > w->bytes / AEAD_TAG_BYTES) return; /* an index that lies */
    if (need > w->words) {
        if (mem_grow((void **)&w->frames, &cap, need, sizeof *w->frames, &e) < 0) return;
        memset(w->frames + w->words, 0, (cap - w->words) * sizeof *w->frames);
        w->words = (uint32_t)cap;
    }
    const bool same = lately(a, w, frame);
    if (wanted(w, frame)) {
        if (!same) bit_set(w, frame, AGAIN, true);
        return;
    }
    bit_set(w, frame, WANTED, true);
    w->left++;
}

void ahead_expect(struct ahead *a, const struct location *l) {
    if (!a) return;
    pthread_mutex_lock(&a->lock);
    struct want *w = want_get(a, l);
    if (w) want_frame(a, w, l->frame);
    pthread_mutex_unlock(&a->lock);
}

/* How many frames a pack has, by its run; 0 when that cannot be told. */
static uint32_t frames_of(struct ahead *a, const struct want *w) {
    struct error e = ERROR_INIT;
    void *mem;
    if (w->run >= a->run_count || w->run >= a->index->count) return 0;
    struct run_frames *f = a->frames[w->run];
    if (!f) {
        struct run_view v;
        if (index_scan(a->index, w->run, true, &v, &e) < 0) return 0;
        if (mem_alloc(sizeof *f + v.pack_count * sizeof(uint32_t), &mem, &e) < 0) {
            index_scan_end(&v);
            return 0;
        }
        f = a->frames[w->run] = mem;
        f->run = a->index->names[w->run];
        f->packs = v.pack_count;
        uint32_t *n = f->count;
        for (uint64_t i = 0; i < v.entry_count; i++) {
            const uint8_t *entry = v.entries + i * RUN_ENTRY_BYTES;
            const uint32_t pack = get_u32(entry + 16), frame = get_u32(entry + 20);
            if (pack < v.pack_count && frame < UINT32_MAX && frame + 1 > n[pack]) n[pack] = frame + 1;
            if (get_u32(entry + 28) & ENTRY_DELTA) i++;
        }
        index_scan_end(&v);
    }
    if (!digest_equal(&f->run, &a->index->names[w->run])) return 0; /* the index has moved on */
    return w->run_pack < f->packs ? f->count[w->run_pack] : 0;
}

/* Whether it is best fetched whole. One frame alone never is, as to count costs a look at all of the run. */
static bool worth_whole(struct ahead *a, const struct want *w) {
    if (w->bytes > a->bytes_max / 2 || w->bytes < PACK_HEADER_BYTES + PACK_FOOTER_BYTES) return false;
    if (w->meta) return w->bytes <= META_WHOLE_MAX;
    if (w->left && w->bytes <= SMALL_BYTES) return true;
    return w->left > 1 && w->left >= frames_of(a, w) / a->share;
}

/* ---- segments; the lock is held ---- */

static void segment_drop(struct ahead *a, struct segment *g) {
    struct segment **at = &a->segments;
    while (*at != g) at = &(*at)->next;
    *at = g->next;
    *(g->kept ? &a->kept_bytes : &a->bytes) -= g->len;
    a->room->used -= g->len;
    seam_free(g->bytes);
    seam_free(g);
}

/* Nobody needs it any more: metadata is asked for again and again, data once. */
static bool spent(const struct segment *g) {
    return !g->holds && !g->kept &&
           (g->state == SEGMENT_FAILED ||
            (g->state == SEGMENT_THERE && !g->w->meta && (g->whole ? g->w->left : g->left) == 0));
}

/* Within bounds, of which a quarter is for those who wait for the bytes; then others have to go. */
static bool make_room(struct ahead *a, uint64_t len, bool waits) {
    for (;;) {
        const bool room = room_has(a->room, len);
        if (room && a->bytes + len <= a->bytes_max / 4 * 3) return true;
        const bool evict = waits && (!room || a->bytes + len > a->bytes_max);
        struct segment *oldest = NULL, *newest = NULL; /* newest: that nobody has come to yet, so it is wanted last */
        uint64_t meta = 0;
        for (struct segment *g = a->segments; g; g = g->next) meta += g->w->meta ? g->len : 0;
        for (struct segment *g = a->segments; g; g = g->next) {
            const bool stays = g->kept || (g->w->meta && meta <= a->kept_max);
            if (!g->holds && g->state != SEGMENT_COMING &&
                (spent(g) || (!stays && (evict || (g->w->meta && !g->w->left)))) && (!oldest || g->used < oldest->used))
                oldest = g;
            if (evict && g->whole && !stays && !g->holds && !g->touched && (g->queued || g->state != SEGMENT_COMING) &&
                (!newest || g->used > newest->used))
                newest = g;
        }
        if (newest && (!oldest || !spent(oldest))) oldest = newest;
        if (!oldest) return waits && !evict;
        oldest->w->come &= !oldest->whole || spent(oldest); /* what is still wanted of it may be worth it again */
        segment_drop(a, oldest);
    }
}

enum segment_kind { RANGE, WHOLE, KEPT };
static struct segment *segment_new(struct ahead *a, struct want *w, uint64_t at, uint64_t len, enum segment_kind k,
                                   uint8_t *bytes) {
    struct error e = ERROR_INIT;
    void *mem;
    if (mem_alloc(sizeof(struct segment), &mem, &e) < 0) return NULL;
    struct segment *g = mem;
    *g = (struct segment){
        .w = w, .at = at, .len = len, .whole = k == WHOLE, .kept = k == KEPT, .used = ++a->clock, .next = a->segments};
    const bool room = room_take(a->room, len);
    if (!room || !(g->bytes = bytes ? bytes : mem_large(len))) {
        if (room) a->room->used -= len;
        seam_free(g);
        return NULL;
    }
    *(g->kept ? &a->kept_bytes : &a->bytes) += len;
    w->come |= g->whole;
    return a->segments = g;
}

/* Fetches it; the lock is let go for that. */
static void segment_fetch(struct ahead *a, struct segment *g) {
    char key[96];
    struct error e = ERROR_INIT;
    size_t got = 0;
    pack_key(g->w->meta, &g->w->pack, key);
    g->holds++;
    g->queued = false;
    pthread_mutex_unlock(&a->lock);
    int rc = store_read(a->repo->store, key, g->at, g->bytes, g->len, &got, &e);
    pthread_mutex_lock(&a->lock);
    g->holds--;
    g->state = rc == 0 && got == g->len ? SEGMENT_THERE : SEGMENT_FAILED;
    pthread_cond_broadcast(&a->moved);
    if (spent(g)) segment_drop(a, g); /* nobody waits for it, and nobody will */
}

static void *work(void *arg) {
    struct ahead *a = arg;
    pthread_mutex_lock(&a->lock);
    while (!a->closing) {
        struct segment *first = NULL;
        for (struct segment *g = a->segments; g; g = g->next)
            if (g->queued && (!first || g->used < first->used)) first = g;
        if (first)
            segment_fetch(a, first);
        else
            pthread_cond_wait(&a->moved, &a->lock);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

static void work_begin(struct ahead *a) {
    struct error e = ERROR_INIT;
    if (!a->started)
        while (a->thread_count < THREADS && thread_start(&a->threads[a->thread_count], work, a, &e) == 0)
            a->thread_count++;
    a->started = true;
    pthread_cond_broadcast(&a->moved);
}

/* Asks for the packs that are wanted next, as far as there is room. */
static void advance(struct ahead *a) {
    bool queued = false;
    for (size_t i = a->next; i < a->count && !a->closing; i++) {
        struct want *w = a->order[i];
        const bool worth = !w->come && !w->asked && w->left && worth_whole(a, w);
        if (worth) {
            if (!make_room(a, w->bytes, false)) break;
            struct segment *g = segment_new(a, w, 0, w->bytes, WHOLE, NULL);
            if (!g) break;
            g->queued = queued = w->asked = true;
        }
        if (i == a->next && (worth || a->count - i > GROWING)) a->next++;
    }
    if (queued) work_begin(a);
}

void ahead_forget(struct ahead *a) {
    if (!a) return;
    pthread_mutex_lock(&a->lock);
    for (struct segment *g = a->segments, *next; g; g = next) {
        next = g->next;
        if (!g->w->meta && !g->holds && (g->queued || g->state != SEGMENT_COMING)) segment_drop(a, g);
    }
    for (size_t i = 0; i < a->slot_count && a->count; i++)
        for (struct want **at = &a->slots[i]; *at;) {
            struct want *w = *at;
            const struct segment *g = a->segments;
            while (g && g->w != w) g = g->next;
            if (g) {
                if (!w->meta && w->words) memset(w->frames, 0, w->words * sizeof *w->frames);
                w->left = w->meta ? w->left : 0;
                at = &w->next;
                continue;
            }
            *at = w->next;
            seam_free(w->frames);
            seam_free(w);
        }
    a->count = a->next = 0; /* what stays is there or on its way */
    memset(a->lately, 0, sizeof a->lately);
    pthread_mutex_unlock(&a->lock);
}

static bool hold(struct ahead *a, struct segment *g, struct ahead_hold *ret) {
    g->holds++;
    g->touched = true;
    g->used = ++a->clock;
    while (g->state == SEGMENT_COMING) {
        if (g->queued) {
            segment_fetch(a, g); /* no other thread has begun it */
            break;
        }
        pthread_cond_wait(&a->moved, &a->lock);
    }
    if (g->state == SEGMENT_THERE) {
        *ret = (struct ahead_hold){BYTES_OF(g->bytes, g->len), g->at, g};
        return true;
    }
    g->holds--;
    if (spent(g)) segment_drop(a, g);
    return false;
}

static struct segment *segment_find(struct ahead *a, const struct want *w, uint64_t at, uint64_t len) {
    for (struct segment *g = a->segments; g; g = g->next)
        if (g->w == w && g->at <= at && at - g->at <= g->len && len <= g->len - (at - g->at) &&
            g->state != SEGMENT_FAILED)
            return g;
    return NULL;
}

/* The caller's; NULL when no former reader left that one. */
static uint8_t *left_take(struct repo *r, const struct want *w) {
    uint8_t *bytes = NULL;
    pthread_mutex_lock(&r->lock);
    if (r->left.bytes && r->left.len == w->bytes && digest_equal(&r->left.pack, &w->pack)) {
        bytes = r->left.bytes;
        r->left.bytes = NULL;
    }
    pthread_mutex_unlock(&r->lock);
    return bytes;
}

bool ahead_whole(struct ahead *a, const struct location *l, struct ahead_hold *ret) {
    if (!a) return false;
    pthread_mutex_lock(&a->lock);
    struct want *w = want_get(a, l);
    struct segment *g = w ? segment_find(a, w, 0, w->bytes) : NULL;
    if (w && !g && (!w->come || w->meta) && worth_whole(a, w)) {
        /* where all that is there is held by others, each reads for itself what it is at */
        uint8_t *have = w->meta ? left_take(a->repo, w) : NULL;
        g = make_room(a, w->bytes, true) ? segment_new(a, w, 0, w->bytes, WHOLE, have) : NULL;
        if (g && have)
            g->state = SEGMENT_THERE;
        else if (g)
            g->queued = true;
        else
            seam_free(have);
    }
    if (g) g->holds++; /* stays while others are asked for */
    advance(a);
    if (g) g->holds--;
    bool found = g && hold(a, g, ret);
    pthread_mutex_unlock(&a->lock);
    return found;
}

bool ahead_offer(struct ahead *a, const struct digest *pack, struct bytes whole) {
    uint64_t meta = whole.len;
    if (!a || whole.len > META_WHOLE_MAX || whole.len < PACK_HEADER_BYTES + PACK_FOOTER_BYTES) return false;
    pthread_mutex_lock(&a->lock);
    for (struct segment *g = a->segments; g; g = g->next) meta += g->w->meta ? g->len : 0;
    struct want *w = want_find(a, pack);
    bool take = meta <= a->kept_max && !(w && segment_find(a, w, 0, whole.len));
    if (take && !w) w = want_new(a, &(struct want){.pack = *pack, .meta = true, .bytes = whole.len, .run = SIZE_MAX});
    take = take && w && make_room(a, whole.len, false);
    struct segment *g = take ? segment_new(a, w, 0, whole.len, WHOLE, (uint8_t *)(uintptr_t)whole.ptr) : NULL;
    if (g) g->state = SEGMENT_THERE;
    pthread_mutex_unlock(&a->lock);
    return g;
}

/* Room for a frame that is wanted again after its pack went; the least recently used others go. */
static struct segment *keep(struct ahead *a, struct want *w, uint64_t at, uint32_t len) {
    while (len <= a->kept_max && a->kept_bytes + len > a->kept_max) {
        struct segment *oldest = NULL;
        for (struct segment *g = a->segments; g; g = g->next)
            if (g->kept && !g->holds && (!oldest || g->used < oldest->used)) oldest = g;
        if (!oldest) return NULL;
        segment_drop(a, oldest);
    }
    return len <= a->kept_max ? segment_new(a, w, at, len, KEPT, NULL) : NULL;
}

/* From the frame on, over what is wanted behind it and gaps that are small, up to where another range has it already:
 * readers that are beside each other come to frames out of order. */
static uint64_t range_end(struct ahead *a, const struct want *w, const struct pack_in *in, uint32_t ordinal,
                          uint32_t *ret_frames) {
    const struct frame *f = pack_in_frame(in, ordinal);
    const uint64_t from = f->at, gap_max = a->in_order ? GAP_IN_ORDER_MAX : GAP_BYTES_MAX,
                   bytes_max = a->in_order ? RANGE_IN_ORDER_MAX : RANGE_BYTES_MAX;
    uint64_t end = f->at + f->stored_len;
    *ret_frames = 1;
    for (uint32_t i = ordinal + 1; (f = pack_in_frame(in, i)) && f->at - end <= gap_max; i++) {
        if (!wanted(w, i)) continue;
        if (f->at + f->stored_len - from > bytes_max || segment_find(a, w, f->at, f->stored_len)) break;
        end = f->at + f->stored_len;
        ++*ret_frames;
    }
    return end;
}

/* A range from this wanted frame on, queued; NULL where there is no room. */
static struct segment *range_new(struct ahead *a, struct want *w, const struct pack_in *in, uint32_t ordinal,
                                 bool waits) {
    uint32_t frames;
    const uint64_t at = pack_in_frame(in, ordinal)->at, len = range_end(a, w, in, ordinal, &frames) - at;
    struct segment *g = make_room(a, len, waits) ? segment_new(a, w, at, len, RANGE, NULL) : NULL;
    if (!g) return NULL;
    g->queued = true;
    g->left = frames;
    return g;
}

/* Those behind a frame that is read. */
static void ranges_next(struct ahead *a, struct want *w, const struct pack_in *in, uint32_t ordinal) {
    const struct frame *f;
    const struct segment *last = NULL;
    bool queued = false;
    for (unsigned n = 0; n < NEXT_RANGES && (f = pack_in_frame(in, ++ordinal));) {
        if (!wanted(w, ordinal)) continue;
        const struct segment *g = segment_find(a, w, f->at, f->stored_len);
        if (!g && !(g = range_new(a, w, in, ordinal, false))) break;
        queued |= g->queued;
        n += g != last;
        last = g;
    }
    if (queued) work_begin(a);
}

bool ahead_range(struct ahead *a, const struct location *l, const struct pack_in *in, struct ahead_hold *ret) {
    const struct frame *f = pack_in_frame(in, l->frame);
    if (!a || !f) return false;
    pthread_mutex_lock(&a->lock);
    struct want *w = want_get(a, l);
    struct segment *g = w ? segment_find(a, w, f->at, f->stored_len) : NULL;
    if (w && !g && wanted(w, l->frame)) {
        g = range_new(a, w, in, l->frame, true);
    } else if (w && !g && bit(w, l->frame, AGAIN)) {
        g = keep(a, w, f->at, f->stored_len);
        if (g) g->queued = true;
    }
    if (g) g->holds++; /* stays while others are asked for */
    if (g && a->in_order) ranges_next(a, w, in, l->frame);
    if (g) g->holds--;
    bool found = g && hold(a, g, ret);
    pthread_mutex_unlock(&a->lock);
    return found;
}

void ahead_release(struct ahead *a, const struct location *l, uint64_t at, uint32_t len, struct ahead_hold *h) {
    struct segment *g = h->segment;
    if (!g) return;
    h->segment = NULL;
    pthread_mutex_lock(&a->lock);
    struct want *w = g->w;
    struct segment *again;
    if (wanted(w, l->frame)) {
        bit_set(w, l->frame, WANTED, false);
        w->left--;
        if (g->left) g->left--;
        if (len && !w->meta && bit(w, l->frame, AGAIN) && segment_find(a, w, at, len) == g &&
            (again = keep(a, w, at, len))) {
            memcpy(again->bytes, h->bytes.ptr + (at - h->at), len);
            again->state = SEGMENT_THERE;
        }
    }
    g->holds--;
    if (spent(g)) {
        segment_drop(a, g);
        advance(a);
    }
    pthread_mutex_unlock(&a->lock);
}
