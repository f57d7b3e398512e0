/* Rewriting packs that are mostly dead, and rebuilding the index from packs alone. */
#include "repo/maintain_internal.h"
#include "repo/writer_internal.h"

struct marks {
    struct repo *r;
    uint8_t **live; /* a byte an entry, for each run */
};

static int mark(void *ctx, const uint8_t *id, struct error *err) {
    struct marks *m = ctx;
    struct copies at = {0};
    struct location l;
    bool found = false;
    while (index_copy(&m->r->index, id, &at, &l)) {
        m->live[l.run][l.entry] = 1;
        found = true;
    }
    if (!found) {
        char hex[33];
        hex_encode(id, ID_PREFIX_BYTES, hex);
        return error_set(err, ERR_OBJECT_MISSING, "a live snapshot needs chunk %s, which the index does not know", hex);
    }
    return 0;
}

static void marks_free(struct marks *m, size_t n) {
    for (size_t i = 0; m->live && i < n; i++) seam_free(m->live[i]);
    seam_free(m->live);
}

static int marks_make(struct repo *r, struct marks *m, struct error *err) {
    void *mem;
    *m = (struct marks){.r = r};
    int rc = mem_alloc((r->index.count + 1) * sizeof *m->live, &mem, err);
    if (rc < 0) return rc;
    m->live = mem;
    for (size_t i = 0; i < r->index.count && rc == 0; i++) {
        rc = mem_alloc(index_run(&r->index, i).entry_count + 1, &mem, err);
        m->live[i] = rc == 0 ? mem : NULL;
    }
    return rc < 0 ? rc : live_chunks(r, mark, m, err);
}

static int use_order(const void *a, const void *b) {
    return memcmp(a, b, DIGEST_BYTES);
}

int packs_use(struct repo *r, struct pack_use **ret, size_t *ret_n, struct error *err) {
    struct marks m;
    struct pack_facts packs = {0};
    struct pack_use *use = NULL;
    void *mem;
    int rc = marks_make(r, &m, err);
    if (rc == 0) rc = index_packs(r, &packs, err);
    if (rc == 0) rc = mem_alloc((packs.n + 1) * sizeof *use, &mem, err);
    if (rc == 0) {
        use = mem;
        for (size_t i = 0; i < packs.n; i++) use[i].name = packs.f[i].name;
        for (size_t i = 0; i < r->index.count; i++) {
            struct run_view v = index_run(&r->index, i);
            for (uint64_t k = 0; k < v.entry_count; k++) {
                const uint8_t *e = v.entries + k * RUN_ENTRY_BYTES;
                uint32_t pack = get_u32(e + 16);
                if (pack >= v.pack_count) continue;
                struct pack_use *u =
                    bsearch(v.packs + (size_t)pack * RUN_PACK_BYTES, use, packs.n, sizeof *use, use_order);
                u->total += get_u32(e + 24);
                if (m.live[i][k]) u->live += get_u32(e + 24);
                if (get_u32(e + 28) & ENTRY_DELTA) k++;
            }
        }
        *ret = use;
        *ret_n = packs.n;
    }
    marks_free(&m, r->index.count);
    seam_free(packs.f);
    return rc;
}

static int pack_move(struct writer *w, struct marks *m, struct fetcher *f, const struct pack_fact *p,
                     struct error *err) {
    struct pack_in *in = NULL;
    int rc = pack_in_open(w->repo, p->meta, &p->name, &in, err);
    for (uint32_t i = 0; rc == 0 && i < pack_in_frames(in); i++) {
        const struct frame *fr = pack_in_frame(in, i);
        for (unsigned k = 0; k < fr->member_count && rc == 0; k++) {
            struct member mem = frame_member(fr, k);
            struct location l;
            struct digest id;
            struct fetched c;
            /* A copy elsewhere is no reason to drop this one: the snapshots that list this pack may not list that. */
            if (!index_find(&w->repo->index, mem.id.b, &l) || !m->live[l.run][l.entry]) continue;
            if ((rc = fetch_chunk(f, mem.id.b, &mem.id, fr->kind, &c, err)) < 0) break;
            rc = chunk_put(w, fr->kind, c.data, &c.sha, NULL, &id, err);
            fetch_release(f, &c);
            if (rc == 0 && !digest_equal(&id, &mem.id))
                rc = error_set(err, ERR_INTERNAL, "a moved chunk changed its id");
        }
    }
    pack_in_free(in);
    return rc;
}

/* A pack has one epoch, and a chunk keeps its id: those of an epoch go together. */
static int packs_move(struct writer *w, struct marks *m, struct fetcher *f, const struct pack_facts *which,
                      struct error *err) {
    void *mem;
    int rc = mem_alloc((which->n + 1) * sizeof(unsigned), &mem, err);
    if (rc < 0) return rc;
    unsigned *epochs = mem;
    for (size_t i = 0; i < which->n && rc == 0 && w->repo->epoch; i++)
        rc = pack_epoch(w->repo, which->f[i].meta, &which->f[i].name, &epochs[i], err);
    for (unsigned e = 0; e <= w->repo->epoch && rc == 0; e++) {
        w->session.epoch = e;
        for (size_t i = 0; i < which->n && rc == 0; i++)
            if (epochs[i] == e) rc = pack_move(w, m, f, &which->f[i], err);
        if (rc == 0) rc = groups_flush(w, err);
        pool_drain(w->pool);
        if (rc == 0) rc = writer_alive(w, err);
        if (rc == 0) rc = packs_close(w, err);
    }
    seam_free(mem);
    return rc;
}

int repack(struct repo *r, const struct pack_facts *which, struct digests *new_packs, struct digests *new_runs,
           uint64_t *ret_bytes, struct error *err) {
    struct marks m = {0};
    struct writer *w = NULL;
    struct fetcher *f = NULL;
    size_t runs_before = r->index.count;
    struct writer_options o = {.environment = "", .surface = "repack", .no_delta = true};
    int rc = writer_open_bare(r, &o, &w, err);
    if (rc == 0) rc = marks_make(r, &m, err);
    if (rc == 0) rc = fetcher_new(r, &r->index, NULL, 32u << 20, &f, err);
    if (rc == 0) rc = packs_move(w, &m, f, which, err);
    if (rc == 0) rc = store_commit(r->store, err);
    struct digest run;
    if (rc == 0 && w->entry_count) {
        rc = run_write(r, w->entries, w->entry_count, w->packs, w->pack_count, &run, err);
        if (rc == 0) rc = store_commit(r->store, err);
        if (rc == 0) rc = digests_add(new_runs, &run, err);
    }
    for (size_t i = 0; rc == 0 && i < w->own_count; i++) rc = digests_add(new_packs, &w->own_packs[i], err);
    if (rc == 0) *ret_bytes = w->stored_bytes;
    fetcher_free(f);
    marks_free(&m, runs_before);
    writer_free(w);
    return rc;
}

static int reindex_run(struct repo *r, struct run_entry *entries, size_t *n, const uint8_t *rows, uint32_t *packs,
                       struct digests *added, struct error *err) {
    struct digest run;
    int rc = run_write(r, entries, *n, rows, *packs, &run, err);
    if (rc == 0) rc = store_commit(r->store, err);
    if (rc == 0) rc = digests_add(added, &run, err);
    *n = 0;
    *packs = 0;
    return rc;
}

int repo_reindex(struct repo *r, struct error *err) {
    struct pack_facts all = {0};
    struct digests none = {0}, added = {0}, removed = {0}, dead = {0};
    struct run_entry *entries = NULL;
    uint8_t *rows = NULL;
    size_t n = 0, cap = 0, row_cap = 0;
    uint32_t packs = 0;
    int rc = repo_needs_read(r, "rebuilding the index", err);
    if (rc == 0) rc = store_packs(r, &all, err);
    for (size_t i = 0; i < r->state.delete_count && rc == 0; i++) {
        struct digest *gone;
        size_t gone_n;
        if (!r->state.deletes[i].has_packs) continue;
        if ((rc = packlist_read(r, &r->state.deletes[i].packs, &gone, &gone_n, err)) < 0) break;
        for (size_t k = 0; k < gone_n && rc == 0; k++) rc = digests_add(&dead, &gone[k], err);
        seam_free(gone);
    }
    dead.n = digest_sort_unique(dead.d, dead.n);
    for (size_t i = 0; i < all.n && rc == 0; i++) {
        struct pack_in *in = NULL;
        if (digest_in(dead.d, dead.n, &all.f[i].name)) continue; /* its removal is under way or was interrupted */
        if ((rc = pack_in_open(r, all.f[i].meta, &all.f[i].name, &in, err)) < 0) break;
        if ((rc = mem_grow((void **)&rows, &row_cap, packs + 1u, RUN_PACK_BYTES, err)) == 0) {
            memcpy(rows + (size_t)packs * RUN_PACK_BYTES, all.f[i].name.b, DIGEST_BYTES);
            put_u64(rows + (size_t)packs * RUN_PACK_BYTES + DIGEST_BYTES,
                    all.f[i].bytes | (all.f[i].meta ? RUN_PACK_META : 0));
            for (uint32_t k = 0; k < pack_in_frames(in) && rc == 0; k++) {
                const struct frame *fr = pack_in_frame(in, k);
                for (unsigned j = 0; j < fr->member_count && rc == 0; j++) {
                    struct member m = frame_member(fr, j);
                    if ((rc = mem_grow((void **)&entries, &cap, n + 1, sizeof *entries, err)) < 0) break;
                    struct run_entry *e = &entries[n++];
                    *e = (struct run_entry){
                        .pack = packs, .frame = k, .plain_len = m.len, .flags = (uint32_t)fr->kind << ENTRY_KIND_SHIFT};
                    memcpy(e->id, m.id.b, ID_PREFIX_BYTES);
                    if (fr->codec == CODEC_ZSTD_DELTA) {
                        e->flags |= ENTRY_DELTA;
                        memcpy(e->base, fr->base.b, ID_PREFIX_BYTES);
                    }
                }
            }
            packs++;
        }
        pack_in_free(in);
        /* a run is bounded, so a large repository gets several */
        if (rc == 0 && n >= RUN_ENTRIES_MAX) rc = reindex_run(r, entries, &n, rows, &packs, &added, err);
    }
    if (rc == 0 && n) rc = reindex_run(r, entries, &n, rows, &packs, &added, err);
    for (size_t i = 0; i < r->state.run_count && rc == 0; i++) {
        bool again = false;
        for (size_t k = 0; k < added.n; k++) again |= digest_equal(&added.d[k], &r->state.runs[i]);
        if (!again && !state_epoch_object(&r->state, &r->state.runs[i]))
            rc = digests_add(&removed, &r->state.runs[i], err);
    }
    if (rc == 0) rc = delete_append(r, ledger_size(r->ledger), &none, NULL, &added, &removed, &none, 0, err);
    if (rc == 0) rc = repo_sync(r, err);
    digests_free(&added);
    digests_free(&removed);
    digests_free(&dead);
    seam_free(all.f);
    seam_free(entries);
    seam_free(rows);
    return rc < 0 ? error_wrap(err, "rebuilding the index") : 0;
}
