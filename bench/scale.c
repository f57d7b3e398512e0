/* A repository of many terabytes whose log, index runs, pack lists and snapshots are real and whose packs are not
 * there.
 *
 *   scale make DIR TERABYTES [SNAPSHOTS]   makes it with the library's own writers
 *   scale WHAT DIR                                  measures one thing; prints one line of JSON
 *
 * Chunks have 1 MiB and packs 16 MiB. Ten surfaces take turns. Six tenths of the packs come with their first snapshots,
 * the others evenly with those after. Half of the packs are needed for ever; the others for as many snapshots as chance
 * says, up to as many as there are, so what retention frees is scattered over all packs. The store answers for packs
 * that would be there; all other objects are in a folder. Each WHAT wants a process of its own, as the peak of memory
 * is the process's. */
#include "ledger/statement.h"
#include "repo/packlist.h"
#include "repo/run_merge.h"
#include "repo/writer_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define CHUNKS 16u
#define CHUNK_LEN (1u << 20)
#define SURFACES 10u
#define RUN_PACKS ((512u << 10) / CHUNKS) /* as a writer cuts its runs */

static void check(int rc, const struct error *err) {
    if (rc >= 0) return;
    fprintf(stderr, "scale: %s %s\n", error_info(rc)->code, err->text);
    exit(EXIT_FAILURE);
}

static uint64_t mix(uint64_t x) {
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* ---- what there is, by number ---- */

struct world {
    char dir[200], repo_dir[256], cache_dir[256];
    uint64_t packs, first; /* in all, and those of the first snapshot */
    uint64_t snapshots;
    struct store *folder;
    struct repo *repo;
    struct unlock unlock;
    uint8_t key[32];
    uint8_t *removed; /* a bit a pack */
};

static void pack_name(uint64_t i, struct digest *ret) {
    for (unsigned k = 0; k < 3; k++) put_u64(ret->b + 8 * k, mix(i * 3 + k + UINT64_C(0x100000000)));
    ret->b[0] = (uint8_t)i;
    put_u64(ret->b + 24, i);
}

/* The numbers of a pack's name, if it is one of ours. */
static bool pack_number(const struct world *w, const struct digest *d, uint64_t *ret) {
    struct digest again;
    *ret = get_u64(d->b + 24);
    if (*ret >= w->packs) return false;
    pack_name(*ret, &again);
    return digest_equal(&again, d);
}

static void chunk_name(uint64_t chunk, uint8_t ret[ID_PREFIX_BYTES]) {
    put_u64(ret, mix(chunk * 2));
    put_u64(ret + 8, mix(chunk * 2 + 1));
}

static uint64_t born(const struct world *w, uint64_t pack) {
    if (pack < w->first) return pack * SURFACES / w->first;
    return SURFACES + (pack - w->first) * (w->snapshots - SURFACES) / (w->packs - w->first);
}

static uint64_t born_end(const struct world *w, uint64_t snapshot) { /* packs born up to this snapshot */
    uint64_t lo = 0, hi = w->packs;
    while (lo < hi) {
        uint64_t mid = (lo + hi) / 2;
        if (born(w, mid) <= snapshot)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool uses(const struct world *w, uint64_t snapshot, uint64_t pack) {
    const uint64_t h = mix(pack ^ UINT64_C(0x5ca1e)), b = born(w, pack);
    return b <= snapshot && b % SURFACES == snapshot % SURFACES &&
           (h & 1 || snapshot < b + 1 + (h >> 8) % w->snapshots);
}

/* ---- a store in which the packs would be ---- */

struct shadow {
    struct store base;
    struct world *w;
};

static struct world *world_of(struct store *s) {
    return ((struct shadow *)(void *)s)->w;
}

static bool shadowed(struct store *s, const char *key, uint64_t *ret) {
    struct world *w = world_of(s);
    struct digest d;
    return strncmp(key, "packs/d/", 8) == 0 && strlen(key) == 75 && hex_decode(key + 11, 64, d.b, DIGEST_BYTES) &&
           pack_number(w, &d, ret);
}

static bool gone(const struct world *w, uint64_t pack) {
    return w->removed[pack / 8] >> pack % 8 & 1;
}

static int s_stage(struct store *s, const char *key, const struct bytes *parts, size_t n, struct error *err) {
    return store_stage(world_of(s)->folder, key, parts, n, err);
}
static int s_commit(struct store *s, struct error *err) {
    return store_commit(world_of(s)->folder, err);
}
static int s_create(struct store *s, const char *key, struct bytes content, struct error *err) {
    return store_create(world_of(s)->folder, key, content, err);
}
static int s_replace(struct store *s, const char *key, struct bytes content, struct error *err) {
    return store_replace(world_of(s)->folder, key, content, err);
}
static int s_read(struct store *s, const char *key, uint64_t at, void *p, size_t len, size_t *ret_n,
                  struct error *err) {
    return store_read(world_of(s)->folder, key, at, p, len, ret_n, err);
}
static int s_stat(struct store *s, const char *key, uint64_t *ret_bytes, int64_t *ret_ns, struct error *err) {
    uint64_t pack;
    if (!shadowed(s, key, &pack)) return store_stat(world_of(s)->folder, key, ret_bytes, ret_ns, err);
    if (gone(world_of(s), pack)) return error_set(err, ERR_OBJECT_MISSING, "%s was removed", key);
    if (ret_bytes) *ret_bytes = CHUNKS * CHUNK_LEN;
    if (ret_ns) *ret_ns = NS_PER_S;
    return 0;
}
static int s_list(struct store *s, const char *prefix, store_list_cb cb, void *ctx, struct error *err) {
    const struct world *w = world_of(s);
    uint64_t from = 0, step = 1;
    unsigned byte;
    char key[96];
    int rc = store_list(w->folder, prefix, cb, ctx, err);
    if (rc != 0 || strncmp(prefix, "packs/d/", 8) != 0) return rc;
    if (sscanf(prefix + 8, "%2x/", &byte) == 1) {
        from = byte;
        step = 256;
    }
    for (uint64_t i = from; i < w->packs && rc == 0; i += step) {
        struct digest name;
        if (gone(w, i)) continue;
        pack_name(i, &name);
        pack_key(false, &name, key);
        const struct store_object o = {key, CHUNKS * CHUNK_LEN, NS_PER_S};
        rc = cb(ctx, &o, err);
    }
    return rc;
}
static int s_remove(struct store *s, const char *key, struct error *err) {
    uint64_t pack;
    if (!shadowed(s, key, &pack)) return store_remove(world_of(s)->folder, key, err);
    world_of(s)->removed[pack / 8] |= (uint8_t)(1u << pack % 8);
    return 0;
}
static int s_free_space(struct store *s, uint64_t *ret, struct error *err) {
    return store_free_space(world_of(s)->folder, ret, err);
}
static void s_close(struct store *s) {
    (void)s;
}
static const struct store_ops shadow_ops = {
    .name = "shadow",
    .promises =
        STORE_ATOMIC_CREATE | STORE_READ_AFTER_WRITE | STORE_LIST_AFTER_WRITE | STORE_CHEAP_READ | STORE_STAGED_HIDDEN,
    .stage = s_stage,
    .commit = s_commit,
    .create = s_create,
    .replace = s_replace,
    .read = s_read,
    .stat = s_stat,
    .list = s_list,
    .remove = s_remove,
    .free_space = s_free_space,
    .close = s_close,
};

/* ---- making ---- */

static void world_paths(struct world *w, const char *dir) {
    snprintf(w->dir, sizeof w->dir, "%s", dir);
    snprintf(w->repo_dir, sizeof w->repo_dir, "%s/repo", dir);
    snprintf(w->cache_dir, sizeof w->cache_dir, "%s/cache", dir);
    for (unsigned i = 0; i < 32; i++) w->key[i] = (uint8_t)i;
    w->unlock = (struct unlock){.kind = SLOT_KEY_FILE, .secret = BYTES_OF(w->key, 32)};
}

static void shadow_open(struct world *w, struct shadow *s) {
    struct error err = ERROR_INIT;
    void *mem;
    check(mem_alloc(w->packs / 8 + 1, &mem, &err), &err);
    w->removed = mem;
    check(store_local_open(w->repo_dir, true, &w->folder, &err), &err);
    *s = (struct shadow){{&shadow_ops}, w};
}

static void world_save(const struct world *w) {
    struct error err = ERROR_INIT;
    char path[300];
    struct buf b = BUF_INIT(1u << 30);
    check(buf_append_u64(&b, w->packs, &err), &err);
    check(buf_append_u64(&b, w->first, &err), &err);
    check(buf_append_u64(&b, w->snapshots, &err), &err);
    check(buf_append(&b, w->removed, w->packs / 8 + 1, &err), &err);
    snprintf(path, sizeof path, "%s/world", w->dir);
    check(io_replace_file(AT_FDCWD, path, buf_bytes(&b), 0600, &err), &err);
    buf_free(&b);
}

static void world_load(struct world *w, const char *dir, struct shadow *s) {
    struct error err = ERROR_INIT;
    char path[300];
    struct buf b = BUF_INIT(1u << 30);
    world_paths(w, dir);
    snprintf(path, sizeof path, "%s/world", w->dir);
    check(io_read_file(AT_FDCWD, path, b.max_bytes, &b, &err), &err);
    w->packs = get_u64(b.ptr);
    w->first = get_u64(b.ptr + 8);
    w->snapshots = get_u64(b.ptr + 16);
    shadow_open(w, s);
    memcpy(w->removed, b.ptr + 24, w->packs / 8 + 1);
    buf_free(&b);
}

/* A run over packs [from, end). */
static void run_make(struct world *w, uint64_t from, uint64_t end, json_t *index) {
    struct error err = ERROR_INIT;
    struct digest name;
    void *rows, *entries;
    check(mem_alloc((end - from) * RUN_PACK_BYTES, &rows, &err), &err);
    check(mem_alloc((end - from) * CHUNKS * sizeof(struct run_entry), &entries, &err), &err);
    struct run_entry *e = entries;
    for (uint64_t p = from; p < end; p++) {
        uint8_t *row = (uint8_t *)rows + (p - from) * RUN_PACK_BYTES;
        pack_name(p, &name);
        memcpy(row, name.b, DIGEST_BYTES);
        put_u64(row + DIGEST_BYTES, CHUNKS * CHUNK_LEN);
        for (unsigned k = 0; k < CHUNKS; k++, e++) {
            chunk_name(p * CHUNKS + k, e->id);
            *e = (struct run_entry){.pack = (uint32_t)(p - from),
                                    .frame = k,
                                    .plain_len = CHUNK_LEN,
                                    .flags = CHUNK_DATA << ENTRY_KIND_SHIFT};
            chunk_name(p * CHUNKS + k, e->id);
        }
    }
    check(run_write(w->repo, entries, (end - from) * CHUNKS, rows, (uint32_t)(end - from), &name, &err), &err);
    check(store_commit(w->repo->store, &err), &err);
    check(json_push(index, json_digest(&name), &err), &err);
    seam_free(rows);
    seam_free(entries);
}

static void surface_name(uint64_t snapshot, char ret[32]) {
    snprintf(ret, 32, "surface-%llu", (unsigned long long)(snapshot % SURFACES));
}

static void receipt(struct world *w, uint64_t snapshot, const struct digest *list, json_t *index, json_t *removed) {
    struct error err = ERROR_INIT;
    char id[32], hex[65], now[32], surface[32];
    struct digest root;
    sha256(BYTES_OF(&snapshot, sizeof snapshot), &root);
    hex_encode(list->b, DIGEST_BYTES, hex);
    snprintf(id, sizeof id, "bkp-scale-%llu", (unsigned long long)snapshot);
    surface_name(snapshot, surface);
    time_format(time_now_ns(), now);
    json_t *s = json_pack("{s:s, s:[{s:s, s:{s:s}}], s:s, s:{s:s, s:s, s:s, s:s, s:s, s:{s:i, s:s, s:s, s:[o], s:o, "
                          "s:o, s:o, s:b, s:I, s:I, s:I}}}",
                          "_type", STATEMENT_TYPE, "subject", "name", "packs", "digest", "sha256", hex, "predicateType",
                          PREDICATE_RECEIPT, "predicate", "backup_id", id, "environment", "bench", "surface", "scale",
                          "started_at", now, "completed_at", now, "repository", "version", 1, "surface", surface,
                          "kind", "files", "root", json_digest(&root), "packs", json_digest(list), "index", index,
                          "index_removed", removed, "complete", 1, "items", (json_int_t)1, "bytes",
                          (json_int_t)CHUNK_LEN, "stored_bytes", (json_int_t)CHUNK_LEN);
    if (!s) abort();
    check(repo_append(w->repo, s, NULL, NULL, &err), &err);
    json_decref(s);
}

struct listing {
    const struct world *w;
    uint64_t snapshot, end;
};

static int names_of(void *ctx, name_cb cb, void *cb_ctx, struct error *err) {
    const struct listing *l = ctx;
    struct digest name;
    int rc = 0;
    for (uint64_t p = 0; p < l->end && rc == 0; p++) {
        if (!uses(l->w, l->snapshot, p)) continue;
        pack_name(p, &name);
        rc = cb(cb_ctx, &name, err);
    }
    return rc;
}

static void list_make(struct world *w, uint64_t snapshot, struct digest *ret) {
    struct error err = ERROR_INIT;
    char surface[32];
    surface_name(snapshot, surface);
    struct listing l = {w, snapshot, born_end(w, snapshot)};
    const struct snapshot_info *last = repo_latest(w->repo, "bench", surface);
    struct digests parts = {0};
    check(packlist_make(w->repo, names_of, &l, last ? &last->packs : NULL, ret, NULL, &parts, &err), &err);
    check(store_commit(w->repo->store, &err), &err);
    digests_free(&parts);
}

/* As a writer does before it commits, but for its own run, which is not in the index yet. */
static void merge(struct world *w, json_t *index, json_t *removed) {
    struct error err = ERROR_INIT;
    struct digests added = {0}, gone = {0};
    check(runs_merge(w->repo, &added, &gone, &err), &err);
    for (size_t i = 0; i < added.n; i++) check(json_push(index, json_digest(&added.d[i]), &err), &err);
    for (size_t i = 0; i < gone.n; i++) check(json_push(removed, json_digest(&gone.d[i]), &err), &err);
    digests_free(&added);
    digests_free(&gone);
}

static void make(const char *dir, double terabytes, uint64_t snapshots) {
    struct error err = ERROR_INIT;
    struct world w = {.snapshots = snapshots};
    struct shadow s;
    struct keyring *keys = NULL;
    w.packs = (uint64_t)(terabytes * 1e6 / CHUNKS);
    w.first = w.packs * 6 / 10;
    world_paths(&w, dir);
    check(io_mkdirs(w.dir, 0700, &err), &err);
    shadow_open(&w, &s);
    check(repo_create(&s.base, NULL, &w.unlock, "scale", &keys, &err), &err);
    keyring_free(keys);
    check(repo_open(&s.base, &w.unlock, w.cache_dir, &w.repo, &err), &err);
    for (uint64_t k = 0, from = 0; k < snapshots; k++) {
        const uint64_t end = born_end(&w, k);
        json_t *index = json_array(), *removed = json_array();
        struct digest list;
        for (; from < end; from += RUN_PACKS < end - from ? RUN_PACKS : end - from)
            run_make(&w, from, from + (RUN_PACKS < end - from ? RUN_PACKS : end - from), index);
        list_make(&w, k, &list);
        merge(&w, index, removed);
        receipt(&w, k, &list, index, removed);
        check(repo_sync(w.repo, &err), &err);
    }
    world_save(&w);
    repo_close(w.repo);
    store_close(w.folder);
    seam_free(w.removed);
}

/* ---- measuring ---- */

/* Seconds, by the clock and of CPU: a busy machine stretches the one only. */
struct watch {
    int64_t clock_ns;
    double cpu;
};

static double cpu_seconds(const struct rusage *u) {
    return (double)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) +
           (double)(u->ru_utime.tv_usec + u->ru_stime.tv_usec) / 1e6;
}

static struct watch watch(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (struct watch){time_monotonic_ns(), cpu_seconds(&u)};
}

static void said(const char *what, const struct watch *since, uint64_t count, const char *unit) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    printf("{\"what\": \"%s\", \"seconds\": %.3f, \"cpu\": %.3f, \"count\": %llu, \"unit\": \"%s\", \"peak\": %.1f}\n",
           what, (double)(time_monotonic_ns() - since->clock_ns) / 1e9, cpu_seconds(&u) - since->cpu,
           (unsigned long long)count, unit, (double)u.ru_maxrss / 1024);
    fflush(stdout);
}

static void lookups(struct world *w, bool present) {
    struct location l;
    uint8_t id[ID_PREFIX_BYTES];
    const uint64_t n = present ? 300000 : 1000000;
    uint64_t found = 0;
    struct watch start = watch();
    for (uint64_t i = 0; i < n; i++) {
        chunk_name(present ? mix(i) % (w->packs * CHUNKS) : w->packs * CHUNKS + i, id);
        found += index_find(&w->repo->index, id, &l);
    }
    said(present ? "find present" : "find absent", &start, n, "ids");
    if (found != (present ? n : 0))
        fprintf(stderr, "scale: %llu of %llu found\n", (unsigned long long)found, (unsigned long long)n);
}

struct built {
    struct writer *w;
};

static int build(void *ctx, uint64_t seq, json_t **ret, struct error *err) {
    struct writer *w = ((struct built *)ctx)->w;
    json_t *repo = NULL;
    struct digest d;
    uint64_t bytes;
    char uri[128], hex[65], id[64], now[32];
    int rc = writer_describe(w, &repo, err);
    if (rc < 0) return rc;
    json_object_set_new(repo, "kind", json_string("files"));
    json_object_set_new(repo, "complete", json_true());
    writer_artifact(w, &d, &bytes, uri);
    hex_encode(d.b, 32, hex);
    time_format(time_now_ns(), now);
    snprintf(id, sizeof id, "bkp-more-%llu", (unsigned long long)seq);
    *ret = json_pack("{s:s, s:[{s:s, s:{s:s}}], s:s, s:{s:s, s:s, s:s, s:s, s:s, s:o}}", "_type", STATEMENT_TYPE,
                     "subject", "name", "packs", "digest", "sha256", hex, "predicateType", PREDICATE_RECEIPT,
                     "predicate", "backup_id", id, "environment", "bench", "surface", "scale", "started_at", now,
                     "completed_at", now, "repository", repo);
    return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
}

/* What a backup of a repository does that has all of the last snapshot and 64 MiB of new data. */
static void backup(struct world *w) {
    struct error err = ERROR_INIT;
    struct writer *wr;
    char surface[32];
    surface_name(w->snapshots - 1, surface);
    const struct writer_options o = {.environment = "bench", .surface = surface, .threads = 2};
    uint8_t id[ID_PREFIX_BYTES], *data;
    void *mem;
    struct watch start = watch();
    check(writer_open(w->repo, &o, &wr, &err), &err);
    said("writer_open", &start, 1, "");
    start = watch();
    uint64_t n = 0;
    for (uint64_t p = 0; p < w->packs; p++) {
        if (!uses(w, w->snapshots - 1, p) || gone(w, p)) continue;
        chunk_name(p * CHUNKS + p % CHUNKS, id);
        if (!chunk_use(wr, id)) fprintf(stderr, "scale: a chunk of pack %llu is not known\n", (unsigned long long)p);
        n++;
    }
    said("known chunks", &start, n, "ids");
    start = watch();
    check(mem_alloc(CHUNK_LEN, &mem, &err), &err);
    data = mem;
    uint64_t salt;
    check(random_bytes(&salt, sizeof salt, &err), &err);
    for (unsigned i = 0; i < 64; i++) {
        struct digest sha, ret;
        for (size_t k = 0; k < CHUNK_LEN; k += 8) put_u64(data + k, mix(salt + i * CHUNK_LEN + k));
        sha256(BYTES_OF(data, CHUNK_LEN), &sha);
        check(chunk_put(wr, CHUNK_DATA, BYTES_OF(data, CHUNK_LEN), &sha, NULL, &ret, &err), &err);
    }
    seam_free(mem);
    json_t *root = json_object();
    check(writer_finish(wr, root, &err), &err);
    json_decref(root);
    struct built b = {wr};
    check(writer_commit(wr, build, &b, NULL, NULL, &err), &err);
    said("finish and commit", &start, 64, "chunks");
    writer_free(wr);
}

static void forget(struct world *w) {
    struct error err = ERROR_INIT;
    const size_t n = repo_snapshot_count(w->repo) / 2;
    void *mem;
    check(mem_alloc((n + 1) * sizeof(uint64_t), &mem, &err), &err);
    uint64_t *seqs = mem;
    for (size_t i = 0; i < n; i++) seqs[i] = repo_snapshot(w->repo, i)->seq;
    struct watch start = watch();
    check(repo_forget(w->repo, seqs, n, "measured", &err), &err);
    said("forget half", &start, n, "snapshots");
    seam_free(mem);
}

static void collect(struct world *w, bool act) {
    struct error err = ERROR_INIT;
    struct gc_plan plan;
    const struct gc_options o = {.grace_ns = NS_PER_S, .now_ns = time_now_ns()};
    struct watch start = watch();
    check(act ? gc_run(w->repo, &o, &plan, &err) : gc_plan_make(w->repo, &o, &plan, &err), &err);
    said(act ? "collect" : "plan collection", &start, plan.dead_packs, "dead packs");
    gc_plan_free(&plan);
}

static int finding(void *ctx, const struct check_finding *f, struct error *err) {
    (void)ctx, (void)err;
    fprintf(stderr, "scale: %s: %s\n", f->object, f->text);
    return 0;
}

static void present(struct world *w) {
    struct error err = ERROR_INIT;
    struct check_totals t;
    const struct check_options o = {.level = VERIFY_PRESENT, .threads = 2, .finding = finding};
    struct watch start = watch();
    check(repo_check(w->repo, &o, &t, &err), &err);
    said("check, present", &start, t.objects, "objects");
}

static void totals(struct world *w) {
    struct error err = ERROR_INIT;
    uint64_t packs, bytes;
    struct watch start = watch();
    check(repo_totals(w->repo, &packs, &bytes, &err), &err);
    said("totals (status)", &start, packs, "packs");
}

int main(int argc, char **argv) {
    struct error err = ERROR_INIT;
    struct world w = {0};
    struct shadow s;
    mem_init();
    check(crypto_init(&err), &err);
    if (argc >= 4 && strcmp(argv[1], "make") == 0) {
        const struct watch begun = watch();
        const uint64_t n = argc > 4 ? strtoull(argv[4], NULL, 10) : 300;
        make(argv[2], strtod(argv[3], NULL), n);
        said("make", &begun, n, "snapshots");
        return 0;
    }
    if (argc < 3) {
        fputs("scale make DIR TERABYTES [SNAPSHOTS] | scale WHAT DIR\n", stderr);
        return EXIT_FAILURE;
    }
    world_load(&w, argv[2], &s);
    struct watch start = watch();
    check(repo_open(&s.base, &w.unlock, w.cache_dir, &w.repo, &err), &err);
    said("open", &start, w.repo->index.count, "runs");
    if (strcmp(argv[1], "find") == 0) {
        lookups(&w, true);
        lookups(&w, false);
    } else if (strcmp(argv[1], "backup") == 0)
        backup(&w);
    else if (strcmp(argv[1], "forget") == 0)
        forget(&w);
    else if (strcmp(argv[1], "plan") == 0)
        collect(&w, false);
    else if (strcmp(argv[1], "collect") == 0)
        collect(&w, true);
    else if (strcmp(argv[1], "check") == 0)
        present(&w);
    else if (strcmp(argv[1], "totals") == 0)
        totals(&w);
    world_save(&w);
    repo_close(w.repo);
    store_close(w.folder);
    seam_free(w.removed);
    return 0;
}
