/* A writer from opening to commit. Durable steps, in order: packs, index runs, pack list (one barrier), log entry;
 * where a request takes long, all before the entry is one step. */
#include "repo/packlist.h"
#include "repo/run_merge.h"
#include "repo/writer_internal.h"

#include <errno.h>

struct sess_scan {
    char (*keys)[96];
    size_t n, cap;
};

static int sess_collect(void *ctx, const struct store_object *o, struct error *err) {
    struct sess_scan *s = ctx;
    if (strlen(o->key) >= 96) return 0;
    int rc = mem_grow((void **)&s->keys, &s->cap, s->n + 1, sizeof *s->keys, err);
    if (rc == 0) snprintf(s->keys[s->n++], 96, "%s", o->key);
    return rc;
}

static int gone_put(void *ctx, const struct digest *d, struct error *err) {
    return nameset_add(ctx, d->b, err);
}

/* What entries at or above `from` removed: packs, or objects of the index. */
static int gone_since(struct repo *r, uint64_t from, bool swept, struct nameset *ret, struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < r->state.delete_count && rc == 0; i++) {
        const struct delete_info *d = &r->state.deletes[i];
        if (d->seq >= from && (swept ? d->has_swept : d->has_packs))
            rc = packlist_each(r, swept ? &d->swept : &d->packs, gone_put, ret, err);
    }
    nameset_sort(ret);
    return rc;
}

static int is_gone(void *ctx, const struct digest *d, struct error *err) {
    (void)err;
    return nameset_find(ctx, d->b) != NAMESET_NONE;
}

/* Whether a run and all its packs are what no entry at or above `from` removed, and are there. */
static int run_survives(struct repo *r, uint64_t from, size_t at, bool *ret, struct error *err) {
    struct nameset packs = {0}, index = {0};
    struct run_view v = {0};
    int rc = gone_since(r, from, false, &packs, err);
    if (rc == 0) rc = gone_since(r, from, true, &index, err);
    if (rc == 0) rc = index_scan(&r->index, at, false, &v, err);
    *ret = rc == 0 && nameset_find(&index, r->index.names[at].b) == NAMESET_NONE;
    for (uint32_t p = 0; p < v.pack_count && *ret; p++) {
        const uint8_t *row = v.packs + (size_t)p * RUN_PACK_BYTES;
        char key[96];
        uint64_t size;
        struct error e = ERROR_INIT;
        pack_key(get_u64(row + DIGEST_BYTES) & RUN_PACK_META, (const struct digest *)row, key);
        *ret = nameset_find(&packs, row) == NAMESET_NONE && store_stat(r->store, key, &size, NULL, &e) == 0;
    }
    index_scan_end(&v);
    nameset_free(&packs);
    nameset_free(&index);
    return rc;
}

static int used_extend(struct writer *w, struct error *err) {
    while (w->used_count < w->repo->index.count) {
        void *mem;
        int rc = mem_grow((void **)&w->used, &w->used_cap, w->used_count + 1, sizeof *w->used, err);
        if (rc == 0) rc = mem_alloc(index_pack_count(&w->repo->index, w->used_count) + 1u, &mem, err);
        if (rc < 0) return rc;
        w->used[w->used_count++] = mem;
    }
    return 0;
}

/* A run whose packs all belong to this snapshot from now on. */
static int run_adopt(struct writer *w, const struct digest *run, struct error *err) {
    pthread_rwlock_wrlock(&w->index_lock);
    const size_t before = w->repo->index.count;
    int rc = index_add(w->repo, &w->repo->index, run, err);
    if (rc == 0) rc = used_extend(w, err);
    /* others go on looking things up until they see that this failed: what they find has to have its marks */
    if (rc < 0 && w->repo->index.count > before) index_drop(w->repo, &w->repo->index, before, true);
    for (size_t i = 0; i < w->repo->index.count && rc == 0; i++)
        if (digest_equal(&w->repo->index.names[i], run)) memset(w->used[i], 1, index_pack_count(&w->repo->index, i));
    pthread_rwlock_unlock(&w->index_lock);
    if (rc == -ERR_OBJECT_MISSING) {
        /* it was stored a moment ago; only a collection that knows no grace takes it so soon */
        error_clear(err);
        rc = error_set(err, ERR_REPO_COMMIT_LOST, "a collection removed the index of what this backup stored");
    }
    if (rc == 0) rc = mem_grow((void **)&w->own_runs, &w->run_cap, w->run_count + 1, sizeof *w->own_runs, err);
    if (rc == 0) w->own_runs[w->run_count++] = *run;
    return rc;
}

/* Whether this host left resume state of the surface behind: its memory goes with it, in a cache that was not lost
 * since. */
static bool run_left_behind(const struct writer *w) {
    char part[4200];
    struct stat st;
    if (!w->repo->cache_dir || !ledger_pinned_before(w->repo->ledger)) return true;
    memo_path(w->repo, w->environment, w->surface, "part", part);
    return seam_fstatat(AT_FDCWD, part, &st, 0) == 0 || errno != ENOENT;
}

/* An interrupted run of the same surface: its packs are durable and in sess/; take them over. Where requests cost, it
 * is not looked for what another host may have left. */
static int resume(struct writer *w, bool memory, struct error *err) {
    struct repo *r = w->repo;
    struct sess_scan scan = {0};
    struct buf b = BUF_INIT(JSON_MAX_BYTES);
    if (memory && store_reads_many(r->store) && !run_left_behind(w)) return 0;
    int rc = store_list(r->store, "sess/", sess_collect, &scan, err);
    for (size_t i = 0; i < scan.n && rc == 0; i++) {
        json_t *j = NULL;
        struct error e = ERROR_INIT;
        buf_clear(&b);
        /* Resume state is a help, never a need: what cannot be read is passed over. */
        if (store_read_all(r->store, scan.keys[i], b.max_bytes, &b, &e) < 0 ||
            json_parse(buf_bytes(&b), b.max_bytes, scan.keys[i], &j, &e) < 0)
            continue;
        const char *env = json_string_value(json_object_get(j, "environment")),
                   *surface = json_string_value(json_object_get(j, "surface"));
        const json_t *runs = json_object_get(j, "runs");
        uint64_t from = (uint64_t)json_integer_value(json_object_get(j, "log_size"));
        bool mine = env && surface && strcmp(env, w->environment) == 0 && strcmp(surface, w->surface) == 0;
        /* what was stored under keys that are no longer in force is stored anew */
        bool current = json_integer_value(json_object_get(j, "epoch")) == (json_int_t)w->session.epoch;
        for (size_t k = 0; mine && current && k < json_array_size(runs) && rc == 0; k++) {
            struct digest run;
            bool alive = json_get_digest(json_array_get(runs, k), &run);
            for (size_t m = 0; m < r->state.run_count; m++) alive = alive && !digest_equal(&run, &r->state.runs[m]);
            for (size_t m = 0; m < w->run_count; m++) alive = alive && !digest_equal(&run, &w->own_runs[m]);
            if (!alive || index_add(r, &r->index, &run, &e) < 0) continue;
            rc = run_survives(r, from, r->index.count - 1, &alive, err);
            if (rc == 0 && alive)
                rc = run_adopt(w, &run, err);
            else if (rc == 0)
                index_drop(r, &r->index, r->index.count - 1, false);
        }
        if (mine && rc == 0) {
            rc = mem_grow((void **)&w->sess_keys, &w->sess_cap, w->sess_count + 1, sizeof *w->sess_keys, err);
            if (rc == 0) memcpy(w->sess_keys[w->sess_count++], scan.keys[i], 96);
        }
        json_decref(j);
    }
    buf_free(&b);
    seam_free(scan.keys);
    return rc;
}

static int memory_open(struct writer *w, struct error *err) {
    struct repo *r = w->repo;
    char path[4200], part[4200];
    if (!r->cache_dir) return 0;
    memo_path(r, w->environment, w->surface, "prev", path);
    memo_path(r, w->environment, w->surface, "part", part);
    int rc = memo_open(r, part, NULL, &w->part, err);
    const struct snapshot_info *last = repo_latest(r, w->environment, w->surface);
    if (rc == 0 && last) {
        rc = memo_open(r, path, &last->entry, &w->prev, err);
        if (rc == 0 && !w->prev && r->keys->read_secret) {
            struct error e = ERROR_INIT; /* without it everything is read, which is right, only slower */
            if (memo_rebuild(r, last, path, &e) == 0) rc = memo_open(r, path, &last->entry, &w->prev, err);
        }
    }
    char next[4210];
    snprintf(next, sizeof next, "%s.next", part);
    struct error e = ERROR_INIT; /* nor is a memory for the next time a need */
    if (rc == 0 && memo_writer_open(next, NULL, &w->memo, &e) < 0) w->memo = NULL;
    return rc;
}

static int open_base(struct repo *r, const struct writer_options *o, bool bare, bool memory, struct writer **ret,
                     struct error *err) {
    int rc = repo_writable(r, err);
    if (rc < 0) return rc;
    void *mem;
    if ((rc = mem_alloc(sizeof(struct writer), &mem, err)) < 0) return rc;
    struct writer *w = mem;
    w->repo = r;
    w->group_max = r->data_pack_bytes / 4 < GROUP_PLAIN_MAX ? r->data_pack_bytes / 4 : GROUP_PLAIN_MAX;
    w->threads = o->threads ? o->threads : thread_cpus();
    w->group_long = GROUP_LONG_ALL / w->threads < GROUP_LONG_MAX ? GROUP_LONG_ALL / w->threads : GROUP_LONG_MAX;
    if (w->group_long > r->data_pack_bytes / 4) w->group_long = r->data_pack_bytes / 4;
    if (w->group_long < w->group_max || o->narrow) w->group_long = w->group_max;
    w->level = o->level ? o->level : 1;
    w->checkpoint_bytes = o->checkpoint_bytes;
    w->started_ns = time_monotonic_ns();
    w->checkpoint_ns = w->started_ns;
    snprintf(w->environment, sizeof w->environment, "%s", o->environment);
    snprintf(w->surface, sizeof w->surface, "%s", o->surface);
    pthread_rwlock_init(&w->index_lock, NULL);
    pthread_mutex_t *locks[] = {&w->set_lock,    &w->free_lock, &w->pack_lock, &w->done_lock,      &w->order_lock,
                                &w->former_lock, &w->memo_lock, &w->fail_lock, &w->checkpoint_lock};
    for (size_t i = 0; i < sizeof locks / sizeof *locks; i++) pthread_mutex_init(locks[i], NULL);
    for (int i = 0; i < STRIPES; i++) pthread_mutex_init(&w->stripes[i].lock, NULL);
    pthread_cond_init(&w->pack_cond, NULL);
    pthread_cond_init(&w->order_cond, NULL);
    w->manifest = BUF_INIT(32u << 20);
    w->last_name = BUF_INIT(1u << 20);
    w->known_name = BUF_INIT(1u << 20);
    w->first_name = BUF_INIT(1u << 20);
    w->root_chunks = BUF_INIT(1u << 30);
    if ((rc = mem_alloc(ORDER_WINDOW * sizeof *w->window, &mem, err)) < 0) goto fail;
    w->window = mem;
    /* A handle that was opened a moment ago has read the log; what came since is read before the commit anyway. */
    if (!bare && (rc = repo_sync_lately(r, err)) < 0) goto fail;
    r->fresh_ns = 0;
    w->opened_at = ledger_size(r->ledger);
    if ((rc = session_new(r, &w->session, err)) < 0) goto fail;
    if ((rc = pool_new(w->threads, 2 * w->threads, &w->pool, err)) < 0) goto fail;
    w->moving = bare;
    if (!bare && (rc = resume(w, memory, err)) < 0) goto fail;
    if ((rc = used_extend(w, err)) < 0) goto fail;
    w->delta = !o->no_delta && r->keys->read_secret && store_promises(r->store) & STORE_CHEAP_READ;
    if (w->delta && (rc = fetcher_new(r, &r->index, &w->index_lock, 16u << 20, &w->fetcher, err)) < 0) goto fail;
    if (memory && (rc = memory_open(w, err)) < 0) goto fail;
    *ret = w;
    return 0;
fail:
    writer_free(w);
    return error_wrap(err, "beginning a backup");
}

int writer_open_bare(struct repo *r, const struct writer_options *o, struct writer **ret, struct error *err) {
    return open_base(r, o, true, false, ret, err);
}

int writer_open(struct repo *r, const struct writer_options *o, struct writer **ret, struct error *err) {
    if (r->keys->role != ROLE_ADMIN && r->keys->role != ROLE_WRITER)
        return error_set(err, ERR_KEY_ROLE, "a backup needs a writer or admin key, and this one is a %s key",
                         key_role_name(r->keys->role));
    return open_base(r, o, false, true, ret, err);
}

int writer_open_copy(struct repo *r, const struct writer_options *o, struct writer **ret, struct error *err) {
    return open_base(r, o, false, false, ret, err);
}

int run_flush(struct writer *w, struct error *err) {
    pthread_mutex_lock(&w->done_lock);
    struct run_entry *entries = w->entries;
    uint8_t *packs = w->packs;
    size_t n = w->entry_count;
    uint32_t pack_count = w->pack_count;
    w->entries = NULL;
    w->packs = NULL;
    w->entry_count = w->entry_cap = w->pack_cap = 0;
    w->pack_count = 0;
    pthread_mutex_unlock(&w->done_lock);
    int rc = 0;
    struct digest run;
    if (n) rc = run_write(w->repo, entries, n, packs, pack_count, &run, err);
    /* it is loaded from the store, or from memory: then its caller's barrier does for both */
    if (n && rc == 0 && !store_reads_many(w->repo->store)) rc = store_commit(w->repo->store, err);
    if (n && rc == 0) rc = run_adopt(w, &run, err);
    if (n && rc == 0) {
        /* what is in a run need not be held in memory as well */
        pthread_mutex_lock(&w->set_lock);
        if (w->set.used > ENTRIES_MAX) {
            struct idset left = {0};
            struct location l;
            for (size_t i = 0; i < w->set.slots && rc == 0; i++)
                if (!index_find(&w->repo->index, w->set.ids[i], &l)) rc = idset_add(&left, w->set.ids[i], err);
            idset_free(&w->set);
            w->set = left;
        }
        pthread_mutex_unlock(&w->set_lock);
    }
    seam_free(entries);
    seam_free(packs);
    return rc;
}

bool writer_checkpoint_due(const struct writer *w) {
    if (w->run_due || !w->since_checkpoint) return w->run_due;
    if (w->checkpoint_bytes) return w->since_checkpoint >= w->checkpoint_bytes;
    /* By time, and seldomer the longer it runs: each leaves an index run and names all before it. */
    int64_t now = time_monotonic_ns(), apart = (now - w->started_ns) / 16;
    if (apart < CHECKPOINT_MIN_NS) apart = CHECKPOINT_MIN_NS;
    if (apart > CHECKPOINT_MAX_NS) apart = CHECKPOINT_MAX_NS;
    return now - w->checkpoint_ns >= apart;
}

int writer_checkpoint(struct writer *w, struct error *err) {
    if (pthread_mutex_trylock(&w->checkpoint_lock) != 0) return 0; /* another thread is at it */
    w->checkpoint_ns = time_monotonic_ns();
    w->since_checkpoint = 0;
    w->run_due = false;
    int rc = writer_alive(w, err);
    if (rc == 0) rc = packs_close(w, err);
    if (rc == 0) rc = store_commit(w->repo->store, err);
    if (rc == 0) rc = run_flush(w, err);
    if (rc == 0 && store_reads_many(w->repo->store)) rc = store_commit(w->repo->store, err);
    if (rc == 0 && w->run_count) {
        json_t *j = json_pack("{s:i, s:s, s:s, s:I, s:i, s:[]}", "version", 1, "environment", w->environment, "surface",
                              w->surface, "log_size", (json_int_t)w->opened_at, "epoch", (int)w->repo->epoch, "runs");
        struct buf b = BUF_INIT(JSON_MAX_BYTES);
        char key[96], hex[33];
        uint8_t id[16];
        if (!j) rc = error_set(err, ERR_NO_MEMORY, "no memory for a resume state");
        for (size_t i = 0; i < w->run_count && rc == 0; i++)
            rc = json_push(json_object_get(j, "runs"), json_digest(&w->own_runs[i]), err);
        if (rc == 0) rc = json_write(j, &b, err);
        if (rc == 0) rc = random_bytes(id, sizeof id, err);
        hex_encode(id, sizeof id, hex);
        snprintf(key, sizeof key, "sess/%s", hex);
        if (rc == 0) rc = store_create(w->repo->store, key, buf_bytes(&b), err);
        if (rc == 0) rc = mem_grow((void **)&w->sess_keys, &w->sess_cap, w->sess_count + 1, sizeof *w->sess_keys, err);
        if (rc == 0) memcpy(w->sess_keys[w->sess_count++], key, 96);
        json_decref(j);
        buf_free(&b);
    }
    if (rc == 0 && w->repo->cache_dir) {
        /* The unfinished memory replaces the older unfinished one: it covers at least as much. */
        char part[4200];
        struct error e = ERROR_INIT;
        memo_path(w->repo, w->environment, w->surface, "part", part);
        pthread_mutex_lock(&w->memo_lock);
        if (w->memo) (void)!memo_rename(w->memo, part, &e);
        pthread_mutex_unlock(&w->memo_lock);
    }
    pthread_mutex_unlock(&w->checkpoint_lock);
    return rc < 0 ? writer_fail(w, err) : 0;
}

int packs_barrier(struct repo *r, struct error *err) {
    return store_reads_many(r->store) ? 0 : store_commit(r->store, err);
}

static int used_each(void *ctx, name_cb cb, void *cb_ctx, struct error *err) {
    const struct writer *w = ctx;
    const struct index *x = &w->repo->index;
    int rc = 0;
    for (size_t i = 0; i < x->count && rc == 0; i++) {
        struct run_view v;
        if (!memchr(w->used[i], 1, index_pack_count(x, i))) continue;
        if ((rc = index_scan(x, i, false, &v, err)) < 0) break;
        for (uint32_t p = 0; p < v.pack_count && rc == 0; p++)
            if (w->used[i][p]) rc = cb(cb_ctx, (const struct digest *)(v.packs + (size_t)p * RUN_PACK_BYTES), err);
        index_scan_end(&v);
    }
    return rc;
}

static int list_write(struct writer *w, struct error *err) {
    const struct snapshot_info *last = repo_latest(w->repo, w->environment, w->surface);
    return packlist_make(w->repo, used_each, w, last ? &last->packs : NULL, &w->packlist, &w->packlist_bytes,
                         &w->list_parts, err);
}

/* What both ways to finish end with; rc is what came of them so far. */
static int finish(struct writer *w, int rc, struct error *err) {
    pool_drain(w->pool);
    if (rc == 0) rc = writer_alive(w, err);
    if (rc == 0) rc = packs_close(w, err);
    if (rc == 0) rc = packs_barrier(w->repo, err);
    if (rc == 0) ledger_expect_append(w->repo->ledger);
    if (rc == 0) rc = run_flush(w, err);
    if (rc == 0) rc = list_write(w, err);
    if (rc == 0) rc = store_commit(w->repo->store, err);
    if (rc == 0) rc = runs_merge(w->repo, &w->merged_runs, &w->removed_runs, err);
    if (rc < 0) {
        w->repo->latched |= rc == -ERR_IO_SYNC;
        writer_fail(w, err);
        return error_wrap(err, "finishing the backup");
    }
    w->finished = true;
    return 0;
}

int writer_finish(struct writer *w, const json_t *root, struct error *err) {
    struct buf json = BUF_INIT(16u << 20), doc = BUF_INIT(1u << 30);
    int rc = groups_flush(w, err);
    if (rc == 0) {
        pool_drain(w->pool);
        pthread_mutex_lock(&w->order_lock);
        rc = order_finish(w, err);
        pthread_mutex_unlock(&w->order_lock);
    }
    if (rc == 0) rc = json_write(root, &json, err);
    if (rc == 0) rc = buf_append(&doc, "PKROOT01", 8, err);
    if (rc == 0) rc = buf_append_u32(&doc, (uint32_t)json.len, err);
    if (rc == 0) rc = buf_append(&doc, json.ptr, json.len, err);
    if (rc == 0) rc = buf_append_u64(&doc, w->items, err);
    if (rc == 0) rc = buf_append_u64(&doc, w->bytes, err);
    if (rc == 0) rc = buf_append_u32(&doc, w->root_count, err);
    if (rc == 0) rc = buf_append(&doc, w->root_chunks.ptr, w->root_chunks.len, err);
    size_t cap = 0;
    for (size_t at = 0; at < doc.len && rc == 0; at += ROOT_PIECE_MAX) {
        size_t n = doc.len - at < ROOT_PIECE_MAX ? doc.len - at : ROOT_PIECE_MAX;
        if ((rc = mem_grow((void **)&w->root_ids, &cap, w->root_id_count + 1, sizeof *w->root_ids, err)) < 0) break;
        rc = meta_put(w, CHUNK_ROOT, BYTES_OF(doc.ptr + at, n), &w->root_ids[w->root_id_count++], err);
    }
    buf_free(&json);
    buf_free(&doc);
    return finish(w, rc, err);
}

int writer_finish_copy(struct writer *w, const struct snapshot_info *source, const struct digest *kept,
                       struct error *err) {
    void *mem;
    int rc = mem_alloc(source->root_count * sizeof *w->root_ids, &mem, err);
    if (rc == 0) {
        w->root_ids = mem;
        w->root_id_count = source->root_count;
        memcpy(w->root_ids, source->root, source->root_count * sizeof *w->root_ids);
        w->items = source->items;
        w->bytes = source->bytes;
        w->kept = *kept;
        w->has_kept = true;
        rc = groups_flush(w, err);
    }
    return finish(w, rc, err);
}

void writer_artifact(const struct writer *w, struct digest *ret_digest, uint64_t *ret_bytes, char uri[128]) {
    char hex[65];
    hex_encode(w->packlist.b, DIGEST_BYTES, hex);
    snprintf(uri, 128, "proofkeep:%s/index/%s", w->repo->id_hex, hex);
    *ret_digest = w->packlist;
    *ret_bytes = w->packlist_bytes;
}

static bool deleted_since(const struct writer *w) {
    const struct state *s = &w->repo->state;
    return s->delete_count && s->deletes[s->delete_count - 1].seq >= w->opened_at;
}

static bool digest_among(const struct digest *d, size_t n, const struct digest *one) {
    for (size_t i = 0; i < n; i++)
        if (digest_equal(&d[i], one)) return true;
    return false;
}

int writer_describe(struct writer *w, json_t **ret, struct error *err) {
    json_t *root = json_array(), *runs = json_array(), *removed = json_array();
    char session[33];
    int rc = root && runs && removed ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a receipt");
    const struct digests none = {0}, *gone = deleted_since(w) ? &none : &w->removed_runs;
    for (size_t i = 0; i < w->root_id_count && rc == 0; i++) rc = json_push(root, json_digest(&w->root_ids[i]), err);
    for (size_t i = 0; i < w->merged_runs.n && rc == 0 && gone->n; i++)
        rc = json_push(runs, json_digest(&w->merged_runs.d[i]), err);
    for (size_t i = 0; i < gone->n && rc == 0; i++)
        if (!digest_among(w->own_runs, w->run_count, &gone->d[i]))
            rc = json_push(removed, json_digest(&gone->d[i]), err);
    for (size_t i = 0; i < w->run_count && rc == 0; i++) /* but for a run of ours that a merged one took in */
        if (!digest_among(gone->d, gone->n, &w->own_runs[i])) rc = json_push(runs, json_digest(&w->own_runs[i]), err);
    hex_encode(w->session.id, 16, session);
    if (rc == 0) {
        *ret = json_pack("{s:i, s:s, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:s}", "version", 1, "surface", w->surface,
                         "root", root, "packs", json_digest(&w->packlist), "index", runs, "index_removed", removed,
                         "items", (json_int_t)w->items, "bytes", (json_int_t)w->bytes, "stored_bytes",
                         (json_int_t)w->stored_bytes, "session", session);
        return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a receipt");
    }
    json_decref(root);
    json_decref(runs);
    json_decref(removed);
    return rc;
}

struct commit {
    struct writer *w;
    ledger_build build;
    void *ctx;
};

/* repo.h, invariant 4: built after every entry below n was judged; refuses when one of them deleted a pack of ours. */
static int commit_build(void *ctx, uint64_t seq, json_t **ret, struct error *err) {
    struct commit *c = ctx;
    struct writer *w = c->w;
    struct nameset packs = {0}, index = {0};
    bool alive = true;
    if (w->repo->state.epoch_count != w->session.epoch) {
        error_set(err, ERR_REPO_COMMIT_LOST, "an epoch of ids began while this backup ran: it would have the old ids");
        return error_state(err, "no snapshot was made; earlier ones are untouched");
    }
    int rc = gone_since(w->repo, w->opened_at, false, &packs, err);
    if (rc == 0) rc = gone_since(w->repo, w->opened_at, true, &index, err);
    if (rc == 0 && packs.count) rc = used_each(w, is_gone, &packs, err);
    alive = rc == 0 && nameset_find(&index, w->packlist.b) == NAMESET_NONE;
    /* beside its own runs stand the merged ones, which are not used once a collection came in between */
    for (size_t i = 0; i < w->run_count && alive; i++) alive = nameset_find(&index, w->own_runs[i].b) == NAMESET_NONE;
    for (size_t i = 0; i < w->list_parts.n && alive; i++)
        alive = nameset_find(&index, w->list_parts.d[i].b) == NAMESET_NONE;
    if (w->has_kept && alive) alive = nameset_find(&index, w->kept.b) == NAMESET_NONE;
    nameset_free(&packs);
    nameset_free(&index);
    if (rc < 0) return rc;
    if (!alive) {
        rc = error_set(err, ERR_REPO_COMMIT_LOST, "a collection removed packs that this backup relied on");
        return error_state(err, "no snapshot was made; earlier ones are untouched");
    }
    return c->build(c->ctx, seq, ret, err);
}

int writer_commit(struct writer *w, ledger_build build, void *ctx, uint64_t *ret_seq, struct digest *ret,
                  struct error *err) {
    int rc = writer_alive(w, err);
    if (rc < 0) return rc;
    if (!w->finished) return error_set(err, ERR_INTERNAL, "a backup was to be committed before it was finished");
    struct commit c = {w, build, ctx};
    struct digest entry;
    rc = ledger_append(w->repo->ledger, secret_bytes(w->repo->keys->sign_seed), commit_build, &c, ret_seq, &entry, err);
    if (rc < 0) return rc;
    if (ret) *ret = entry;
    /* From here on the snapshot exists; what follows only saves time later. */
    if (w->memo) {
        char path[4200], part[4200];
        struct error e = ERROR_INIT;
        memo_path(w->repo, w->environment, w->surface, "prev", path);
        memo_path(w->repo, w->environment, w->surface, "part", part);
        (void)!memo_finish(w->memo, path, &entry, &e);
        (void)!seam_unlinkat(AT_FDCWD, part, 0);
    }
    for (size_t i = 0; i < w->sess_count; i++) {
        struct error e = ERROR_INIT;
        if (w->repo->keys->role != ROLE_WRITER) (void)!store_remove(w->repo->store, w->sess_keys[i], &e);
    }
    struct error e = ERROR_INIT; /* whoever reads or writes next syncs again, and is told */
    (void)!repo_follow(w->repo, &e);
    return 0;
}

void writer_stats_get(const struct writer *w, struct writer_stats *ret) {
    *ret = (struct writer_stats){.items = w->items,
                                 .bytes = w->bytes,
                                 .new_chunks = w->new_chunks,
                                 .new_bytes = w->new_bytes,
                                 .dup_bytes = w->dup_bytes,
                                 .kept_bytes = w->kept_bytes,
                                 .delta_chunks = w->delta_chunks,
                                 .delta_bytes = w->delta_bytes,
                                 .delta_stored = w->delta_stored,
                                 .stored_bytes = w->stored_bytes,
                                 .packs = w->pack_total};
}

void writer_free(struct writer *w) {
    if (!w) return;
    pool_free(w->pool);
    groups_free(w);
    for (size_t i = 0; w->window && i < ORDER_WINDOW; i++)
        if (w->window[i].done) {
            buf_free(&w->window[i].name);
            buf_free(&w->window[i].body);
        }
    for (size_t i = 0; i < sizeof w->formers / sizeof *w->formers; i++) former_free(w->formers[i]);
    for (size_t i = 0; i < w->used_count; i++) seam_free(w->used[i]);
    void *owned[] = {w->window,    w->used,     w->entries,      w->packs,         w->own_packs,     w->own_runs,
                     w->sess_keys, w->root_ids, w->list_parts.d, w->merged_runs.d, w->removed_runs.d};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) seam_free(owned[i]);
    struct buf *bufs[] = {&w->manifest, &w->last_name, &w->first_name, &w->root_chunks, &w->known_name};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++) buf_free(bufs[i]);
    gather_free(w->gather);
    memo_free(w->prev);
    memo_free(w->part);
    memo_writer_free(w->memo);
    fetcher_free(w->fetcher);
    idset_free(&w->set);
    session_clear(&w->session);
    seam_free(w);
}
