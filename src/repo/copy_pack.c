/* From a pack of the source into the destination's open packs, frame by frame. */
#include "repo/copy_internal.h"

#include <stdlib.h>

#define SPAN_MAX (4u << 20) /* read at once, when a frame is not larger */
#define GAP_MAX (64u << 10) /* what is not needed between two frames is read with them up to this */

void copy_failed(struct copier *c, const struct error *err) {
    pthread_mutex_lock(&c->lock);
    if (!c->has_failed) {
        c->failed = *err;
        c->has_failed = true;
    }
    pthread_mutex_unlock(&c->lock);
}

/* ---- what there is already ---- */

static bool in_session(struct copier *c, const uint8_t *id, bool base) {
    if (!idset_has(&c->w->set, id)) return false;
    return !base || !idset_has(&c->deltas, id) || idset_has(&c->plains, id);
}

bool copy_base_there(struct copier *c, const uint8_t *id) {
    if (base_use(c->w, id)) return true;
    pthread_mutex_lock(&c->w->set_lock);
    bool there = in_session(c, id, true);
    pthread_mutex_unlock(&c->w->set_lock);
    return there;
}

/* Under both locks. Marks nothing: what is there but not needed must not keep its pack. */
static bool there(struct copier *c, const uint8_t *id, bool base) {
    const struct index *x = &c->w->repo->index;
    struct location l, b;
    if (base ? index_find_plain(x, id, &l) : index_find(x, id, &l) && (!l.delta || index_find_plain(x, l.base, &b)))
        return true;
    return in_session(c, id, base);
}

enum claim { CLAIM_NOTHING, CLAIM_WHOLE, CLAIM_PARTS };

static int id_order(const void *id, const void *need) {
    return memcmp(id, ((const struct need *)need)->id, ID_PREFIX_BYTES);
}

/* Of several needs of one chunk, one may be of it as a base. */
static bool is_needed(const struct need *needs, size_t n, const uint8_t *id, bool *ret_base) {
    const struct need *found = bsearch(id, needs, n, sizeof *needs, id_order);
    if (!found) return false;
    while (found > needs && id_order(id, found - 1) == 0) found--;
    *ret_base = false;
    for (; found < needs + n && id_order(id, found) == 0; found++) *ret_base |= found->base;
    return true;
}

static int set_add(struct idset *s, const uint8_t *id, struct error *err) {
    return idset_has(s, id) ? 0 : idset_add(s, id, err);
}

/* A frame goes whole even when few of its members are needed: they were neighbours when they were read, so what is not
 * needed today mostly is by another snapshot, and taking it along costs less than to compress what is needed again.
 * More than half a frame of dead weight is too much, though: then the chunks are taken out of it. What goes whole is
 * claimed, so that no other task moves it too. */
static int frame_claim(struct copier *c, const struct frame *fr, const struct need *needs, size_t n, enum claim *ret,
                       struct error *err) {
    uint64_t waste = 0;
    unsigned wanted = 0;
    bool base = false;
    int rc = 0;
    *ret = CLAIM_NOTHING;
    pthread_rwlock_rdlock(&c->w->index_lock);
    pthread_mutex_lock(&c->w->set_lock);
    for (unsigned i = 0; i < fr->member_count; i++) {
        struct member m = frame_member(fr, i);
        bool as_base = false;
        if (is_needed(needs, n, m.id.b, &as_base) && !there(c, m.id.b, as_base)) {
            wanted++;
            base |= as_base;
        } else
            waste += m.len;
    }
    /* chunk_put would not store a base again that is there as a delta */
    if (wanted) *ret = waste > fr->plain_len / 2 && !base ? CLAIM_PARTS : CLAIM_WHOLE;
    for (unsigned i = 0; i < fr->member_count && *ret == CLAIM_WHOLE && rc == 0; i++) {
        struct member m = frame_member(fr, i);
        bool delta = fr->codec == CODEC_ZSTD_DELTA, known = idset_has(&c->w->set, m.id.b);
        c->w->new_chunks++;
        if (fr->kind == CHUNK_DATA) c->w->new_bytes += m.len;
        if (delta && !known) rc = set_add(&c->deltas, m.id.b, err);
        if (!delta && known && idset_has(&c->deltas, m.id.b)) rc = set_add(&c->plains, m.id.b, err);
        if (rc == 0) rc = set_add(&c->w->set, m.id.b, err);
    }
    pthread_mutex_unlock(&c->w->set_lock);
    pthread_rwlock_unlock(&c->w->index_lock);
    return rc;
}

/* ---- moving ---- */

void copy_bench_free(struct copy_bench *b) {
    if (!b) return;
    codec_free(b->codec);
    seam_free(b->sealed);
    seam_free(b->plain);
    seam_free(b->back);
    seam_free(b->members);
    seam_free(b);
}

static struct copy_bench *bench_take(struct copier *c, struct error *err) {
    pthread_mutex_lock(&c->lock);
    struct copy_bench *b = c->benches;
    if (b) c->benches = b->next;
    pthread_mutex_unlock(&c->lock);
    void *mem;
    if (b) return b;
    if (mem_alloc(sizeof *b, &mem, err) < 0) return NULL;
    b = mem;
    if (codec_new(&b->codec, err) == 0) return b;
    copy_bench_free(b);
    return NULL;
}

static void bench_give(struct copier *c, struct copy_bench *b) {
    pthread_mutex_lock(&c->lock);
    b->next = c->benches;
    c->benches = b;
    pthread_mutex_unlock(&c->lock);
}

static int room(uint8_t **p, size_t *cap, size_t want, struct error *err) {
    if (*cap >= want) return 0;
    if (want < SPAN_MAX / 2) want = SPAN_MAX / 2;
    seam_free(*p);
    *cap = 0;
    if (!(*p = seam_alloc(want))) return error_set(err, ERR_NO_MEMORY, "no memory for a frame of %zu bytes", want);
    *cap = want;
    return 0;
}

/* `sealed` is opened where it is. */
static int frame_move(struct copier *c, struct copy_bench *b, struct pack_in *in, uint32_t ordinal, uint8_t *sealed,
                      struct error *err) {
    const struct frame *fr = pack_in_frame(in, ordinal);
    struct bytes payload = BYTES_OF(sealed, fr->stored_len - AEAD_TAG_BYTES);
    struct fetched base = {0};
    int rc = room(&b->plain, &b->plain_cap, fr->plain_len + 1u, err);
    if (rc == 0) rc = room(&b->back, &b->back_cap, fr->stored_len, err);
    if (rc == 0) rc = mem_grow((void **)&b->members, &b->members_cap, fr->member_count, sizeof *b->members, err);
    if (rc == 0) rc = pack_in_unseal(in, ordinal, sealed, sealed, err);
    if (rc == -ERR_OBJECT_CORRUPT && pack_in_sealed_mended(c->from, in, ordinal, sealed)) {
        error_clear(err);
        rc = pack_in_unseal(in, ordinal, sealed, sealed, err);
    }
    if (rc == -ERR_OBJECT_CORRUPT && store_pin_first_version(c->from->store, pack_in_key(in))) {
        error_clear(err);
        rc = pack_in_sealed(c->from, in, ordinal, sealed, err);
        if (rc == 0) rc = pack_in_unseal(in, ordinal, sealed, sealed, err);
    }
    if (rc == 0 && fr->codec == CODEC_ZSTD_DELTA) {
        rc = fetch_base(c->fetcher, fr->base.b, &fr->base, &base, err);
        if (rc < 0) rc = error_wrap(err, "%s: the base of frame %u", pack_in_key(in), ordinal);
    }
    if (rc == 0) rc = frame_verify(c->from, in, ordinal, b->codec, payload, base.data, b->plain, err);
    if (base.hold) fetch_release(c->fetcher, &base);
    for (unsigned i = 0; i < fr->member_count && rc == 0; i++) b->members[i] = frame_member(fr, i);
    if (rc < 0) return rc;
    c->frames++;
    c->frame_bytes += payload.len;
    return frame_put(c->w, fr, b->members, payload, b->back, err);
}

struct span { /* frames that lie together */
    uint32_t *frames;
    size_t n, cap;
    uint64_t from, end;
};

static int span_move(struct copier *c, struct copy_bench *b, struct pack_in *in, struct span *s, struct error *err) {
    size_t len = (size_t)(s->end - s->from), got = 0;
    if (s->n == 0) return 0;
    int rc = room(&b->sealed, &b->sealed_cap, len, err);
    if (rc == 0) rc = store_read(c->from->store, pack_in_key(in), s->from, b->sealed, len, &got, err);
    if (rc == 0 && got != len)
        rc = error_set(err, ERR_OBJECT_CORRUPT, "%s: it is shorter than it says", pack_in_key(in));
    for (size_t i = 0; i < s->n && rc == 0; i++)
        rc = frame_move(c, b, in, s->frames[i], b->sealed + (pack_in_frame(in, s->frames[i])->at - s->from), err);
    c->read_bytes += got;
    s->n = 0;
    return rc;
}

static int span_add(struct copier *c, struct copy_bench *b, struct pack_in *in, struct span *s, uint32_t ordinal,
                    struct error *err) {
    const struct frame *fr = pack_in_frame(in, ordinal);
    int rc = 0;
    if (s->n && (fr->at > s->end + GAP_MAX || fr->at + fr->stored_len - s->from > SPAN_MAX))
        rc = span_move(c, b, in, s, err);
    if (rc == 0) rc = mem_grow((void **)&s->frames, &s->cap, s->n + 1, sizeof *s->frames, err);
    if (rc < 0) return rc;
    if (s->n == 0) s->from = fr->at;
    s->end = fr->at + fr->stored_len;
    s->frames[s->n++] = ordinal;
    return 0;
}

static int parts_move(struct copier *c, const struct frame *fr, const struct need *needs, size_t n, struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        struct fetched f;
        struct digest id;
        if ((rc = fetch_chunk(c->fetcher, needs[i].id, NULL, fr->kind, &f, err)) < 0) break;
        rc = chunk_put(c->w, fr->kind, f.data, &f.sha, NULL, &id, err);
        if (rc == 0 && !digest_equal(&id, &f.id)) rc = error_set(err, ERR_INTERNAL, "a copied chunk changed its id");
        fetch_release(c->fetcher, &f);
        c->encoded_chunks++;
    }
    c->read_bytes += fr->stored_len;
    return rc;
}

static int needs_move(struct copier *c, struct copy_bench *b, struct pack_in *in, const struct need *needs, size_t n,
                      struct error *err) {
    struct span span = {0};
    int rc = 0;
    for (size_t i = 0, k; i < n && rc == 0 && !c->has_failed; i = k) {
        const struct frame *fr = pack_in_frame(in, needs[i].frame);
        enum claim claim = CLAIM_NOTHING;
        for (k = i; k < n && needs[k].frame == needs[i].frame;) k++;
        if (!fr) {
            rc = error_set(err, ERR_OBJECT_CORRUPT, "%s: the index names a frame that it does not have",
                           pack_in_key(in));
            break;
        }
        rc = frame_claim(c, fr, needs + i, k - i, &claim, err);
        if (rc == 0 && claim == CLAIM_WHOLE) rc = span_add(c, b, in, &span, needs[i].frame, err);
        if (rc == 0 && claim == CLAIM_PARTS) rc = parts_move(c, fr, needs + i, k - i, err);
    }
    if (rc == 0) rc = span_move(c, b, in, &span, err);
    seam_free(span.frames);
    return rc;
}

void copy_pack(void *arg) {
    struct copy_task *t = arg;
    struct copier *c = t->c;
    struct error err = ERROR_INIT;
    struct pack_in *in = NULL;
    struct copy_bench *b = NULL;
    if (!c->has_failed && writer_alive(c->w, &err) == 0) {
        int rc = pack_in_open(c->from, t->needs[0].meta, &t->needs[0].pack, &in, &err);
        if (rc == 0) rc = (b = bench_take(c, &err)) ? 0 : -(int)err.code;
        if (rc == 0) rc = needs_move(c, b, in, t->needs, t->n, &err);
        if (rc < 0) copy_failed(c, &err);
        if (b) bench_give(c, b);
        pack_in_free(in);
        if (c->o->progress) c->o->progress(c->o->ctx, c->read_bytes, c->w->stored_bytes);
    }
    seam_free(t);
}
