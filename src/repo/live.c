/* What live snapshots need: packs by their lists, chunks by their manifests. */
#include "repo/packlist.h"

int digests_add(struct digests *s, const struct digest *d, struct error *err) {
    int rc = mem_grow((void **)&s->d, &s->cap, s->n + 1, sizeof *s->d, err);
    if (rc == 0) s->d[s->n++] = *d;
    return rc;
}

void digests_free(struct digests *s) {
    seam_free(s->d);
    *s = (struct digests){0};
}

static int digest_put(void *ctx, const struct digest *d, struct error *err) {
    return digests_add(ctx, d, err);
}

int snapshot_packs(struct repo *r, const struct snapshot_info *info, struct digests *ret, struct error *err) {
    *ret = (struct digests){0};
    int rc = packlist_each(r, &info->packs, digest_put, ret, err);
    ret->n = digest_sort_unique(ret->d, ret->n);
    for (size_t i = 0; i < r->state.delete_count && rc == 0; i++) {
        const struct delete_info *d = &r->state.deletes[i];
        if (d->seq < info->packs_seq || !d->has_packs || !d->has_replacement) continue;
        struct digests gone = {0};
        size_t w = 0;
        rc = packlist_each(r, &d->packs, digest_put, &gone, err);
        gone.n = digest_sort_unique(gone.d, gone.n);
        for (size_t k = 0; k < ret->n && rc == 0; k++)
            if (!digest_in(gone.d, gone.n, &ret->d[k])) ret->d[w++] = ret->d[k];
        digests_free(&gone);
        if (rc < 0 || w == ret->n) continue;
        ret->n = w;
        rc = packlist_each(r, &d->replaced_by, digest_put, ret, err);
        ret->n = digest_sort_unique(ret->d, ret->n);
    }
    if (rc < 0) digests_free(ret);
    return rc < 0 ? error_wrap(err, "the pack list of snapshot %s", info->id) : 0;
}

static int fact_order(const void *a, const void *b) {
    return memcmp(a, b, DIGEST_BYTES);
}

bool pack_fact_object(const struct store_object *o, struct pack_fact *ret) {
    const char *name = strrchr(o->key, '/');
    *ret =
        (struct pack_fact){.bytes = o->bytes, .created_ns = o->created_ns, .meta = strncmp(o->key, "packs/m/", 8) == 0};
    return (ret->meta || strncmp(o->key, "packs/d/", 8) == 0) && name &&
           hex_decode(name + 1, strlen(name + 1), ret->name.b, DIGEST_BYTES);
}

static int add_pack(void *ctx, const struct store_object *o, struct error *err) {
    struct pack_facts *s = ctx;
    struct pack_fact f;
    if (!pack_fact_object(o, &f)) return 0;
    int rc = mem_grow((void **)&s->f, &s->cap, s->n + 1, sizeof *s->f, err);
    if (rc == 0) s->f[s->n++] = f;
    return rc;
}

int store_packs(struct repo *r, struct pack_facts *ret, struct error *err) {
    *ret = (struct pack_facts){0};
    int rc = store_list(r->store, "packs/", add_pack, ret, err);
    if (rc < 0) {
        seam_free(ret->f);
        *ret = (struct pack_facts){0};
    } else if (ret->n)
        qsort(ret->f, ret->n, sizeof *ret->f, fact_order);
    return rc;
}

void pack_fact_row(const uint8_t *row, struct pack_fact *ret) {
    *ret = (struct pack_fact){.bytes = get_u64(row + DIGEST_BYTES) & ~RUN_PACK_META,
                              .meta = get_u64(row + DIGEST_BYTES) & RUN_PACK_META};
    memcpy(ret->name.b, row, DIGEST_BYTES);
}

int index_packs(struct repo *r, struct pack_facts *ret, struct error *err) {
    *ret = (struct pack_facts){0};
    int rc = 0;
    for (size_t i = 0; i < r->index.count && rc == 0; i++) {
        struct run_view v;
        if ((rc = index_scan(&r->index, i, false, &v, err)) < 0) break;
        rc = mem_grow((void **)&ret->f, &ret->cap, ret->n + v.pack_count, sizeof *ret->f, err);
        for (uint32_t p = 0; p < v.pack_count && rc == 0; p++)
            pack_fact_row(v.packs + (size_t)p * RUN_PACK_BYTES, &ret->f[ret->n++]);
        index_scan_end(&v);
    }
    if (rc < 0) {
        seam_free(ret->f);
        *ret = (struct pack_facts){0};
        return rc;
    }
    if (ret->n) qsort(ret->f, ret->n, sizeof *ret->f, fact_order);
    size_t w = ret->n ? 1 : 0;
    for (size_t i = 1; i < ret->n; i++)
        if (!digest_equal(&ret->f[i].name, &ret->f[w - 1].name)) ret->f[w++] = ret->f[i];
    ret->n = w;
    return 0;
}

const struct pack_fact *pack_fact_find(const struct pack_facts *s, const struct digest *name) {
    return s->n ? bsearch(name, s->f, s->n, sizeof *s->f, fact_order) : NULL;
}

struct live_walk {
    struct repo *r;
    struct fetcher *f;
    int (*cb)(void *, const uint8_t *, struct error *);
    void *ctx;
};

static int refs_walk(struct live_walk *w, struct bytes refs, bool in_list, struct error *err) {
    struct cursor c = cursor_of(refs);
    struct ref ref;
    int rc = 0;
    while (rc == 0 && ref_take(&c, &ref)) {
        if (ref.type == REF_HOLE) continue;
        if ((rc = w->cb(w->ctx, ref.id.b, err)) < 0) break;
        /* the bases of all its copies: which copy is read may change with the index */
        struct copies at = {0};
        struct location l = {0}, base;
        bool usable = false;
        while (rc == 0 && index_copy(&w->r->index, ref.id.b, &at, &l)) {
            bool based = l.delta && index_find_plain(&w->r->index, l.base, &base);
            if (based) rc = w->cb(w->ctx, l.base, err);
            usable |= based || !l.delta;
        }
        if (rc == 0 && !usable) rc = w->cb(w->ctx, l.base, err); /* which says what is missing */
        if (rc < 0) break;
        if (ref.type != REF_LIST || in_list) continue;
        struct fetched list;
        if ((rc = fetch_chunk(w->f, ref.id.b, &ref.id, CHUNK_LIST, &list, err)) < 0) break;
        rc = refs_walk(w, list.data, true, err);
        fetch_release(w->f, &list);
    }
    return rc;
}

static int snapshot_chunks(struct live_walk *w, const struct snapshot_info *info, struct error *err) {
    struct root_doc root = {0};
    int rc = 0;
    for (size_t i = 0; i < info->root_count; i++) fetch_expect(w->f, &info->root[i]);
    for (size_t i = 0; i < info->root_count && rc == 0; i++) rc = w->cb(w->ctx, info->root[i].b, err);
    if (rc == 0) rc = root_read(w->f, info, &root, err);
    for (size_t i = 0; i < root.chunk_count && rc == 0; i++) fetch_expect(w->f, &root.chunks[i].id);
    for (size_t i = 0; i < root.chunk_count && rc == 0; i++) {
        struct fetched c;
        if ((rc = w->cb(w->ctx, root.chunks[i].id.b, err)) < 0) break;
        if ((rc = fetch_chunk(w->f, root.chunks[i].id.b, &root.chunks[i].id, CHUNK_MANIFEST, &c, err)) < 0) break;
        struct manifest_parser p;
        struct manifest_item it;
        bool end = false;
        manifest_parser_init(&p, c.data);
        while (rc == 0 && (rc = manifest_next(&p, &it, &end, err)) == 0 && !end) rc = refs_walk(w, it.refs, false, err);
        manifest_parser_free(&p);
        fetch_release(w->f, &c);
    }
    root_free(&root);
    return rc < 0 ? error_wrap(err, "walking snapshot %s", info->id) : 0;
}

int snapshot_chunk_ids(struct repo *r, const struct snapshot_info *info,
                       int (*cb)(void *, const uint8_t *, struct error *), void *ctx, struct error *err) {
    struct live_walk w = {r, NULL, cb, ctx};
    int rc = fetcher_new(r, &r->index, NULL, 16u << 20, &w.f, err);
    if (rc == 0) rc = snapshot_chunks(&w, info, err);
    fetcher_free(w.f);
    return rc;
}

int live_chunks(struct repo *r, int (*cb)(void *, const uint8_t *, struct error *), void *ctx, struct error *err) {
    struct live_walk w = {r, NULL, cb, ctx};
    int rc = fetcher_new(r, &r->index, NULL, 16u << 20, &w.f, err);
    for (size_t i = 0; i < r->state.snapshot_count && rc == 0; i++)
        if (!r->state.snapshots[i].forgotten)
            for (size_t k = 0; k < r->state.snapshots[i].root_count; k++)
                fetch_expect(w.f, &r->state.snapshots[i].root[k]);
    for (size_t i = 0; i < r->state.snapshot_count && rc == 0; i++)
        if (!r->state.snapshots[i].forgotten) rc = snapshot_chunks(&w, &r->state.snapshots[i], err);
    fetcher_free(w.f);
    return rc;
}

#define READ_BYTES (8u << 20)

int object_check_name(struct store *s, const char *key, uint64_t bytes, const struct digest *name, struct error *err) {
    struct sha256_state *sum = NULL;
    struct digest d;
    uint64_t at = 0;
    size_t got = 0, room = bytes < READ_BYTES ? (size_t)bytes + 1 : READ_BYTES;
    void *mem = NULL;
    int rc = mem_alloc(room, &mem, err);
    if (rc == 0) rc = sha256_new(&sum, err);
    do {
        if (rc == 0) rc = store_read(s, key, at, mem, room, &got, err);
        if (rc == 0) sha256_update(sum, BYTES_OF(mem, got));
        at += got;
    } while (rc == 0 && got == room);
    if (rc == 0) {
        sha256_finish(sum, &d);
        if (!digest_equal(&d, name))
            rc = error_set(err, ERR_OBJECT_CORRUPT, "its bytes do not match its name (SHA-256)");
    }
    sha256_free(sum);
    seam_free(mem);
    return rc;
}
