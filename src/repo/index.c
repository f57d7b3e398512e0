/* The index: live runs, each mapped from a plain copy in the local cache (or held in memory without a cache folder).
 * The copy carries a SHA-256 of itself that is checked when it is mapped: a rotten cache must never say "known". */
#include "repo/run.h"
#include <sys/mman.h>

#define CACHE_MAGIC "PKRUNC01"
#define CACHE_HEADER 128
#define BLOOM_LINE 64u /* bytes: one cache line an entry, 8 bits of it */

struct run {
    uint8_t *map;
    size_t map_len;
    bool mapped;
    const uint8_t *packs, *entries, *bloom;
    const uint32_t *fan; /* 2^bits + 1 positions */
    uint32_t pack_count;
    uint64_t entry_count, bloom_lines;
    unsigned bits;
};

static void run_free(struct run *x) {
    if (!x) return;
    if (x->mapped)
        seam_munmap(x->map, x->map_len);
    else
        seam_free(x->map);
    seam_free(x);
}

/* Image: header, packs, entries, fan-out, Bloom. Built in memory; runs are at most RUN_ENTRIES_MAX entries when we
 * write them. */
static int image_build(const uint8_t *body, uint64_t entries, uint32_t packs, uint8_t **ret, size_t *ret_len,
                       struct error *err) {
    unsigned bits = 0;
    while (bits < 20 && (UINT64_C(16) << bits) < entries) bits++;
    uint64_t lines = entries * 10 / 8 / BLOOM_LINE + 1;
    size_t packs_at = CACHE_HEADER, entries_at = packs_at + (size_t)packs * RUN_PACK_BYTES;
    size_t fan_at = entries_at + entries * RUN_ENTRY_BYTES,
           bloom_at = (fan_at + ((size_t)1 << bits) * 4 + 4 + 63) & ~(size_t)63;
    size_t len = bloom_at + lines * BLOOM_LINE;
    void *mem;
    int rc = mem_alloc(len, &mem, err);
    if (rc < 0) return rc;
    uint8_t *p = mem;
    memcpy(p, CACHE_MAGIC, 8);
    p[8] = (uint8_t)bits;
    put_u32(p + 12, packs);
    put_u64(p + 16, entries);
    put_u64(p + 24, lines);
    memcpy(p + packs_at, body, (size_t)packs * RUN_PACK_BYTES + entries * RUN_ENTRY_BYTES);
    uint32_t next = 0;
    for (uint64_t i = 0; i < entries; i++) {
        const uint8_t *e = p + entries_at + i * RUN_ENTRY_BYTES;
        uint32_t top = (uint32_t)e[0] << 24 | (uint32_t)e[1] << 16 | (uint32_t)e[2] << 8 | e[3];
        uint32_t slot = bits ? top >> (32 - bits) : 0;
        while (next <= slot) put_u32(p + fan_at + 4u * next++, (uint32_t)i);
        uint8_t *line = p + bloom_at + get_u64(e + 4) % lines * BLOOM_LINE;
        for (unsigned k = 0; k < 4; k++) {
            unsigned bit = (e[12 + k] | (unsigned)(e[k] & 1) << 8) & 511;
            line[bit >> 3] |= (uint8_t)(1u << (bit & 7));
        }
    }
    while (next <= (1u << bits)) put_u32(p + fan_at + 4u * next++, (uint32_t)entries);
    struct digest d;
    sha256(BYTES_OF(p + CACHE_HEADER, len - CACHE_HEADER), &d);
    memcpy(p + 64, d.b, DIGEST_BYTES);
    *ret = p;
    *ret_len = len;
    return 0;
}

static bool image_check(struct run *x) {
    const uint8_t *p = x->map;
    if (x->map_len < CACHE_HEADER || memcmp(p, CACHE_MAGIC, 8) != 0 || p[8] > 20) return false;
    x->bits = p[8];
    x->pack_count = get_u32(p + 12);
    x->entry_count = get_u64(p + 16);
    x->bloom_lines = get_u64(p + 24);
    if (x->entry_count > x->map_len || x->bloom_lines > x->map_len || !x->bloom_lines) return false;
    size_t entries_at = CACHE_HEADER + (size_t)x->pack_count * RUN_PACK_BYTES;
    size_t fan_at = entries_at + x->entry_count * RUN_ENTRY_BYTES;
    size_t bloom_at = (fan_at + ((size_t)1 << x->bits) * 4 + 4 + 63) & ~(size_t)63;
    if (bloom_at + x->bloom_lines * BLOOM_LINE != x->map_len) return false;
    struct digest d;
    sha256(BYTES_OF(p + CACHE_HEADER, x->map_len - CACHE_HEADER), &d);
    if (memcmp(d.b, p + 64, DIGEST_BYTES) != 0) return false;
    x->packs = p + CACHE_HEADER;
    x->entries = p + entries_at;
    x->fan = (const uint32_t *)(const void *)(p + fan_at);
    x->bloom = p + bloom_at;
    return true;
}

/* 1 when mapped, 0 when there is no good copy. */
static int map_cached(const char *path, struct run *x, struct error *err) {
    int fd = seam_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return 0;
    struct stat st;
    if (seam_fstat(fd, &st) < 0 || st.st_size < CACHE_HEADER) {
        io_close(&fd);
        return 0;
    }
    void *m = seam_mmap((size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    io_close(&fd);
    if (m == MAP_FAILED) return error_set_errno(err, ERR_IO_READ, "mapping %s", path);
    x->map = m;
    x->map_len = (size_t)st.st_size;
    x->mapped = true;
    if (image_check(x)) return 1;
    seam_munmap(m, x->map_len);
    x->map = NULL;
    x->mapped = false;
    return 0;
}

static int run_load(struct repo *r, const struct digest *name, struct run **ret, struct error *err) {
    void *mem;
    int rc = mem_alloc(sizeof(struct run), &mem, err);
    if (rc < 0) return rc;
    struct run *x = mem;
    char path[4200] = "", hex[65];
    hex_encode(name->b, sizeof name->b, hex);
    if (r->cache_dir) {
        snprintf(path, sizeof path, "%s/run-%s", r->cache_dir, hex);
        if ((rc = map_cached(path, x, err)) < 0) goto fail;
        if (rc == 1) {
            *ret = x;
            return 0;
        }
    }
    uint64_t entries;
    uint32_t packs;
    uint8_t *body, *image;
    size_t len, image_len;
    if ((rc = run_read_body(r, name, RUN_TYPE_INDEX, &entries, &packs, &body, &len, err)) < 0) goto fail;
    rc = image_build(body, entries, packs, &image, &image_len, err);
    seam_free(body);
    if (rc < 0) goto fail;
    if (r->cache_dir) {
        /* a cache that cannot be written only costs speed */
        struct error e = ERROR_INIT;
        if (io_replace_file(AT_FDCWD, path, BYTES_OF(image, image_len), 0600, &e) == 0 &&
            map_cached(path, x, &e) == 1) {
            seam_free(image);
            *ret = x;
            return 0;
        }
    }
    x->map = image;
    x->map_len = image_len;
    if (!image_check(x)) {
        rc = error_set(err, ERR_INTERNAL, "an index image does not check");
        goto fail;
    }
    *ret = x;
    return 0;
fail:
    run_free(x);
    return error_wrap(err, "loading the index");
}

int index_add(struct repo *r, struct index *x, const struct digest *name, struct error *err) {
    for (size_t i = 0; i < x->count; i++)
        if (digest_equal(&x->names[i], name)) return 0;
    struct run *run = NULL;
    int rc = run_load(r, name, &run, err);
    if (rc < 0) return rc;
    size_t cap = x->cap;
    rc = mem_grow((void **)&x->runs, &cap, x->count + 1, sizeof *x->runs, err);
    if (rc == 0) rc = mem_grow((void **)&x->names, &x->cap, x->count + 1, sizeof *x->names, err);
    if (rc < 0) {
        run_free(run);
        return rc;
    }
    x->runs[x->count] = run;
    x->names[x->count++] = *name;
    return 0;
}

void index_drop(struct repo *r, struct index *x, size_t i, bool forget) {
    char path[4200], hex[65];
    hex_encode(x->names[i].b, DIGEST_BYTES, hex);
    run_free(x->runs[i]);
    if (r->cache_dir && forget) {
        snprintf(path, sizeof path, "%s/run-%s", r->cache_dir, hex);
        (void)!seam_unlinkat(AT_FDCWD, path, 0);
    }
    x->count--;
    x->runs[i] = x->runs[x->count];
    x->names[i] = x->names[x->count];
}

int index_follow(struct repo *r, struct index *x, struct error *err) {
    for (size_t i = 0; i < x->count;) {
        bool live = false;
        for (size_t j = 0; j < r->state.run_count; j++) live |= digest_equal(&x->names[i], &r->state.runs[j]);
        if (live) {
            i++;
            continue;
        }
        index_drop(r, x, i, true);
    }
    for (size_t j = 0; j < r->state.run_count; j++) {
        if (state_epoch_object(&r->state, &r->state.runs[j])) continue;
        int rc = index_add(r, x, &r->state.runs[j], err);
        if (rc < 0 && r->mending && error_info(rc)->status == EXIT_INTEGRITY) {
            error_clear(err);
            rc = 0;
        }
        if (rc < 0) return rc;
    }
    return 0;
}

static const uint8_t *run_find(const struct run *x, const uint8_t *id) {
    const uint8_t *line = x->bloom + get_u64(id + 4) % x->bloom_lines * BLOOM_LINE;
    for (unsigned k = 0; k < 4; k++) {
        unsigned bit = (id[12 + k] | (unsigned)(id[k] & 1) << 8) & 511;
        if (!(line[bit >> 3] & 1u << (bit & 7))) return NULL;
    }
    uint32_t top = (uint32_t)id[0] << 24 | (uint32_t)id[1] << 16 | (uint32_t)id[2] << 8 | id[3];
    uint32_t slot = x->bits ? top >> (32 - x->bits) : 0;
    uint64_t lo = get_u32((const uint8_t *)(x->fan + slot)), hi = get_u32((const uint8_t *)(x->fan + slot + 1));
    uint64_t end = hi;
    while (lo < hi) {
        uint64_t mid = (lo + hi) / 2;
        if (memcmp(x->entries + mid * RUN_ENTRY_BYTES, id, ID_PREFIX_BYTES) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    const uint8_t *e = x->entries + lo * RUN_ENTRY_BYTES;
    return lo < end && memcmp(e, id, ID_PREFIX_BYTES) == 0 ? e : NULL;
}

bool index_copy(const struct index *x, const uint8_t *id, struct copies *at, struct location *ret) {
    while (at->runs_done < x->count) {
        size_t i = x->count - 1 - at->runs_done;
        const struct run *u = x->runs[i];
        const uint8_t *e = at->next ? u->entries + at->next * RUN_ENTRY_BYTES : run_find(u, id);
        uint64_t entry = e ? (uint64_t)(e - u->entries) / RUN_ENTRY_BYTES : 0;
        if (!e || entry >= u->entry_count || memcmp(e, id, ID_PREFIX_BYTES) != 0) {
            at->runs_done++;
            at->next = 0;
            continue;
        }
        uint32_t flags = get_u32(e + 28);
        *ret = (struct location){.run = i,
                                 .entry = entry,
                                 .pack = get_u32(e + 16),
                                 .frame = get_u32(e + 20),
                                 .plain_len = get_u32(e + 24),
                                 .kind = flags >> ENTRY_KIND_SHIFT & 0xff,
                                 .delta = flags & ENTRY_DELTA};
        at->next = entry + (ret->delta ? 2 : 1);
        if (ret->pack >= u->pack_count || at->next > u->entry_count) continue;
        if (ret->delta) memcpy(ret->base, e + RUN_ENTRY_BYTES + 16, ID_PREFIX_BYTES);
        return true;
    }
    return false;
}

bool index_find_plain(const struct index *x, const uint8_t *id, struct location *ret) {
    struct copies at = {0};
    while (index_copy(x, id, &at, ret))
        if (!ret->delta) return true;
    return false;
}

bool index_find(const struct index *x, const uint8_t *id, struct location *ret) {
    struct copies at = {0};
    struct location l, ignored;
    bool have = false;
    while (index_copy(x, id, &at, &l)) {
        /* of several deltas, the first whose base is there: a collection may have taken the others' */
        if (!have || !l.delta || !index_find_plain(x, ret->base, &ignored)) *ret = l;
        have = true;
        if (!l.delta) break;
    }
    return have;
}

void index_pack(const struct index *x, const struct location *l, struct digest *ret_name, uint64_t *ret_bytes,
                bool *ret_meta) {
    const uint8_t *p = x->runs[l->run]->packs + (size_t)l->pack * RUN_PACK_BYTES;
    memcpy(ret_name->b, p, DIGEST_BYTES);
    uint64_t v = get_u64(p + DIGEST_BYTES);
    if (ret_bytes) *ret_bytes = v & ~RUN_PACK_META;
    if (ret_meta) *ret_meta = v & RUN_PACK_META;
}

struct run_view index_run(const struct index *x, size_t run) {
    const struct run *u = x->runs[run];
    return (struct run_view){u->packs, u->pack_count, u->entries, u->entry_count};
}

void index_free(struct index *x) {
    for (size_t i = 0; i < x->count; i++) run_free(x->runs[i]);
    seam_free(x->runs);
    seam_free(x->names);
    *x = (struct index){0};
}

int repo_totals(struct repo *r, uint64_t *ret_packs, uint64_t *ret_bytes, struct error *err) {
    struct digest *names = NULL;
    size_t n = 0, cap = 0;
    int rc = 0;
    uint64_t bytes = 0;
    for (size_t i = 0; i < r->index.count && rc == 0; i++) {
        struct run_view v = index_run(&r->index, i);
        rc = mem_grow((void **)&names, &cap, n + v.pack_count, sizeof *names, err);
        for (uint32_t j = 0; j < v.pack_count && rc == 0; j++)
            memcpy(names[n++].b, v.packs + (size_t)j * RUN_PACK_BYTES, DIGEST_BYTES);
    }
    if (rc == 0) {
        size_t unique = digest_sort_unique(names, n);
        void *seen;
        rc = mem_alloc(unique + 1, &seen, err);
        for (size_t i = 0; i < r->index.count && rc == 0; i++) {
            struct run_view v = index_run(&r->index, i);
            for (uint32_t j = 0; j < v.pack_count; j++) {
                const uint8_t *p = v.packs + (size_t)j * RUN_PACK_BYTES;
                struct digest *d = bsearch(p, names, unique, sizeof *names, digest_order);
                uint8_t *mark = (uint8_t *)seen + (d - names);
                if (!*mark) bytes += get_u64(p + DIGEST_BYTES) & ~RUN_PACK_META;
                *mark = 1;
            }
        }
        if (rc == 0) seam_free(seen);
        *ret_packs = unique;
        *ret_bytes = bytes;
    }
    seam_free(names);
    return rc;
}
