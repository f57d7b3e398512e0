/* Rewriting packs that are mostly dead. */
#include "repo/maintain_internal.h"
#include "repo/nameset.h"
#include "repo/writer_internal.h"

#define MOVE_SHARE 6  /* a pack is sooner read whole than in pieces, one after the other */
#define MOVERS 2      /* threads that read packs beside the caller: what one waits for, the others do not */
/* A frame goes as it is, compressed no second time, when no more than a quarter of it is dead; of those that are up to
 * half dead as many as leave no more than an eighth of all that was moved so far dead. Either way about a
 * quarter at the most is of what is moved together, which as a whole is not moved again at 0.7. */
#define WASTE_SHARE 4
#define WASTE_SHARE_MAX 2
#define WASTE_SHARE_ALL 8

struct marks {
    struct repo *r;
    size_t runs;
    uint8_t **live; /* a bit an entry, for each run */
};

static int mark(void *ctx, const uint8_t *id, struct error *err) {
    struct marks *m = ctx;
    struct copies at = {0};
    struct location l;
    bool found = false;
    while (index_copy(&m->r->index, id, &at, &l)) {
        bit_set(m->live[l.run], l.entry);
        found = true;
    }
    if (!found) {
        char hex[33];
        int rc = repo_index_whole(m->r, err);
        if (rc < 0) return rc;
        hex_encode(id, ID_PREFIX_BYTES, hex);
        return error_set(err, ERR_OBJECT_MISSING, "a live snapshot needs chunk %s, which the index does not know", hex);
    }
    return 0;
}

void marks_free(struct marks *m) {
    if (!m) return;
    for (size_t i = 0; m->live && i < m->runs; i++) seam_free(m->live[i]);
    seam_free(m->live);
    seam_free(m);
}

static int marks_make(struct repo *r, struct marks **ret, struct error *err) {
    void *mem;
    int rc = mem_alloc(sizeof(struct marks), &mem, err);
    if (rc < 0) return rc;
    struct marks *m = mem;
    *m = (struct marks){.r = r, .runs = r->index.count};
    rc = mem_alloc((m->runs + 1) * sizeof *m->live, &mem, err);
    if (rc == 0) m->live = mem;
    for (size_t i = 0; i < m->runs && rc == 0; i++) {
        rc = mem_alloc(index_entry_count(&r->index, i) / 8 + 1, &mem, err);
        m->live[i] = rc == 0 ? mem : NULL;
    }
    if (rc == 0) rc = live_chunks(r, mark, m, err);
    if (rc < 0)
        marks_free(m);
    else
        *ret = m;
    return rc;
}

static int run_use(const struct index *x, size_t i, const uint8_t *live,
                   int (*cb)(void *, const struct pack_use *, struct error *), void *ctx, struct error *err) {
    struct run_view v;
    void *mem = NULL;
    int rc = index_scan(x, i, true, &v, err);
    if (rc == 0) rc = mem_alloc(v.pack_count * sizeof(struct pack_use) + 1, &mem, err);
    struct pack_use *use = mem;
    for (uint32_t p = 0; p < v.pack_count && rc == 0; p++)
        memcpy(use[p].name.b, v.packs + (size_t)p * RUN_PACK_BYTES, DIGEST_BYTES);
    for (uint64_t k = 0; k < v.entry_count && rc == 0; k++) {
        const uint8_t *e = v.entries + k * RUN_ENTRY_BYTES;
        if (get_u32(e + 16) >= v.pack_count) continue;
        struct pack_use *u = &use[get_u32(e + 16)];
        u->total += get_u32(e + 24);
        if (bit_get(live, k)) u->live += get_u32(e + 24);
        if (get_u32(e + 28) & ENTRY_DELTA) k++;
    }
    for (uint32_t p = 0; p < v.pack_count && rc == 0; p++) rc = cb(ctx, &use[p], err);
    index_scan_end(&v);
    seam_free(mem);
    return rc;
}

int packs_use(struct repo *r, int (*cb)(void *, const struct pack_use *, struct error *), void *ctx,
              struct marks **ret_marks, struct error *err) {
    struct marks *m = NULL;
    int rc = marks_make(r, &m, err);
    for (size_t i = 0; i < r->index.count && rc == 0; i++) rc = run_use(&r->index, i, m->live[i], cb, ctx, err);
    if (rc == 0 && ret_marks)
        *ret_marks = m;
    else
        marks_free(m);
    return rc;
}

/* What every pack is moved with. */
struct repacking {
    struct writer *w;
    const struct marks *m;
    struct fetcher *f;
    uint64_t moved, waste; /* plain bytes so far, of frames; under set_lock */
};
/* A pack that is moved; where something live is in it, where that is a help. */
struct move {
    struct repacking *by;
    const struct pack_fact *of;
    struct location at;
    uint64_t live; /* bytes */
    bool found;
    unsigned epoch;
};

/* What is live in the packs that are moved, of one run. With `f` the fetcher is told of it, else `moves` is filled. */
static int moves_scan(const struct marks *m, size_t run, const struct pack_facts *which, struct fetcher *f,
                      struct move *moves, struct error *err) {
    struct run_view v;
    void *mem = NULL;
    int rc = index_scan(&m->r->index, run, true, &v, err);
    if (rc == 0) rc = mem_alloc((v.pack_count + 1) * sizeof(struct pack_fact *), &mem, err);
    const struct pack_fact **of = mem;
    for (uint32_t p = 0; p < v.pack_count && rc == 0; p++) {
        struct digest name;
        memcpy(name.b, v.packs + (size_t)p * RUN_PACK_BYTES, DIGEST_BYTES);
        of[p] = pack_fact_find(which, &name);
    }
    for (uint64_t k = 0; k < v.entry_count && rc == 0; k++) {
        const uint8_t *e = v.entries + k * RUN_ENTRY_BYTES;
        struct location l = {.run = run, .entry = k, .pack = get_u32(e + 16), .frame = get_u32(e + 20)};
        if (get_u32(e + 28) & ENTRY_DELTA) k++;
        if (l.pack >= v.pack_count || !of[l.pack] || !bit_get(m->live[run], l.entry)) continue;
        if (f)
            fetch_expect_at(f, &l);
        else {
            struct move *to = &moves[of[l.pack] - which->f];
            to->at = l;
            to->live += get_u32(e + 24);
            to->found = true;
        }
    }
    index_scan_end(&v);
    seam_free(mem);
    return rc;
}

static int thin_first(const void *a, const void *b) {
    const struct move *x = a, *y = b;
    return (x->live > y->live) - (x->live < y->live);
}

/* The packs in the order in which they are moved, of which the fetcher is told where that is a help: those that come in
 * pieces first, as their pieces are waited for while the others, which come whole, are worked on. */
static int moves_make(struct repacking *by, const struct pack_facts *which, struct move **ret, struct error *err) {
    const struct repo *r = by->w->repo;
    void *mem;
    int rc = mem_alloc((which->n + 1) * sizeof(struct move), &mem, err);
    if (rc < 0) return rc;
    struct move *moves = *ret = mem;
    for (size_t i = 0; i < which->n; i++) moves[i] = (struct move){.by = by, .of = &which->f[i]};
    if (!store_reads_many(r->store)) return 0;
    for (size_t i = 0; i < r->index.count && rc == 0; i++) rc = moves_scan(by->m, i, which, NULL, moves, err);
    qsort(moves, which->n, sizeof *moves, thin_first);
    fetch_share(by->f, MOVE_SHARE);
    for (size_t i = 0; i < which->n && rc == 0; i++)
        if (moves[i].found) fetch_expect_at(by->f, &moves[i].at);
    for (size_t i = 0; i < r->index.count && rc == 0; i++) rc = moves_scan(by->m, i, which, by->f, NULL, err);
    return rc;
}

/* A pack that is moved: its frames are tasks, and its directory is held until the last of them is done. */
struct moving_pack {
    struct writer *w;
    const struct marks *m;
    struct fetcher *f;
    struct repacking *by;
    struct pack_in *in;
    struct pack_in *own; /* of `in`, when it is ours */
    void *hold;          /* else the fetcher's */
    atomic_uint holds;
};
struct moving_frame {
    struct moving_pack *p;
    uint32_t ordinal;
    bool only; /* copy of all that is in it */
    uint8_t sealed[];
};

static void moving_pack_release(struct moving_pack *p) {
    if (atomic_fetch_sub(&p->holds, 1) > 1) return;
    if (p->hold) fetch_dir_release(p->f, p->hold);
    pack_in_free(p->own);
    seam_free(p);
}

/* A copy elsewhere is no reason to drop this one: the snapshots that list this pack may not list that. */
static bool member_lives(const struct moving_pack *p, const struct member *mem) {
    struct location l;
    return index_find(&p->w->repo->index, mem->id.b, &l) && bit_get(p->m->live[l.run], l.entry);
}

static int parts_move(struct moving_pack *p, uint32_t ordinal, struct error *err) {
    const struct frame *fr = pack_in_frame(p->in, ordinal);
    int rc = 0;
    for (unsigned k = 0; k < fr->member_count && rc == 0; k++) {
        struct member mem = frame_member(fr, k);
        struct digest id;
        struct fetched c;
        if (!member_lives(p, &mem)) continue;
        if ((rc = fetch_chunk(p->f, mem.id.b, &mem.id, fr->kind, &c, err)) < 0) break;
        rc = chunk_put(p->w, fr->kind, c.data, &c.sha, NULL, &id, err);
        fetch_release(p->f, &c);
        if (rc == 0 && !digest_equal(&id, &mem.id)) rc = error_set(err, ERR_INTERNAL, "a moved chunk changed its id");
    }
    return rc;
}

/* How much of a frame is dead, or stored by now; more than all of a delta, which never goes as it is: its chunk may be
 * another's base here. Under set_lock. */
static uint64_t frame_waste(const struct moving_pack *p, const struct frame *fr) {
    uint64_t waste = 0;
    if (fr->codec == CODEC_ZSTD_DELTA) return UINT64_MAX;
    for (unsigned k = 0; k < fr->member_count; k++) {
        const struct member mem = frame_member(fr, k);
        if (idset_has(&p->w->set, mem.id.b) || !member_lives(p, &mem)) waste += mem.len;
    }
    return waste;
}

/* Whether a frame goes as it is. Under set_lock. */
static bool goes_whole(const struct moving_pack *p, const struct frame *fr) {
    struct repacking *by = p->by;
    const uint64_t waste = frame_waste(p, fr), len = fr->plain_len;
    const bool few = by->waste + waste <= (by->moved + len) / WASTE_SHARE_ALL;
    const bool whole = waste < len && waste <= len / (few ? WASTE_SHARE_MAX : WASTE_SHARE);
    if (whole) by->waste += waste;
    by->moved += whole ? len : waste < len ? len - waste : 0;
    return whole;
}

/* Whether nothing of a frame is anywhere else, so that there is nothing that it could put out of its place: then it
 * need not be decoded, as that would tell no more than what it was before. */
static bool frame_only(const struct moving_pack *p, const struct digest *pack, uint32_t ordinal) {
    const struct index *x = &p->w->repo->index;
    const struct frame *fr = pack_in_frame(p->in, ordinal);
    struct location first = {0}, l, other;
    for (unsigned k = 0; k < fr->member_count; k++) {
        const struct member mem = frame_member(fr, k);
        struct copies at = {0};
        struct digest in;
        if (!index_copy(x, mem.id.b, &at, &l) || l.frame != ordinal || index_copy(x, mem.id.b, &at, &other))
            return false;
        if (k && l.run == first.run && l.pack == first.pack) continue;
        if (!index_pack(x, &l, &in, NULL, NULL) || !digest_equal(&in, pack)) return false;
        first = l;
    }
    return true;
}

/* The chunks of a frame that goes as it is are stored from now on. */
static int claim(void *ctx, const struct frame *fr, bool *ret, struct error *err) {
    const struct moving_frame *t = ctx;
    struct writer *w = t->p->w;
    int rc = 0;
    pthread_mutex_lock(&w->set_lock);
    *ret = t->only || frame_waste(t->p, fr) <= fr->plain_len / WASTE_SHARE_MAX;
    for (unsigned k = 0; k < fr->member_count && *ret && rc == 0; k++) {
        const struct member mem = frame_member(fr, k);
        if (!idset_has(&w->set, mem.id.b)) rc = idset_add(&w->set, mem.id.b, err);
    }
    pthread_mutex_unlock(&w->set_lock);
    return rc;
}

static void frame_task(void *arg) {
    struct moving_frame *t = arg;
    struct moving_pack *p = t->p;
    struct error err = ERROR_INIT;
    bool moved = false;
    int rc = writer_alive(p->w, &err);
    if (rc == 0) rc = frame_carry(p->w, p->in, t->ordinal, t->sealed, !t->only, claim, t, &moved, &err);
    if (rc == -ERR_OBJECT_CORRUPT && !moved) {
        /* as it came it is damaged; for chunks there are other ways to come by them, and words for it */
        error_clear(&err);
        rc = 0;
    }
    if (rc == 0 && !moved) rc = parts_move(p, t->ordinal, &err);
    if (rc < 0) writer_fail(p->w, &err);
    moving_pack_release(p);
    seam_free(t);
}

/* `at` is NULL where it is of no help. */
static int frames_move(struct moving_pack *p, const struct digest *pack, const struct move *at, struct error *err) {
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < pack_in_frames(p->in); i++) {
        const struct frame *fr = pack_in_frame(p->in, i);
        pthread_mutex_lock(&p->w->set_lock);
        const bool whole = goes_whole(p, fr);
        pthread_mutex_unlock(&p->w->set_lock);
        if (!whole) {
            rc = parts_move(p, i, err);
            continue;
        }
        struct moving_frame *t = seam_alloc(sizeof *t + fr->stored_len);
        if (!t) return error_set(err, ERR_NO_MEMORY, "no memory for a frame of %u bytes", fr->stored_len);
        t->p = p;
        t->ordinal = i;
        t->only = frame_only(p, pack, i);
        struct location l = at ? at->at : (struct location){0};
        l.frame = i;
        rc = fetch_sealed(p->f, at ? &l : NULL, p->in, i, t->sealed, err);
        if (rc < 0) {
            seam_free(t);
            if (error_info(rc)->status != EXIT_INTEGRITY && rc != -ERR_S3_ARCHIVED) break;
            error_clear(err); /* of chunks there may be other copies, and there are words for it */
            rc = parts_move(p, i, err);
            continue;
        }
        p->holds++;
        pool_submit(p->w->pool, frame_task, t);
    }
    return rc;
}

static int pack_move(const struct move *v, struct error *err) {
    struct writer *w = v->by->w;
    struct fetcher *f = v->by->f;
    const struct move *at = NULL;
    void *mem;
    int rc = writer_alive(w, err);
    if (rc == 0) rc = stop_check(err);
    if (rc == 0) rc = mem_alloc(sizeof(struct moving_pack), &mem, err);
    if (rc < 0) return rc;
    struct moving_pack *p = mem;
    *p = (struct moving_pack){.w = w, .m = v->by->m, .f = f, .by = v->by, .holds = 1};
    if (v->found) {
        const struct pack_in *in = NULL;
        at = v;
        rc = fetch_dir(f, &at->at, &in, &p->hold, err);
        p->in = (struct pack_in *)(uintptr_t)in;
    } else {
        rc = pack_in_open(w->repo, v->of->meta, &v->of->name, &p->own, err);
        p->in = p->own;
    }
    if (rc == 0) rc = frames_move(p, &v->of->name, at, err);
    moving_pack_release(p);
    return rc;
}

int moved_epoch(struct writer *w, unsigned epoch, struct error *err) {
    if (w->session.epoch == epoch) return 0;
    pool_drain(w->pool); /* its tasks may still put chunks, which are of this epoch */
    int rc = groups_flush(w, err);
    pool_drain(w->pool);
    if (rc == 0) rc = writer_alive(w, err);
    if (rc == 0) rc = packs_close(w, err);
    w->session.epoch = epoch;
    return rc;
}

static void move_task(void *arg) {
    const struct move *v = arg;
    struct error err = ERROR_INIT;
    if (pack_move(v, &err) < 0) writer_fail(v->by->w, &err);
}

static int packs_move(struct writer *w, struct move *moves, size_t n, struct error *err) {
    struct pool *movers = NULL;
    int rc = 0;
    if (store_reads_many(w->repo->store)) rc = pool_new(MOVERS, MOVERS, &movers, err);
    for (size_t i = 0; i < n && rc == 0 && w->repo->epoch; i++)
        rc = pack_epoch(w->repo, moves[i].of->meta, &moves[i].of->name, &moves[i].epoch, err);
    for (unsigned e = 0; e <= w->repo->epoch && rc == 0; e++) {
        rc = moved_epoch(w, e, err);
        for (size_t i = 0; i < n && rc == 0; i++) {
            if (moves[i].epoch != e) continue;
            if (movers)
                pool_submit(movers, move_task, &moves[i]);
            else
                rc = pack_move(&moves[i], err);
        }
        if (movers) pool_drain(movers);
        if (rc == 0) rc = writer_alive(w, err);
    }
    pool_free(movers);
    return rc;
}

int moved_finish(struct writer *w, int rc, struct digests *new_packs, struct digests *new_runs, uint64_t *ret_bytes,
                 struct error *err) {
    pool_drain(w->pool);
    if (rc == 0) rc = groups_flush(w, err);
    pool_drain(w->pool);
    if (rc == 0) rc = writer_alive(w, err);
    if (rc == 0) rc = packs_close(w, err);
    if (rc == 0) rc = packs_barrier(w->repo, err);
    struct digest run;
    if (rc == 0 && w->entry_count) {
        rc = run_write(w->repo, w->entries, w->entry_count, w->packs, w->pack_count, &run, err);
        if (rc == 0) rc = digests_add(new_runs, &run, err);
    }
    for (size_t i = 0; rc == 0 && i < w->own_count; i++) rc = digests_add(new_packs, &w->own_packs[i], err);
    if (rc == 0) *ret_bytes = w->stored_bytes;
    return rc;
}

int repack(struct repo *r, const struct marks *m, const struct pack_facts *which, struct digests *new_packs,
           struct digests *new_runs, uint64_t *ret_bytes, struct error *err) {
    struct writer *w = NULL;
    struct fetcher *f = NULL;
    struct move *moves = NULL;
    struct writer_options o = {.environment = "", .surface = "repack", .no_delta = true};
    int rc = writer_open_bare(r, &o, &w, err);
    if (rc == 0) rc = fetcher_new(r, &r->index, NULL, 16u << 20, &f, err);
    if (rc == 0) fetch_reader(f);
    struct repacking by = {.w = w, .m = m, .f = f};
    if (rc == 0) rc = moves_make(&by, which, &moves, err);
    if (rc == 0) rc = packs_move(w, moves, which->n, err);
    if (w) pool_drain(w->pool);                 /* its tasks fetch */
    if (rc == 0) rc = repo_index_whole(r, err); /* else what lives may not have been seen to */
    if (w) rc = moved_finish(w, rc, new_packs, new_runs, ret_bytes, err);
    fetcher_free(f);
    seam_free(moves);
    writer_free(w);
    return rc;
}
