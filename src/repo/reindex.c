/* The index from pack directories alone. */
#include "repo/maintain_internal.h"

struct rows {
    struct run_entry *entries;
    size_t n, cap, pack_cap;
    uint8_t *packs;
    uint32_t pack_count;
};

static int rows_flush(struct repo *r, struct rows *w, struct digests *added, struct error *err) {
    struct digest run;
    if (!w->n) return 0;
    int rc = run_write(r, w->entries, w->n, w->packs, w->pack_count, &run, err);
    if (rc == 0) rc = store_commit(r->store, err);
    if (rc == 0) rc = digests_add(added, &run, err);
    w->n = 0;
    w->pack_count = 0;
    return rc;
}

static int rows_add(struct rows *w, const struct pack_fact *f, struct pack_in *in, struct error *err) {
    int rc = mem_grow((void **)&w->packs, &w->pack_cap, w->pack_count + 1u, RUN_PACK_BYTES, err);
    if (rc < 0) return rc;
    uint8_t *row = w->packs + (size_t)w->pack_count * RUN_PACK_BYTES;
    memcpy(row, f->name.b, DIGEST_BYTES);
    put_u64(row + DIGEST_BYTES, f->bytes | (f->meta ? RUN_PACK_META : 0));
    for (uint32_t k = 0; k < pack_in_frames(in); k++) {
        const struct frame *fr = pack_in_frame(in, k);
        for (unsigned j = 0; j < fr->member_count; j++) {
            struct member m = frame_member(fr, j);
            if ((rc = mem_grow((void **)&w->entries, &w->cap, w->n + 1, sizeof *w->entries, err)) < 0) return rc;
            struct run_entry *e = &w->entries[w->n++];
            *e = (struct run_entry){
                .pack = w->pack_count, .frame = k, .plain_len = m.len, .flags = (uint32_t)fr->kind << ENTRY_KIND_SHIFT};
            memcpy(e->id, m.id.b, ID_PREFIX_BYTES);
            if (fr->codec != CODEC_ZSTD_DELTA) continue;
            e->flags |= ENTRY_DELTA;
            memcpy(e->base, fr->base.b, ID_PREFIX_BYTES);
        }
    }
    w->pack_count++;
    return 0;
}

/* Packs that a collection has named: their removal is under way or was interrupted. A list that is lost names nothing.
 */
static int dead_packs(struct repo *r, struct digests *ret, struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < r->state.delete_count && rc == 0; i++) {
        struct digest *gone = NULL;
        size_t n = 0;
        struct error e = ERROR_INIT;
        if (!r->state.deletes[i].has_packs) continue;
        rc = packlist_read(r, &r->state.deletes[i].packs, &gone, &n, &e);
        if (rc < 0 && error_info(rc)->status == EXIT_INTEGRITY) {
            rc = 0;
            continue;
        }
        if (rc < 0) *err = e;
        for (size_t k = 0; k < n && rc == 0; k++) rc = digests_add(ret, &gone[k], err);
        seam_free(gone);
    }
    ret->n = digest_sort_unique(ret->d, ret->n);
    return rc;
}

int index_rebuild(struct repo *r, const struct digests *known, struct digests *added, struct error *err) {
    struct pack_facts all = {0};
    struct digests dead = {0};
    struct rows w = {0};
    int rc = repo_needs_read(r, "rebuilding the index", err);
    if (rc == 0) rc = store_packs(r, &all, err);
    if (rc == 0) rc = dead_packs(r, &dead, err);
    for (size_t i = 0; i < all.n && rc == 0; i++) {
        struct pack_in *in = NULL;
        struct error e = ERROR_INIT;
        if (digest_in(dead.d, dead.n, &all.f[i].name) || digest_in(known->d, known->n, &all.f[i].name)) continue;
        if ((rc = pack_in_open(r, all.f[i].meta, &all.f[i].name, &in, &e)) == 0) rc = rows_add(&w, &all.f[i], in, err);
        pack_in_free(in);
        if (rc < 0 && e.code && error_info(rc)->status == EXIT_INTEGRITY)
            rc = 0;
        else if (rc < 0 && e.code)
            *err = e;
        /* a run is bounded, so a large repository gets several */
        if (rc == 0 && w.n >= RUN_ENTRIES_MAX) rc = rows_flush(r, &w, added, err);
        if (rc == 0) rc = stop_check(err);
    }
    if (rc == 0) rc = rows_flush(r, &w, added, err);
    seam_free(all.f);
    digests_free(&dead);
    seam_free(w.entries);
    seam_free(w.packs);
    return rc < 0 ? error_wrap(err, "rebuilding the index") : 0;
}

int repo_reindex(struct repo *r, struct error *err) {
    struct digests none = {0}, added = {0}, removed = {0};
    uint64_t at = ledger_size(r->ledger);
    int rc = index_rebuild(r, &none, &added, err);
    for (size_t i = 0; i < r->state.run_count && rc == 0; i++)
        if (!state_epoch_object(&r->state, &r->state.runs[i])) rc = digests_add(&removed, &r->state.runs[i], err);
    if (rc == 0) rc = delete_append(r, at, &none, NULL, &added, &removed, &none, 0, NULL, err);
    if (rc == 0) rc = repo_sync(r, err);
    digests_free(&added);
    digests_free(&removed);
    return rc < 0 ? error_wrap(err, "rebuilding the index") : 0;
}
