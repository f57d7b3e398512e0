/* The index: live runs, each a checked image in the local cache (or in memory without a cache folder). */
#include "repo/nameset.h"
#include "repo/run_image.h"

#define RUNS_AT_ONCE 4

static void run_free(struct run *x) {
    while (x) {
        struct run *next = x->healed;
        run_image_close(x);
        seam_free(x);
        x = next;
    }
}

static void run_path(const struct repo *r, const struct digest *name, char ret[4200]) {
    char hex[65];
    hex_encode(name->b, DIGEST_BYTES, hex);
    snprintf(ret, 4200, "%s/run-%s", r->cache_dir, hex);
}

static int run_load(struct repo *r, const struct digest *name, struct run **ret, struct error *err) {
    void *mem;
    int rc = mem_alloc(sizeof(struct run), &mem, err);
    if (rc < 0) return rc;
    struct run *x = mem;
    x->fd = -1;
    char path[4200] = "";
    if (r->cache_dir) {
        run_path(r, name, path);
        if ((rc = run_image_open(path, x, err)) < 0) goto fail;
        if (rc == 1) {
            *ret = x;
            return 0;
        }
    }
    uint64_t entries;
    uint32_t packs;
    uint8_t *body, *image;
    size_t len, image_len;
    const bool stored = !run_own_take(r, name, &entries, &packs, &body);
    if (stored && (rc = run_read_body(r, name, RUN_TYPE_INDEX, &entries, &packs, &body, &len, err)) < 0) goto fail;
    rc = run_image_build(body, entries, packs, &image, &image_len, err);
    seam_free(body);
    if (rc < 0) goto fail;
    if (r->cache_dir) {
        /* a cache that cannot be written only costs speed */
        struct error e = ERROR_INIT;
        if (io_replace_file(AT_FDCWD, path, BYTES_OF(image, image_len), 0600, &e) == 0 &&
            run_image_open(path, x, &e) == 1) {
            seam_free(image);
            x->stored = stored;
            *ret = x;
            return 0;
        }
    }
    if ((rc = run_image_adopt(image, image_len, x, err)) < 0) {
        seam_free(image);
        goto fail;
    }
    x->stored = stored;
    *ret = x;
    return 0;
fail:
    seam_free(x);
    if (rc == -ERR_OBJECT_MISSING || rc == -ERR_OBJECT_CORRUPT)
        (void)!error_next(err, "Run 'proofkeep repair', which makes the index anew of what the packs say.");
    return error_wrap(err, "loading the index");
}

/* The run in force at a place: what is read from a rotten file is made again from the object. */
static struct run *run_at(const struct index *x, size_t i) {
    struct run *u = x->runs[i], *next;
    while ((next = atomic_load_explicit(&u->healed, memory_order_acquire))) u = next;
    return u;
}

/* So seldom that one lock will do; not a repository's, which loading a run may take. */
static pthread_mutex_t healing = PTHREAD_MUTEX_INITIALIZER;

/* NULL when it could not be made again. Threads that still read the rotten one may go on. */
static struct run *run_heal(const struct index *x, size_t i, struct run *rotten) {
    struct repo *r = x->repo;
    struct error e = ERROR_INIT;
    struct run *fresh = NULL;
    char path[4200];
    pthread_mutex_lock(&healing);
    if (!rotten->healed && !rotten->lost) {
        if (r->cache_dir) {
            run_path(r, &x->names[i], path);
            (void)!seam_unlinkat(AT_FDCWD, path, 0);
        }
        rotten->lost = run_load(r, &x->names[i], &fresh, &e) < 0;
        r->index_behind |= rotten->lost;
        atomic_store_explicit(&rotten->healed, fresh, memory_order_release);
    }
    fresh = rotten->healed;
    pthread_mutex_unlock(&healing);
    return fresh;
}

static bool index_has(const struct index *x, const struct digest *name) {
    for (size_t i = 0; i < x->count; i++)
        if (digest_equal(&x->names[i], name)) return true;
    return false;
}

/* Takes run over. */
static int index_put(struct repo *r, struct index *x, const struct digest *name, struct run *run, struct error *err) {
    size_t cap = x->cap;
    int rc = mem_grow((void **)&x->runs, &cap, x->count + 1, sizeof *x->runs, err);
    if (rc == 0) rc = mem_grow((void **)&x->names, &x->cap, x->count + 1, sizeof *x->names, err);
    if (rc < 0) {
        run_free(run);
        return rc;
    }
    x->repo = r;
    x->runs[x->count] = run;
    x->names[x->count++] = *name;
    return 0;
}

int index_add(struct repo *r, struct index *x, const struct digest *name, struct error *err) {
    if (index_has(x, name)) return 0;
    struct run *run = NULL;
    int rc = run_load(r, name, &run, err);
    return rc < 0 ? rc : index_put(r, x, name, run, err);
}

static bool run_lacks(const struct repo *r, const struct index *x, const struct digest *name) {
    return !state_epoch_object(&r->state, name) && !index_has(x, name);
}

struct run_task {
    struct repo *r;
    const struct digest *name;
    struct run *run;
    struct error err;
};

static void run_task_do(void *arg) {
    struct run_task *t = arg;
    (void)!run_load(t->r, t->name, &t->run, &t->err);
}

/* Runs that are far away come several at a time. */
static int index_add_many(struct repo *r, struct index *x, const struct digest *names, size_t n, struct error *err) {
    struct run_task tasks[RUNS_AT_ONCE];
    struct pool *pool = NULL;
    int rc = pool_new(RUNS_AT_ONCE, RUNS_AT_ONCE, &pool, err);
    for (size_t at = 0; at < n && rc == 0;) {
        size_t count = 0;
        for (; at < n && count < RUNS_AT_ONCE; at++)
            if (run_lacks(r, x, &names[at])) tasks[count++] = (struct run_task){.r = r, .name = &names[at]};
        for (size_t i = 0; i < count; i++) pool_submit(pool, run_task_do, &tasks[i]);
        pool_drain(pool);
        for (size_t i = 0; i < count; i++) {
            if (rc == 0 && tasks[i].err.code) {
                *err = tasks[i].err;
                rc = -(int)err->code;
            }
            if (rc == 0)
                rc = index_put(r, x, tasks[i].name, tasks[i].run, err);
            else
                run_free(tasks[i].run);
        }
    }
    pool_free(pool);
    return rc;
}

void index_drop(struct repo *r, struct index *x, size_t i, bool forget) {
    char path[4200];
    run_free(x->runs[i]);
    if (r->cache_dir && forget) {
        run_path(r, &x->names[i], path);
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
        if (live && !run_at(x, i)->lost) {
            i++;
            continue;
        }
        index_drop(r, x, i, true);
    }
    size_t missing = 0;
    for (size_t j = 0; j < r->state.run_count; j++) missing += run_lacks(r, x, &r->state.runs[j]);
    if (missing > 1 && !r->mending && store_reads_many(r->store))
        return index_add_many(r, x, r->state.runs, r->state.run_count, err);
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

/* The entry at `at`, or with `at` 0 the first one of that id. 1, 0 or, with a run that is lost, also 0. */
static int entry_get(const struct index *x, size_t i, const uint8_t *id, uint64_t at, uint64_t *ret_at, uint8_t *ret) {
    for (struct run *u = run_at(x, i); u; u = run_heal(x, i, u)) {
        int rc;
        if (at)
            rc = at >= u->entry_count                                                            ? 0
                 : run_image_read(u, u->entries_at + at * RUN_ENTRY_BYTES, ret, RUN_ENTRY_BYTES) ? 1
                                                                                                 : -1;
        else
            rc = run_image_find(u, id, ret_at, ret);
        if (at) *ret_at = at;
        if (rc >= 0) return rc > 0 && memcmp(ret, id, ID_PREFIX_BYTES) == 0;
    }
    return 0;
}

bool index_copy(const struct index *x, const uint8_t *id, struct copies *at, struct location *ret) {
    while (at->runs_done < x->count) {
        size_t i = x->count - 1 - at->runs_done;
        uint8_t e[RUN_ENTRY_BYTES], second[RUN_ENTRY_BYTES];
        uint64_t entry, next;
        if (!entry_get(x, i, id, at->next, &entry, e)) {
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
        if (ret->pack >= x->runs[i]->pack_count || at->next > x->runs[i]->entry_count) continue;
        if (ret->delta) {
            if (!entry_get(x, i, id, entry + 1, &next, second)) continue;
            memcpy(ret->base, second + 16, ID_PREFIX_BYTES);
        }
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

bool index_pack(const struct index *x, const struct location *l, struct digest *ret_name, uint64_t *ret_bytes,
                bool *ret_meta) {
    uint8_t p[RUN_PACK_BYTES] = {0};
    struct run *u = run_at(x, l->run);
    while (u && !run_image_read(u, IMAGE_BLOCK + (uint64_t)l->pack * RUN_PACK_BYTES, p, sizeof p))
        u = run_heal(x, l->run, u);
    memcpy(ret_name->b, p, DIGEST_BYTES);
    uint64_t v = get_u64(p + DIGEST_BYTES);
    if (ret_bytes) *ret_bytes = v & ~RUN_PACK_META;
    if (ret_meta) *ret_meta = v & RUN_PACK_META;
    return u != NULL;
}

bool index_read_whole(const struct index *x, const struct digest *name) {
    for (size_t i = 0; i < x->count; i++)
        if (digest_equal(&x->names[i], name)) return run_at(x, i)->stored;
    return false;
}

uint32_t index_pack_count(const struct index *x, size_t run) {
    return x->runs[run]->pack_count;
}

uint64_t index_entry_count(const struct index *x, size_t run) {
    return x->runs[run]->entry_count;
}

int index_scan(const struct index *x, size_t run, bool entries, struct run_view *ret, struct error *err) {
    for (struct run *u = run_at(x, run); u; u = run_heal(x, run, u))
        if (run_image_scan(u, entries, ret)) return 0;
    return error_set(err, ERR_IO_READ, "the local copy of an index run is damaged and could not be made again");
}

void index_scan_end(struct run_view *v) {
    if (v->map) seam_munmap(v->map, v->map_len);
    *v = (struct run_view){0};
}

void index_free(struct index *x) {
    for (size_t i = 0; i < x->count; i++) run_free(x->runs[i]);
    seam_free(x->runs);
    seam_free(x->names);
    *x = (struct index){0};
}

int repo_totals(struct repo *r, uint64_t *ret_packs, uint64_t *ret_bytes, struct error *err) {
    struct nameset names = {0};
    struct run_view v;
    uint64_t bytes = 0;
    void *mem = NULL;
    int rc = 0;
    for (size_t i = 0; i < r->index.count && rc == 0; i++) {
        if ((rc = index_scan(&r->index, i, false, &v, err)) < 0) break;
        for (uint32_t j = 0; j < v.pack_count && rc == 0; j++)
            rc = nameset_add(&names, v.packs + (size_t)j * RUN_PACK_BYTES, err);
        index_scan_end(&v);
    }
    nameset_sort(&names);
    if (rc == 0) rc = mem_alloc(names.count / 8 + 1, &mem, err);
    for (size_t i = 0; i < r->index.count && rc == 0; i++) {
        if ((rc = index_scan(&r->index, i, false, &v, err)) < 0) break;
        for (uint32_t j = 0; j < v.pack_count; j++) {
            const uint8_t *p = v.packs + (size_t)j * RUN_PACK_BYTES;
            if (bit_take(mem, nameset_find(&names, p))) bytes += get_u64(p + DIGEST_BYTES) & ~RUN_PACK_META;
        }
        index_scan_end(&v);
    }
    if (rc == 0) {
        *ret_packs = names.count;
        *ret_bytes = bytes;
    }
    seam_free(mem);
    nameset_free(&names);
    return rc;
}
