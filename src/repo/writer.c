/* A writer from opening to commit. Durable steps, in order: packs, index runs, pack list (one barrier), log entry. */
#include "repo/writer_internal.h"

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

/* *alive becomes false when one of these objects is on the list. */
static int list_spares(struct repo *r, const struct digest *list, const struct digest *d, size_t n, bool *alive,
                       struct error *err) {
    struct digest *gone;
    size_t gone_n;
    int rc = packlist_read(r, list, &gone, &gone_n, err);
    if (rc < 0) return rc;
    for (size_t j = 0; j < n && *alive; j++) *alive = !digest_in(gone, gone_n, &d[j]);
    seam_free(gone);
    return 0;
}

/* True when none of these packs and index objects was removed by an entry at or above `from`. */
static int objects_survive(struct repo *r, uint64_t from, const struct digest *packs, size_t n,
                           const struct digest *index, size_t index_n, bool *ret, struct error *err) {
    int rc = 0;
    *ret = true;
    for (size_t i = 0; i < r->state.delete_count && *ret && rc == 0; i++) {
        const struct delete_info *d = &r->state.deletes[i];
        if (d->seq < from) continue;
        if (d->has_packs) rc = list_spares(r, &d->packs, packs, n, ret, err);
        if (rc == 0 && *ret && d->has_swept) rc = list_spares(r, &d->swept, index, index_n, ret, err);
    }
    return rc;
}

static int used_extend(struct writer *w, struct error *err) {
    while (w->used_count < w->repo->index.count) {
        void *mem;
        int rc = mem_grow((void **)&w->used, &w->used_cap, w->used_count + 1, sizeof *w->used, err);
        if (rc == 0) rc = mem_alloc(index_run(&w->repo->index, w->used_count).pack_count + 1u, &mem, err);
        if (rc < 0) return rc;
        w->used[w->used_count++] = mem;
    }
    return 0;
}

/* A run whose packs all belong to this snapshot from now on. */
static int run_adopt(struct writer *w, const struct digest *run, struct error *err) {
    pthread_rwlock_wrlock(&w->index_lock);
    int rc = index_add(w->repo, &w->repo->index, run, err);
    if (rc == 0) rc = used_extend(w, err);
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

/* An interrupted run of the same surface: its packs are durable and in sess/; take them over. */
static int resume(struct writer *w, struct error *err) {
    struct repo *r = w->repo;
    struct sess_scan scan = {0};
    struct buf b = BUF_INIT(JSON_MAX_BYTES);
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
            struct digest run, *names = NULL;
            bool alive = json_get_digest(json_array_get(runs, k), &run);
            for (size_t m = 0; m < r->state.run_count; m++) alive = alive && !digest_equal(&run, &r->state.runs[m]);
            for (size_t m = 0; m < w->run_count; m++) alive = alive && !digest_equal(&run, &w->own_runs[m]);
            if (!alive || index_add(r, &r->index, &run, &e) < 0) continue;
            struct run_view v = index_run(&r->index, r->index.count - 1);
            void *mem;
            if ((rc = mem_alloc((size_t)v.pack_count * sizeof *names + 1, &mem, err)) < 0) break;
            names = mem;
            for (uint32_t p = 0; p < v.pack_count; p++)
                memcpy(names[p].b, v.packs + (size_t)p * RUN_PACK_BYTES, DIGEST_BYTES);
            size_t n = digest_sort_unique(names, v.pack_count);
            for (size_t p = 0; p < n && alive; p++) {
                char key[96];
                uint64_t size;
                struct location l = {.run = r->index.count - 1};
                for (uint32_t q = 0; q < v.pack_count; q++)
                    if (memcmp(v.packs + (size_t)q * RUN_PACK_BYTES, names[p].b, DIGEST_BYTES) == 0) l.pack = q;
                bool meta;
                struct digest d;
                index_pack(&r->index, &l, &d, NULL, &meta);
                pack_key(meta, &names[p], key);
                alive = store_stat(r->store, key, &size, NULL, &e) == 0;
            }
            if (alive) rc = objects_survive(r, from, names, n, &run, 1, &alive, err);
            if (rc == 0 && alive) {
                if ((rc = mem_grow((void **)&w->own_packs, &w->own_cap, w->own_count + n, sizeof *w->own_packs, err)) ==
                    0) {
                    memcpy(w->own_packs + w->own_count, names, n * sizeof *names);
                    w->own_count += n;
                    rc = run_adopt(w, &run, err);
                }
            } else if (rc == 0)
                index_drop(r, &r->index, r->index.count - 1, false);
            seam_free(names);
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

static int open_base(struct repo *r, const struct writer_options *o, bool bare, struct writer **ret,
                     struct error *err) {
    int rc = repo_writable(r, err);
    if (rc < 0) return rc;
    void *mem;
    if ((rc = mem_alloc(sizeof(struct writer), &mem, err)) < 0) return rc;
    struct writer *w = mem;
    w->repo = r;
    w->group_max = r->data_pack_bytes / 4 < GROUP_PLAIN_MAX ? r->data_pack_bytes / 4 : GROUP_PLAIN_MAX;
    w->threads = o->threads ? o->threads : thread_cpus();
    w->level = o->level ? o->level : 1;
    w->checkpoint_bytes = o->checkpoint_bytes;
    w->started_ns = w->checkpoint_ns = time_monotonic_ns();
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
    w->first_name = BUF_INIT(1u << 20);
    w->root_chunks = BUF_INIT(1u << 30);
    if ((rc = mem_alloc(ORDER_WINDOW * sizeof *w->window, &mem, err)) < 0) goto fail;
    w->window = mem;
    if (!bare && (rc = repo_sync(r, err)) < 0) goto fail;
    w->opened_at = ledger_size(r->ledger);
    if ((rc = session_new(r, &w->session, err)) < 0) goto fail;
    if ((rc = pool_new(w->threads, 2 * w->threads, &w->pool, err)) < 0) goto fail;
    w->moving = bare;
    if (!bare && (rc = resume(w, err)) < 0) goto fail;
    if ((rc = used_extend(w, err)) < 0) goto fail;
    w->delta = !o->no_delta && r->keys->read_secret && store_promises(r->store) & STORE_CHEAP_READ;
    if (w->delta && (rc = fetcher_new(r, &r->index, &w->index_lock, 16u << 20, &w->fetcher, err)) < 0) goto fail;
    if (!bare && (rc = memory_open(w, err)) < 0) goto fail;
    *ret = w;
    return 0;
fail:
    writer_free(w);
    return error_wrap(err, "beginning a backup");
}

int writer_open_bare(struct repo *r, const struct writer_options *o, struct writer **ret, struct error *err) {
    return open_base(r, o, true, ret, err);
}

int writer_open(struct repo *r, const struct writer_options *o, struct writer **ret, struct error *err) {
    if (r->keys->role != ROLE_ADMIN && r->keys->role != ROLE_WRITER)
        return error_set(err, ERR_KEY_ROLE, "a backup needs a writer or admin key, and this one is a %s key",
                         key_role_name(r->keys->role));
    return open_base(r, o, false, ret, err);
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
    if (n && rc == 0) rc = store_commit(w->repo->store, err);
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
    if (rc == 0 && w->run_count) {
        json_t *j = json_pack("{s:i, s:s, s:s, s:I, s:i, s:[]}", "version", 1, "environment", w->environment, "surface",
                              w->surface, "log_size", (json_int_t)w->opened_at, "epoch", (int)w->session.epoch, "runs");
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

static int row_order(const void *a, const void *b) {
    const uint8_t *const *x = a, *const *y = b;
    return memcmp(*x, *y, DIGEST_BYTES);
}

/* Two runs may speak of the same pack (writers that merged at once made both). Give it one place, so that what they say
 * of it twice is seen to be the same; else entries would double with every such merge. */
static int rows_unify(uint8_t *packs, size_t *count, struct run_entry *entries, size_t n, struct error *err) {
    void *mem;
    int rc = mem_alloc(*count * (sizeof(uint8_t *) + sizeof(uint32_t) + RUN_PACK_BYTES) + 1, &mem, err);
    if (rc < 0) return rc;
    const uint8_t **sorted = mem;
    uint32_t *place = (uint32_t *)(sorted + *count);
    uint8_t *rows = (uint8_t *)(place + *count);
    size_t kept = 0;
    for (size_t i = 0; i < *count; i++) sorted[i] = packs + i * RUN_PACK_BYTES;
    qsort(sorted, *count, sizeof *sorted, row_order);
    for (size_t i = 0; i < *count; i++) {
        if (i == 0 || row_order(&sorted[i - 1], &sorted[i]) != 0)
            memcpy(rows + kept++ * RUN_PACK_BYTES, sorted[i], RUN_PACK_BYTES);
        place[(size_t)(sorted[i] - packs) / RUN_PACK_BYTES] = (uint32_t)kept - 1;
    }
    for (size_t i = 0; i < n; i++) entries[i].pack = place[entries[i].pack];
    memcpy(packs, rows, kept * RUN_PACK_BYTES);
    *count = kept;
    seam_free(mem);
    return 0;
}

/* Small runs are merged when many have gathered, so that a look-up asks few. The merged run lists packs of other
 * snapshots; that is why it is dropped again when a collection came in between (see commit_build). */
static int runs_merge(struct writer *w, struct error *err) {
    struct index *x = &w->repo->index;
    size_t small = 0;
    uint64_t total = 0;
    for (size_t i = 0; i < x->count; i++)
        if (index_run(x, i).entry_count < RUN_ENTRIES_MAX / 8) {
            small++;
            total += index_run(x, i).entry_count;
        }
    if (small < 12 || total > RUN_ENTRIES_MAX) return 0;
    struct run_entry *entries = NULL;
    uint8_t *packs = NULL;
    size_t n = 0, pack_count = 0, cap = 0, pack_cap = 0;
    struct digest merged;
    void *mem;
    int rc = mem_alloc(small * sizeof *w->removed_runs, &mem, err);
    if (rc < 0) return rc;
    w->removed_runs = mem;
    for (size_t i = 0; i < x->count && rc == 0; i++) {
        struct run_view v = index_run(x, i);
        if (v.entry_count >= RUN_ENTRIES_MAX / 8) continue;
        if ((rc = mem_grow((void **)&entries, &cap, n + v.entry_count, sizeof *entries, err)) < 0) break;
        if ((rc = mem_grow((void **)&packs, &pack_cap, pack_count + v.pack_count, RUN_PACK_BYTES, err)) < 0) break;
        memcpy(packs + pack_count * RUN_PACK_BYTES, v.packs, (size_t)v.pack_count * RUN_PACK_BYTES);
        for (uint64_t k = 0; k < v.entry_count; k++) {
            const uint8_t *e = v.entries + k * RUN_ENTRY_BYTES;
            uint32_t flags = get_u32(e + 28);
            if (get_u32(e + 16) >= v.pack_count || (flags & ENTRY_DELTA && k + 1 == v.entry_count))
                continue; /* a lie */
            struct run_entry *o = &entries[n++];
            memcpy(o->id, e, ID_PREFIX_BYTES);
            o->pack = get_u32(e + 16) + (uint32_t)pack_count;
            o->frame = get_u32(e + 20);
            o->plain_len = get_u32(e + 24);
            o->flags = flags;
            if (o->flags & ENTRY_DELTA) memcpy(o->base, v.entries + ++k * RUN_ENTRY_BYTES + 16, ID_PREFIX_BYTES);
        }
        pack_count += v.pack_count;
        w->removed_runs[w->removed_count++] = x->names[i];
    }
    if (rc == 0) rc = rows_unify(packs, &pack_count, entries, n, err);
    if (rc == 0) rc = run_write(w->repo, entries, n, packs, (uint32_t)pack_count, &merged, err);
    if (rc == 0) rc = store_commit(w->repo->store, err);
    if (rc == 0) {
        rc = mem_grow((void **)&w->own_runs, &w->run_cap, w->run_count + 1, sizeof *w->own_runs, err);
        if (rc == 0) w->own_runs[w->run_count] = merged; /* one beyond the count: commit_build decides */
    }
    seam_free(entries);
    seam_free(packs);
    return rc;
}

static int live_packs(struct writer *w, struct error *err) {
    size_t cap = 0, n = 0;
    struct index *x = &w->repo->index;
    for (size_t i = 0; i < x->count; i++) {
        struct run_view v = index_run(x, i);
        int rc = mem_grow((void **)&w->live_packs, &cap, n + v.pack_count, sizeof *w->live_packs, err);
        if (rc < 0) return rc;
        for (uint32_t p = 0; p < v.pack_count; p++)
            if (w->used[i][p]) memcpy(w->live_packs[n++].b, v.packs + (size_t)p * RUN_PACK_BYTES, DIGEST_BYTES);
    }
    int rc = mem_grow((void **)&w->live_packs, &cap, n + w->own_count + 1, sizeof *w->live_packs, err);
    if (rc < 0) return rc;
    if (w->own_count) memcpy(w->live_packs + n, w->own_packs, w->own_count * sizeof *w->live_packs);
    w->live_count = digest_sort_unique(w->live_packs, n + w->own_count);
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
    pool_drain(w->pool);
    if (rc == 0) rc = writer_alive(w, err);
    if (rc == 0) rc = packs_close(w, err);
    if (rc == 0) rc = store_commit(w->repo->store, err);
    if (rc == 0) rc = run_flush(w, err);
    if (rc == 0) rc = live_packs(w, err);
    if (rc == 0) rc = packlist_write(w->repo, w->live_packs, w->live_count, &w->packlist, &w->packlist_bytes, err);
    if (rc == 0) rc = store_commit(w->repo->store, err);
    if (rc == 0) rc = runs_merge(w, err);
    if (rc < 0) {
        w->repo->latched |= rc == -ERR_IO_SYNC;
        writer_fail(w, err);
        return error_wrap(err, "finishing the backup");
    }
    w->finished = true;
    return 0;
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

int writer_describe(struct writer *w, json_t **ret, struct error *err) {
    json_t *root = json_array(), *runs = json_array(), *removed = json_array();
    char session[33];
    int rc = root && runs && removed ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a receipt");
    bool merged = w->removed_count && !deleted_since(w);
    for (size_t i = 0; i < w->root_id_count && rc == 0; i++) rc = json_push(root, json_digest(&w->root_ids[i]), err);
    if (merged) {
        rc = json_push(runs, json_digest(&w->own_runs[w->run_count]), err);
        for (size_t i = 0; i < w->removed_count && rc == 0; i++)
            rc = json_push(removed, json_digest(&w->removed_runs[i]), err);
    }
    for (size_t i = 0; i < w->run_count && rc == 0; i++) {
        bool inside = false; /* a run of ours that the merged one took in */
        for (size_t k = 0; merged && k < w->removed_count; k++)
            inside |= digest_equal(&w->own_runs[i], &w->removed_runs[k]);
        if (!inside) rc = json_push(runs, json_digest(&w->own_runs[i]), err);
    }
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
    bool alive, list_alive = true;
    if (w->repo->state.epoch_count != w->session.epoch) {
        error_set(err, ERR_REPO_COMMIT_LOST, "an epoch of ids began while this backup ran: it would have the old ids");
        return error_state(err, "no snapshot was made; earlier ones are untouched");
    }
    /* beside its own runs stands the merged one, which is not used once a collection came in between */
    int rc =
        objects_survive(w->repo, w->opened_at, w->live_packs, w->live_count, w->own_runs, w->run_count, &alive, err);
    if (rc == 0 && alive) rc = objects_survive(w->repo, w->opened_at, NULL, 0, &w->packlist, 1, &list_alive, err);
    if (rc < 0) return rc;
    alive &= list_alive;
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
    (void)!repo_sync(w->repo, &e);
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
    void *owned[] = {w->window,   w->used,      w->entries,  w->packs,      w->own_packs,
                     w->own_runs, w->sess_keys, w->root_ids, w->live_packs, w->removed_runs};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) seam_free(owned[i]);
    struct buf *bufs[] = {&w->manifest, &w->last_name, &w->first_name, &w->root_chunks};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++) buf_free(bufs[i]);
    memo_free(w->prev);
    memo_free(w->part);
    memo_writer_free(w->memo);
    fetcher_free(w->fetcher);
    idset_free(&w->set);
    session_clear(&w->session);
    seam_free(w);
}
