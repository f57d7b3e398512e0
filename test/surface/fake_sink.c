#include "surface/fake_sink.h"
#include "crypto/crypto.h"
#include "crypto/parts.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define WINDOW 256 /* how far ahead of the oldest unfinished item one may be opened */
#define ROOM (64u << 10)

struct piece {
    uint64_t len;
    bool hole;
};
struct item {
    uint8_t *name, *attr, *data;
    size_t name_len, attr_len, data_len, data_cap;
    struct piece *pieces;
    size_t n_pieces;
    enum item_kind kind;
    uint64_t bytes, seq;
    struct digest sha256;
    bool dropped, lies;
    atomic_int refs; /* of snapshots that have it */
};
struct snapshot {
    struct item **items;
    size_t n, cap;
};
struct sink_item {
    struct fake *f;
    struct item *it;
    struct item *held; /* whose content it may have; a reference */
    struct sha256_state *hash;
    uint8_t *room;
    size_t room_len;
};
struct source_item {
    struct item *it;
    struct sha256_state *hash;
    size_t piece;
    uint64_t at;
    bool late, apart;
};
struct fake {
    struct sink sink;
    struct source source;
    struct snapshot sealed, building;
    pthread_mutex_t lock;
    pthread_cond_t moved;
    uint64_t oldest; /* unfinished seq */
    bool any_order, ordered; /* how items came */
    uint8_t *finished;
    size_t finished_cap;
    pthread_t walker;
    bool has_walker, discard;
    size_t cursor;
    struct item *answered; /* by the last known */
    uint8_t *asked;
    size_t asked_len;
    uint64_t fail_open;
    struct fake_counts counts;
    char breach[256];
};

static void *need(void *p) {
    if (!p) abort();
    return p;
}

static void *copy(const void *p, size_t n) {
    void *q = need(malloc(n ? n : 1));
    if (n) memcpy(q, p, n);
    return q;
}

static struct bytes item_name(const struct item *it) {
    return BYTES_OF(it->name, it->name_len);
}

static void item_unref(struct item *it) {
    if (atomic_fetch_sub(&it->refs, 1) != 1) return;
    free(it->name);
    free(it->attr);
    free(it->data);
    free(it->pieces);
    free(it);
}

static void snapshot_clear(struct snapshot *s) {
    for (size_t i = 0; i < s->n; i++) item_unref(s->items[i]);
    free(s->items);
    *s = (struct snapshot){0};
}

static void snapshot_add(struct snapshot *s, struct item *it) {
    if (s->n == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 64;
        s->items = need(realloc(s->items, s->cap * sizeof *s->items));
    }
    s->items[s->n++] = it;
}

static void breach(struct fake *f, const char *text, struct bytes name) {
    if (!f->breach[0])
        snprintf(f->breach, sizeof f->breach, "%s: %.*s", text, (int)name.len, name.ptr ? (const char *)name.ptr : "");
}

/* A seq is used up; the lock is held. */
static void finish(struct fake *f, uint64_t seq) {
    if (seq == SINK_ANY_ORDER) return;
    if (seq >= f->finished_cap) {
        size_t n = f->finished_cap ? f->finished_cap : 1024;
        while (n <= seq) n *= 2;
        f->finished = need(realloc(f->finished, n));
        memset(f->finished + f->finished_cap, 0, n - f->finished_cap);
        f->finished_cap = n;
    }
    if (f->finished[seq]) breach(f, "a seq was used twice", (struct bytes){0});
    f->finished[seq] = 1;
    while (f->oldest < f->finished_cap && f->finished[f->oldest]) f->oldest++;
    pthread_cond_broadcast(&f->moved);
}

static bool on_known(struct sink *s, struct bytes name, struct item_known *ret) {
    struct fake *f = (struct fake *)s;
    bool found = false;
    pthread_mutex_lock(&f->lock);
    f->counts.known++;
    f->answered = NULL;
    if (!f->has_walker) f->walker = pthread_self();
    f->has_walker = true;
    if (!pthread_equal(f->walker, pthread_self())) breach(f, "known was asked by two threads", name);
    if (f->asked && name_compare(BYTES_OF(f->asked, f->asked_len), name) >= 0)
        breach(f, "known was asked out of order", name);
    free(f->asked);
    f->asked = copy(name.ptr, name.len);
    f->asked_len = name.len;
    while (f->cursor < f->sealed.n && name_compare(item_name(f->sealed.items[f->cursor]), name) < 0) f->cursor++;
    if (f->cursor < f->sealed.n && bytes_equal(item_name(f->sealed.items[f->cursor]), name)) {
        struct item *it = f->sealed.items[f->cursor];
        *ret = (struct item_known){BYTES_OF(it->attr, it->attr_len), it->kind, it->bytes, it->sha256};
        f->answered = it;
        found = true;
    }
    pthread_mutex_unlock(&f->lock);
    return found;
}

static int on_keep(struct sink *s, uint64_t seq, struct bytes name, struct bytes attr, struct error *err) {
    struct fake *f = (struct fake *)s;
    (void)err;
    pthread_mutex_lock(&f->lock);
    struct item *old = f->answered;
    if (!old || !bytes_equal(item_name(old), name))
        breach(f, "something was kept that known did not just answer", name);
    if (seq == SINK_ANY_ORDER) breach(f, "something was kept without a number", name);
    if (old) {
        struct item *it = need(calloc(1, sizeof *it));
        it->name = copy(name.ptr, name.len);
        it->name_len = name.len;
        it->attr = copy(attr.ptr, attr.len);
        it->attr_len = attr.len;
        it->kind = old->kind;
        it->bytes = old->bytes;
        it->sha256 = old->sha256;
        it->data = copy(old->data, old->data_len);
        it->data_len = old->data_len;
        it->pieces = copy(old->pieces, old->n_pieces * sizeof *old->pieces);
        it->n_pieces = old->n_pieces;
        it->seq = seq;
        atomic_init(&it->refs, 1);
        snapshot_add(&f->building, it);
    }
    f->counts.kept++;
    finish(f, seq);
    pthread_mutex_unlock(&f->lock);
    return 0;
}

static int on_open(struct sink *s, uint64_t seq, struct bytes name, enum item_kind kind, struct sink_item **ret,
                   struct error *err) {
    struct fake *f = (struct fake *)s;
    pthread_mutex_lock(&f->lock);
    bool fail = f->fail_open && --f->fail_open == 0;
    if (fail) f->fail_open = 1;
    *(seq == SINK_ANY_ORDER ? &f->any_order : &f->ordered) = true;
    if (f->any_order && f->ordered) breach(f, "items came both by number and in any order", name);
    while (!fail && seq != SINK_ANY_ORDER && seq > f->oldest + WINDOW) pthread_cond_wait(&f->moved, &f->lock);
    f->counts.opened++;
    if (fail) finish(f, seq);
    pthread_mutex_unlock(&f->lock);
    if (fail) return error_set(err, ERR_IO_FULL, "the fake sink is full");
    struct item *it = need(calloc(1, sizeof *it));
    it->name = copy(name.ptr, name.len);
    it->name_len = name.len;
    it->kind = kind;
    it->seq = seq;
    atomic_init(&it->refs, 1);
    struct sink_item *h = need(calloc(1, sizeof *h));
    *h = (struct sink_item){.f = f, .it = it};
    if (sha256_new(&h->hash, err)) {
        pthread_mutex_lock(&f->lock);
        finish(f, seq);
        pthread_mutex_unlock(&f->lock);
        item_unref(it);
        free(h);
        return -(int)err->code;
    }
    *ret = h;
    return 0;
}

static int on_hold(struct sink *s, uint64_t seq, struct bytes name, struct sink_item **ret, struct error *err) {
    struct fake *f = (struct fake *)s;
    pthread_mutex_lock(&f->lock);
    struct item *old = f->answered;
    if (!old || !bytes_equal(item_name(old), name))
        breach(f, "something was held that known did not just answer", name);
    if (old) atomic_fetch_add(&old->refs, 1);
    f->answered = NULL;
    f->counts.held++;
    pthread_mutex_unlock(&f->lock);
    int rc = on_open(s, seq, name, old ? old->kind : ITEM_FILE, ret, err);
    if (rc == 0)
        (*ret)->held = old;
    else if (old)
        item_unref(old);
    return rc;
}

static int on_space(struct sink_item *h, uint8_t **ret, size_t *ret_len, struct error *err) {
    (void)err;
    if (!h->room) h->room = need(aligned_alloc(4096, ROOM));
    *ret = h->room;
    *ret_len = ROOM;
    return 0;
}

static void piece_add(struct item *it, uint64_t len, bool hole) {
    it->bytes += len;
    if (it->n_pieces && it->pieces[it->n_pieces - 1].hole == hole) {
        it->pieces[it->n_pieces - 1].len += len;
        return;
    }
    it->pieces = need(realloc(it->pieces, (it->n_pieces + 1) * sizeof *it->pieces));
    it->pieces[it->n_pieces++] = (struct piece){len, hole};
}

static int on_advance(struct sink_item *h, size_t n, struct error *err) {
    (void)err;
    struct item *it = h->it;
    sha256_update(h->hash, BYTES_OF(h->room, n));
    piece_add(it, n, false);
    if (h->f->discard) return 0;
    if (it->data_len + n > it->data_cap) {
        it->data_cap = 2 * it->data_cap > it->data_len + n ? 2 * it->data_cap : it->data_len + n;
        it->data = need(realloc(it->data, it->data_cap));
    }
    memcpy(it->data + it->data_len, h->room, n);
    it->data_len += n;
    return 0;
}

static void hash_zeros(struct sha256_state *hash, uint64_t len) {
    static const uint8_t zeros[ROOM];
    for (uint64_t n; len > 0; len -= n) {
        n = len < ROOM ? len : ROOM;
        sha256_update(hash, BYTES_OF(zeros, n));
    }
}

static int on_hole(struct sink_item *h, uint64_t len, struct error *err) {
    if (h->it->kind == ITEM_PARTS) { /* stored as zeros */
        uint8_t *p;
        int rc = 0;
        for (size_t n; rc == 0 && len > 0; len -= n) {
            if ((rc = on_space(h, &p, &n, err)) < 0) break;
            if (len < n) n = (size_t)len;
            memset(p, 0, n);
            rc = on_advance(h, n, err);
        }
        return rc;
    }
    hash_zeros(h->hash, len);
    piece_add(h->it, len, true);
    return 0;
}

static int on_restart(struct sink_item *h, struct error *err) {
    (void)err;
    struct digest ignored;
    if (h->held) item_unref(h->held);
    h->held = NULL;
    sha256_finish(h->hash, &ignored);
    h->it->data_len = h->it->n_pieces = 0;
    h->it->bytes = 0;
    pthread_mutex_lock(&h->f->lock);
    h->f->counts.restarted++;
    pthread_mutex_unlock(&h->f->lock);
    return 0;
}

static void handle_end(struct sink_item *h, bool dropped) {
    struct fake *f = h->f;
    pthread_mutex_lock(&f->lock);
    if (dropped) {
        f->counts.dropped++;
        finish(f, h->it->seq);
        item_unref(h->it);
    } else {
        snapshot_add(&f->building, h->it);
        finish(f, h->it->seq);
    }
    pthread_mutex_unlock(&f->lock);
    if (h->held) item_unref(h->held);
    sha256_free(h->hash);
    free(h->room);
    free(h);
}

/* The digest by parts, of an item that has all of its data. */
static void parts_of(struct item *it) {
    struct error err = ERROR_INIT;
    struct sha256_state *s = NULL;
    if (sha256_new(&s, &err) < 0) abort();
    if (it->data_len != it->bytes) abort();
    parts_update(s, BYTES_OF(it->data, it->data_len), NULL);
    sha256_finish(s, &it->sha256);
    sha256_free(s);
}

static int on_close(struct sink_item *h, struct bytes attr, struct digest *ret_sha256, struct error *err) {
    (void)err;
    h->it->attr = copy(attr.ptr, attr.len);
    h->it->attr_len = attr.len;
    sha256_finish(h->hash, &h->it->sha256);
    if (h->it->kind == ITEM_PARTS) parts_of(h->it);
    if (ret_sha256) *ret_sha256 = h->it->sha256;
    handle_end(h, false);
    return 0;
}

static int on_confirm(struct sink_item *h, struct bytes attr, struct error *err) {
    (void)err;
    const struct item *old = h->held;
    if (!old || h->it->n_pieces) breach(h->f, "something was confirmed that was not held", item_name(h->it));
    if (old) {
        h->it->bytes = old->bytes;
        h->it->sha256 = old->sha256;
        h->it->data = copy(old->data, old->data_len);
        h->it->data_len = old->data_len;
        h->it->pieces = copy(old->pieces, old->n_pieces * sizeof *old->pieces);
        h->it->n_pieces = old->n_pieces;
    }
    h->it->attr = copy(attr.ptr, attr.len);
    h->it->attr_len = attr.len;
    pthread_mutex_lock(&h->f->lock);
    h->f->counts.confirmed++;
    pthread_mutex_unlock(&h->f->lock);
    handle_end(h, false);
    return 0;
}

static void on_drop(struct sink_item *h) {
    if (h) handle_end(h, true);
}

static const struct sink_ops sink_ops = {on_known,   on_keep,  on_open, on_space, on_advance, on_hole,
                                         on_restart, on_close, on_drop, on_hold,  on_confirm};

struct sink *fake_sink(struct fake *f) {
    snapshot_clear(&f->building);
    free(f->asked);
    free(f->finished);
    f->asked = f->finished = NULL;
    f->asked_len = f->finished_cap = f->cursor = 0;
    f->oldest = 0;
    f->any_order = f->ordered = false;
    f->has_walker = false;
    f->counts = (struct fake_counts){0};
    f->breach[0] = 0;
    return &f->sink;
}

static int seq_compare(const void *a, const void *b) {
    const struct item *x = *(struct item *const *)a, *y = *(struct item *const *)b;
    if (x->seq == SINK_ANY_ORDER && y->seq == SINK_ANY_ORDER) return name_compare(item_name(x), item_name(y));
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

int fake_seal(struct fake *f, struct error *err) {
    struct snapshot *s = &f->building;
    if (s->n) qsort(s->items, s->n, sizeof *s->items, seq_compare);
    for (size_t i = 1; i < s->n; i++)
        if (name_compare(item_name(s->items[i - 1]), item_name(s->items[i])) >= 0)
            breach(f, f->any_order ? "a name came twice" : "seq numbers are not in the order of names",
                   item_name(s->items[i]));
    for (size_t i = f->oldest; i < f->finished_cap; i++)
        if (f->finished[i]) breach(f, "a seq was left out", (struct bytes){0});
    if (f->breach[0]) return error_set(err, ERR_INTERNAL, "the driver broke the sink's contract: %s", f->breach);
    snapshot_clear(&f->sealed);
    f->sealed = f->building;
    f->building = (struct snapshot){0};
    return 0;
}

void fake_abandon(struct fake *f) {
    snapshot_clear(&f->building);
}

/* ---- source ---- */

static int on_walk(struct source *s, struct bytes prefix, int (*cb)(void *, const struct source_head *, struct error *),
                   void *ctx, struct error *err) {
    struct fake *f = (struct fake *)((char *)s - offsetof(struct fake, source));
    for (size_t i = 0; i < f->sealed.n; i++) {
        struct item *it = f->sealed.items[i];
        if (it->name_len < prefix.len || (prefix.len && memcmp(it->name, prefix.ptr, prefix.len) != 0)) continue;
        /* Borrowed means borrowed: a driver that keeps the slices sees them go. */
        struct source_head h = {.kind = it->kind, .bytes = it->bytes, .sha256 = it->sha256, .ordinal = i};
        uint8_t *name = copy(it->name, it->name_len), *attr = copy(it->attr, it->attr_len);
        h.name = BYTES_OF(name, it->name_len);
        h.attr = BYTES_OF(attr, it->attr_len);
        int rc = cb(ctx, &h, err);
        free(name);
        free(attr);
        if (rc) return rc;
    }
    return 0;
}

static int on_source_open(struct source *s, const struct source_head *h, struct source_item **ret, struct error *err) {
    struct fake *f = (struct fake *)((char *)s - offsetof(struct fake, source));
    struct source_item *r = need(calloc(1, sizeof *r));
    r->it = f->sealed.items[h->ordinal];
    int rc = sha256_new(&r->hash, err);
    if (rc)
        free(r);
    else
        *ret = r;
    return rc;
}

/* Odd sizes, so that nothing rests on alignment. */
#define CHUNK 200003u

static void on_late(struct source_item *r) {
    r->late = true;
}

/* Something else, of the same length. */
static int lie(struct source_item *r, struct bytes *ret, struct error *err) {
    static const uint8_t junk[200003] = {1, 2, 3};
    const uint64_t left = r->it->bytes - r->at, n = left < sizeof junk ? left : sizeof junk;
    *ret = n ? BYTES_OF(junk, n) : (struct bytes){0};
    r->at += n;
    return n ? 0 : error_set(err, ERR_RESTORE_DIFFERS, "the fake source lied");
}

static int on_next(struct source_item *r, struct bytes *ret, struct error *err) {
    struct item *it = r->it;
    if (r->late && it->lies) return lie(r, ret, err);
    if (r->piece == it->n_pieces) {
        struct digest d;
        sha256_finish(r->hash, &d);
        *ret = (struct bytes){0};
        if (it->kind == ITEM_PARTS) {
            struct item now = *it;
            parts_of(&now);
            d = now.sha256;
        }
        if (!r->apart && !digest_equal(&d, &it->sha256))
            return error_set(err, ERR_RESTORE_DIFFERS, "the fake source is spoilt");
        return 0;
    }
    struct piece *p = &it->pieces[r->piece];
    if (p->hole) {
        hash_zeros(r->hash, p->len);
        *ret = BYTES_OF(NULL, p->len);
        r->piece++;
        return 0;
    }
    uint64_t before = 0, start = 0;
    for (size_t i = 0; i < r->piece; i++)
        if (!it->pieces[i].hole) before += it->pieces[i].len;
    start = r->at - before;
    size_t n = CHUNK - start % CHUNK;
    if (n > p->len - start) n = (size_t)(p->len - start);
    *ret = BYTES_OF(it->data + r->at, n);
    sha256_update(r->hash, *ret);
    r->at += n;
    if (start + n == p->len) r->piece++;
    return 0;
}

static void on_source_close(struct source_item *r) {
    if (!r) return;
    sha256_free(r->hash);
    free(r);
}

/* ---- what a source may offer besides: of items without holes ---- */

static int on_peek(struct source_item *r, struct extent *ret, struct error *err) {
    (void)err;
    const uint64_t at = r->at - r->at % CHUNK, left = r->it->bytes - at;
    *ret = (struct extent){.at = at, .len = left < CHUNK ? left : CHUNK};
    return 0;
}

static int on_match(struct source_item *r, struct bytes have, bool *ret, struct error *err) {
    struct extent e;
    int rc = on_peek(r, &e, err);
    *ret = rc == 0 && e.at == r->at && e.len && have.len >= e.len && memcmp(r->it->data + r->at, have.ptr, e.len) == 0;
    if (!*ret) return rc;
    if (!r->apart) sha256_update(r->hash, BYTES_OF(have.ptr, e.len));
    r->at += e.len;
    if (r->at == r->it->bytes) r->piece++;
    return 0;
}

static void on_apart(struct source_item *r) {
    r->apart = true;
}

atomic_uint fake_seeks;
static int on_seek(struct source_item *r, uint64_t at, struct error *err) {
    (void)err;
    fake_seeks++;
    r->at = at;
    return 0;
}

static const struct source_ops matching_ops = {on_walk, on_source_open, on_next, on_source_close, NULL,
                                               on_peek, on_match,       on_late, on_apart,        on_seek};
static const struct source_ops source_ops = {on_walk, on_source_open, on_next, on_source_close,
                                             NULL,    NULL,           NULL,    on_late};

struct source *fake_source(struct fake *f) {
    return &f->source;
}

void fake_matching(struct fake *f) {
    f->source.ops = &matching_ops;
}

void fake_add(struct fake *f, const char *name, struct bytes attr, enum item_kind kind, struct bytes content) {
    struct item *it = need(calloc(1, sizeof *it));
    it->name = copy(name, strlen(name));
    it->name_len = strlen(name);
    it->attr = copy(attr.ptr, attr.len);
    it->attr_len = attr.len;
    it->kind = kind;
    it->data = copy(content.ptr, content.len);
    it->data_len = content.len;
    if (content.len) piece_add(it, content.len, false);
    sha256(content, &it->sha256);
    atomic_init(&it->refs, 1);
    snapshot_add(&f->sealed, it);
}

/* ---- for tests ---- */

struct fake *fake_new(void) {
    struct fake *f = need(calloc(1, sizeof *f));
    f->sink.ops = &sink_ops;
    f->source.ops = &source_ops;
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->moved, NULL);
    return f;
}

void fake_free(struct fake *f) {
    if (!f) return;
    snapshot_clear(&f->building);
    snapshot_clear(&f->sealed);
    free(f->asked);
    free(f->finished);
    pthread_cond_destroy(&f->moved);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

size_t fake_count(const struct fake *f) {
    return f->sealed.n;
}

struct fake_view fake_at(const struct fake *f, size_t i) {
    const struct item *it = f->sealed.items[i];
    return (struct fake_view){
        item_name(it), BYTES_OF(it->attr, it->attr_len), it->kind, it->bytes, it->data_len, it->sha256, it->data};
}

static struct item *item_find(const struct fake *f, const char *name) {
    for (size_t i = 0; i < f->sealed.n; i++)
        if (bytes_equal(item_name(f->sealed.items[i]), BYTES_STR(name))) return f->sealed.items[i];
    return NULL;
}

bool fake_find(const struct fake *f, const char *name, struct fake_view *ret) {
    for (size_t i = 0; i < f->sealed.n; i++) {
        if (!bytes_equal(item_name(f->sealed.items[i]), BYTES_STR(name))) continue;
        *ret = fake_at(f, i);
        return true;
    }
    return false;
}

void fake_spoil(struct fake *f, const char *name) {
    struct item *it = item_find(f, name);
    if (!it || !it->data_len) abort();
    it->data[it->data_len / 2] ^= 1;
}

void fake_lie_late(struct fake *f, const char *name) {
    struct item *it = item_find(f, name);
    if (!it) abort();
    it->lies = true;
}

struct fake_counts fake_counts(const struct fake *f) {
    return f->counts;
}
void fake_fail_open(struct fake *f, uint64_t n) {
    f->fail_open = n;
}
void fake_discard(struct fake *f, bool on) {
    f->discard = on;
}
