/* Rewriting packs that are mostly dead. */
#include "repo/maintain_internal.h"
#include "repo/nameset.h"
#include "repo/writer_internal.h"

#define MOVE_SHARE 6 /* a pack is sooner read whole than in pieces, one after the other */

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

/* Where something live is in each pack that is moved; `found` is false when the index knows of nothing. */
struct move {
    struct location at;
    bool found;
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
        else
            moves[of[l.pack] - which->f] = (struct move){l, true};
    }
    index_scan_end(&v);
    seam_free(mem);
    return rc;
}

/* Tells the fetcher what pack_move will ask for, in that order of packs. *ret stays NULL where that is no help. */
static int moves_expect(struct repo *r, const struct marks *m, struct fetcher *f, const struct pack_facts *which,
                        struct move **ret, struct error *err) {
    void *mem;
    if (!store_reads_many(r->store)) return 0;
    int rc = mem_alloc((which->n + 1) * sizeof(struct move), &mem, err);
    if (rc < 0) return rc;
    *ret = mem;
    for (size_t i = 0; i < r->index.count && rc == 0; i++) rc = moves_scan(m, i, which, NULL, *ret, err);
    fetch_share(f, MOVE_SHARE);
    for (size_t i = 0; i < which->n && rc == 0; i++)
        if ((*ret)[i].found) fetch_expect_at(f, &(*ret)[i].at);
    for (size_t i = 0; i < r->index.count && rc == 0; i++) rc = moves_scan(m, i, which, f, NULL, err);
    return rc;
}

/* `at` is NULL, or of that pack. */
static int pack_move(struct writer *w, const struct marks *m, struct fetcher *f, const struct pack_fact *p,
                     const struct move *at, struct error *err) {
    struct pack_in *own = NULL;
    const struct pack_in *in = NULL;
    void *hold = NULL;
    int rc;
    if (at && at->found) {
        rc = fetch_dir(f, &at->at, &in, &hold, err);
    } else {
        rc = pack_in_open(w->repo, p->meta, &p->name, &own, err);
        in = own;
    }
    for (uint32_t i = 0; rc == 0 && i < pack_in_frames(in); i++) {
        const struct frame *fr = pack_in_frame(in, i);
        for (unsigned k = 0; k < fr->member_count && rc == 0; k++) {
            struct member mem = frame_member(fr, k);
            struct location l;
            struct digest id;
            struct fetched c;
            /* A copy elsewhere is no reason to drop this one: the snapshots that list this pack may not list that. */
            if (!index_find(&w->repo->index, mem.id.b, &l) || !bit_get(m->live[l.run], l.entry)) continue;
            if ((rc = fetch_chunk(f, mem.id.b, &mem.id, fr->kind, &c, err)) < 0) break;
            rc = chunk_put(w, fr->kind, c.data, &c.sha, NULL, &id, err);
            fetch_release(f, &c);
            if (rc == 0 && !digest_equal(&id, &mem.id))
                rc = error_set(err, ERR_INTERNAL, "a moved chunk changed its id");
        }
    }
    if (hold) fetch_dir_release(f, hold);
    pack_in_free(own);
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

static int packs_move(struct writer *w, const struct marks *m, struct fetcher *f, const struct pack_facts *which,
                      const struct move *moves, struct error *err) {
    void *mem;
    int rc = mem_alloc((which->n + 1) * sizeof(unsigned), &mem, err);
    if (rc < 0) return rc;
    unsigned *epochs = mem;
    for (size_t i = 0; i < which->n && rc == 0 && w->repo->epoch; i++)
        rc = pack_epoch(w->repo, which->f[i].meta, &which->f[i].name, &epochs[i], err);
    for (unsigned e = 0; e <= w->repo->epoch && rc == 0; e++) {
        rc = moved_epoch(w, e, err);
        for (size_t i = 0; i < which->n && rc == 0; i++)
            if (epochs[i] == e) rc = pack_move(w, m, f, &which->f[i], moves ? &moves[i] : NULL, err);
    }
    seam_free(mem);
    return rc;
}

int moved_finish(struct writer *w, int rc, struct digests *new_packs, struct digests *new_runs, uint64_t *ret_bytes,
                 struct error *err) {
    pool_drain(w->pool);
    if (rc == 0) rc = groups_flush(w, err);
    pool_drain(w->pool);
    if (rc == 0) rc = writer_alive(w, err);
    if (rc == 0) rc = packs_close(w, err);
    if (rc == 0) rc = store_commit(w->repo->store, err);
    struct digest run;
    if (rc == 0 && w->entry_count) {
        rc = run_write(w->repo, w->entries, w->entry_count, w->packs, w->pack_count, &run, err);
        if (rc == 0) rc = store_commit(w->repo->store, err);
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
    if (rc == 0) rc = moves_expect(r, m, f, which, &moves, err);
    if (rc == 0) rc = packs_move(w, m, f, which, moves, err);
    if (rc == 0) rc = repo_index_whole(r, err); /* else what lives may not have been seen to */
    if (w) rc = moved_finish(w, rc, new_packs, new_runs, ret_bytes, err);
    fetcher_free(f);
    seam_free(moves);
    writer_free(w);
    return rc;
}
