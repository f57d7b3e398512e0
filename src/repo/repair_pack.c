/* What can still be had of damaged packs, and whom the rest harms. */
#include "repo/lost.h"
#include "repo/repair_internal.h"

#include <stdio.h>
#include <stdlib.h>

static int pack_order(const void *a, const void *b) {
    return memcmp(a, b, DIGEST_BYTES);
}

const struct repair_pack *repair_pack_find(const struct repair_plan *p, const struct digest *name) {
    return p->pack_count ? bsearch(name, p->packs, p->pack_count, sizeof *p->packs, pack_order) : NULL;
}

int salvage_open(struct repo *r, const struct repair_options *o, const struct repair_plan *p, bool store,
                 struct salvage *ret, struct error *err) {
    struct writer_options wo = {.environment = "", .surface = "repair", .no_delta = true, .threads = o->threads};
    *ret = (struct salvage){.r = r, .o = o, .plan = p, .rescued = BUF_INIT(CHUNK_PLAIN_MAX + 1u)};
    for (size_t i = 0; i < p->pack_count; i++) ret->total += p->packs[i].bytes;
    int rc = store ? writer_open_bare(r, &wo, &ret->w, err) : 0;
    if (rc == 0) rc = fetcher_new(r, &r->index, NULL, 32u << 20, &ret->f, err);
    if (rc < 0) salvage_close(ret);
    return rc;
}

void salvage_close(struct salvage *s) {
    fetcher_free(s->f);
    writer_free(s->w);
    idset_free(&s->saved);
    buf_free(&s->rescued);
    *s = (struct salvage){0};
}

/* Under which epoch's key bytes of that digest have this id; false: under none, so they are something else. */
static bool epoch_of(const struct salvage *s, const uint8_t *prefix, enum chunk_kind kind, const struct digest *sha,
                     unsigned *ret) {
    for (unsigned e = s->r->epoch + 1; e-- > 0;) {
        struct bytes key;
        struct digest id;
        struct error lost = ERROR_INIT;
        if (repo_id_key(s->r, e, &key, &lost) < 0) continue;
        chunk_id(key, kind, sha, &id);
        *ret = e;
        if (memcmp(id.b, prefix, ID_PREFIX_BYTES) == 0) return true;
    }
    return false;
}

static int chunk_store(struct salvage *s, const uint8_t *prefix, enum chunk_kind kind, struct bytes data,
                       const struct digest *sha, struct error *err) {
    struct digest id;
    unsigned epoch;
    int rc = 0;
    if (s->w && !epoch_of(s, prefix, kind, sha, &epoch))
        return error_set(err, ERR_INTERNAL, "a salvaged chunk changed its id");
    if (s->w) rc = moved_epoch(s->w, epoch, err);
    if (rc == 0 && s->w) rc = chunk_put(s->w, kind, data, sha, NULL, &id, err);
    return rc < 0 ? rc : idset_add(&s->saved, prefix, err);
}

static int chunk_save(struct salvage *s, const uint8_t *prefix, const struct digest *full, enum chunk_kind kind,
                      struct error *err) {
    struct fetched c;
    struct error e = ERROR_INIT;
    if (idset_has(&s->saved, prefix)) return 0;
    int rc = fetch_chunk(s->f, prefix, full, kind, &c, &e);
    if (rc == 0) {
        rc = chunk_store(s, prefix, kind, c.data, &c.sha, err);
        fetch_release(s->f, &c);
        s->salvaged += rc == 0;
        return rc;
    }
    if (error_info(rc)->status != EXIT_INTEGRITY) {
        *err = e; /* whether it is lost is not known */
        return rc;
    }
    if (s->o->rescue) {
        struct digest sha;
        buf_clear(&s->rescued);
        error_clear(&e);
        rc = s->o->rescue(s->o->rescue_ctx, prefix, kind, &s->rescued, &e);
        sha256(buf_bytes(&s->rescued), &sha);
        /* what a rescue hands out is anything at all until its id was computed */
        if (rc == 0 && epoch_of(s, prefix, kind, &sha, &(unsigned){0})) {
            rc = chunk_store(s, prefix, kind, buf_bytes(&s->rescued), &sha, err);
            s->rescued_count += rc == 0;
            return rc;
        }
        if (rc < 0 && error_info(rc)->status != EXIT_INTEGRITY) {
            *err = e;
            return error_wrap(err, "the other repository");
        }
    }
    s->lost++;
    return 0;
}

static int pack_by_directory(struct salvage *s, struct pack_in *in, struct error *err) {
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < pack_in_frames(in); i++) {
        const struct frame *fr = pack_in_frame(in, i);
        for (unsigned k = 0; k < fr->member_count && rc == 0; k++) {
            struct member m = frame_member(fr, k);
            rc = chunk_save(s, m.id.b, &m.id, fr->kind, err);
        }
        if (rc == 0) rc = stop_check(err);
    }
    return rc;
}

/* A pack whose directory is gone: what the index said of it. */
static int pack_by_index(struct salvage *s, const struct digest *name, struct error *err) {
    struct repo *r = s->r;
    int rc = 0;
    for (size_t i = 0; i < r->index.count && rc == 0; i++) {
        struct run_view v;
        uint32_t at = 0;
        if ((rc = index_scan(&r->index, i, true, &v, err)) < 0) break;
        while (at < v.pack_count && memcmp(v.packs + (size_t)at * RUN_PACK_BYTES, name->b, DIGEST_BYTES) != 0) at++;
        for (uint64_t k = 0; k < v.entry_count && at < v.pack_count && rc == 0; k++) {
            const uint8_t *e = v.entries + k * RUN_ENTRY_BYTES;
            uint32_t flags = get_u32(e + 28);
            if (get_u32(e + 16) == at) rc = chunk_save(s, e, NULL, flags >> ENTRY_KIND_SHIFT & 0xff, err);
            if (flags & ENTRY_DELTA) k++;
        }
        index_scan_end(&v);
    }
    return rc;
}

int salvage_packs(struct salvage *s, struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < s->plan->pack_count && rc == 0; i++) {
        const struct repair_pack *p = &s->plan->packs[i];
        struct pack_in *in = NULL;
        struct error e = ERROR_INIT;
        rc = pack_in_open(s->r, p->meta, &p->name, &in, &e);
        if (rc == 0)
            rc = pack_by_directory(s, in, err);
        else if (error_info(rc)->status == EXIT_INTEGRITY)
            rc = pack_by_index(s, &p->name, err);
        else
            *err = e;
        pack_in_free(in);
        s->done += p->bytes;
        if (s->o->progress) s->o->progress(s->o->ctx, s->done, s->total);
    }
    return rc;
}

/* ---- whom it harms ---- */

static int snapshot_harm(struct lost_search *l, const struct repair_options *o, const struct snapshot_info *info,
                         bool before, uint64_t *harmed, struct error *err) {
    struct buf names[LOST_PATHS_MAX];
    struct bytes paths[LOST_PATHS_MAX];
    size_t n = 0;
    uint64_t total = 0;
    bool lost, listless;
    int rc = lost_look(l, info, &lost, &listless, err);
    /* before it is stored here, a list that can be rescued cannot be read, and is no loss either */
    if (rc < 0 || !lost || (listless && before && o->rescue)) return rc;
    ++*harmed;
    rc = lost_paths(l, info, names, &n, &total, err);
    for (size_t i = 0; i < n; i++) paths[i] = buf_bytes(&names[i]);
    if (rc == 0 && o->harmed) rc = o->harmed(o->ctx, info, paths, n, total, listless, err);
    for (size_t i = 0; i < n; i++) buf_free(&names[i]);
    return rc;
}

int salvage_harm(struct salvage *s, uint64_t *ret, struct error *err) {
    struct lost_search l;
    *ret = 0;
    int rc = lost_open(s->r, s->plan, &s->saved, &l, err);
    for (size_t i = 0; i < s->r->state.snapshot_count && rc == 0; i++)
        if (!s->r->state.snapshots[i].forgotten)
            rc = snapshot_harm(&l, s->o, &s->r->state.snapshots[i], !s->w, ret, err);
    lost_close(&l);
    return rc;
}

/* ---- another repository ---- */

struct repair_source {
    struct repo *repo;
    struct fetcher *fetcher;
};

int repair_source_new(struct repo *other, struct repair_source **ret, struct error *err) {
    void *mem;
    int rc = mem_alloc(sizeof(struct repair_source), &mem, err);
    if (rc < 0) return rc;
    struct repair_source *s = mem;
    s->repo = other;
    if ((rc = fetcher_new(other, &other->index, NULL, 32u << 20, &s->fetcher, err)) < 0) {
        seam_free(s);
        return rc;
    }
    *ret = s;
    return 0;
}

int repair_source_fetch(void *source, const uint8_t *id_prefix, unsigned kind, struct buf *ret, struct error *err) {
    struct repair_source *s = source;
    struct fetched c;
    int rc = fetch_chunk(s->fetcher, id_prefix, NULL, kind, &c, err);
    if (rc < 0) return rc;
    rc = buf_append(ret, c.data.ptr, c.data.len, err);
    fetch_release(s->fetcher, &c);
    return rc;
}

void repair_source_free(struct repair_source *s) {
    if (!s) return;
    fetcher_free(s->fetcher);
    seam_free(s);
}
