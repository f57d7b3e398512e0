/* Collection without locks. Marks from every live snapshot below n, appends DELETE at exactly n, and only then removes
 * objects (design: the log is the sole commit). A writer that still relied on one of them finds the entry and mends. */
#include "repo/maintain_internal.h"
#include "repo/run.h"

#define MARKINGS_MAX 16 /* of one collection, before it leaves the log to those who keep committing */

struct build_at {
    struct repo *r;
    uint64_t at;
    json_t *statement;
};

static int build_at(void *ctx, uint64_t seq, json_t **ret, struct error *err) {
    struct build_at *b = ctx;
    if (seq != b->at) return error_set(err, ERR_REPO_COMMIT_LOST, "the log moved on while a collection was marking");
    *ret = json_deep_copy(b->statement);
    return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a log entry");
}

static int put_digests(json_t *o, const char *key, const struct digests *d, struct error *err) {
    json_t *a = json_array();
    int rc = json_put(o, key, a, err);
    for (size_t i = 0; i < d->n && rc == 0; i++) rc = json_push(a, json_digest(&d->d[i]), err);
    return rc;
}

int statement_append_at(struct repo *r, uint64_t at, json_t *statement, struct error *err) {
    struct build_at b = {r, at, statement};
    return ledger_append(r->ledger, secret_bytes(r->keys->sign_seed), build_at, &b, NULL, NULL, err);
}

int delete_append(struct repo *r, uint64_t at, const struct digests *packs, const struct digests *replaced_by,
                  const struct digests *runs_added, const struct digests *runs_removed, const struct digests *swept,
                  uint64_t bytes, struct error *err) {
    struct digest list, instead, index;
    json_t *p = json_object(), *s = NULL;
    int rc = repo_writable(r, err);
    if (rc == 0) rc = packlist_write(r, packs->d, packs->n, &list, NULL, err);
    if (rc == 0 && replaced_by) rc = packlist_write(r, replaced_by->d, replaced_by->n, &instead, NULL, err);
    if (rc == 0 && swept->n) rc = packlist_write(r, swept->d, swept->n, &index, NULL, err);
    if (rc == 0) rc = store_commit(r->store, err);
    if (rc == 0) rc = json_put(p, "packs", json_digest(&list), err);
    if (rc == 0 && replaced_by) rc = json_put(p, "replaced_by", json_digest(&instead), err);
    if (rc == 0 && swept->n) rc = json_put(p, "swept", json_digest(&index), err);
    if (rc == 0) rc = json_put_int(p, "count", (int64_t)packs->n, err);
    if (rc == 0) rc = json_put_int(p, "bytes", (int64_t)bytes, err);
    if (rc == 0) rc = put_digests(p, "index_added", runs_added, err);
    if (rc == 0) rc = put_digests(p, "index_removed", runs_removed, err);
    if (rc == 0) {
        rc = statement_make(PREDICATE_DELETE, "packs", &list, p, &s, err);
        p = NULL;
    }
    if (rc == 0) rc = statement_append_at(r, at, s, err);
    json_decref(s);
    json_decref(p);
    return rc;
}

int runs_without(struct repo *r, const struct digests *gone, struct digests *added, struct digests *removed,
                 struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < r->index.count && rc == 0; i++) {
        struct run_view v = index_run(&r->index, i);
        void *mem;
        if ((rc = mem_alloc((size_t)v.pack_count * sizeof(uint32_t) + 1, &mem, err)) < 0) break;
        uint32_t *renumber = mem, kept = 0;
        uint8_t *packs = NULL;
        struct run_entry *entries = NULL;
        size_t pack_cap = 0, n = 0, cap = 0;
        for (uint32_t p = 0; p < v.pack_count && rc == 0; p++) {
            const uint8_t *row = v.packs + (size_t)p * RUN_PACK_BYTES;
            struct digest name;
            memcpy(name.b, row, DIGEST_BYTES);
            renumber[p] = UINT32_MAX;
            if (digest_in(gone->d, gone->n, &name)) continue;
            rc = mem_grow((void **)&packs, &pack_cap, kept + 1u, RUN_PACK_BYTES, err);
            if (rc == 0) {
                memcpy(packs + (size_t)kept * RUN_PACK_BYTES, row, RUN_PACK_BYTES);
                renumber[p] = kept++;
            }
        }
        if (rc == 0 && kept < v.pack_count) {
            rc = digests_add(removed, &r->index.names[i], err);
            for (uint64_t k = 0; k < v.entry_count && rc == 0; k++) {
                const uint8_t *e = v.entries + k * RUN_ENTRY_BYTES;
                bool delta = get_u32(e + 28) & ENTRY_DELTA;
                uint32_t pack = get_u32(e + 16);
                if (pack < v.pack_count && renumber[pack] != UINT32_MAX) {
                    if ((rc = mem_grow((void **)&entries, &cap, n + 1, sizeof *entries, err)) < 0) break;
                    struct run_entry *o = &entries[n++];
                    memcpy(o->id, e, ID_PREFIX_BYTES);
                    o->pack = renumber[pack];
                    o->frame = get_u32(e + 20);
                    o->plain_len = get_u32(e + 24);
                    o->flags = get_u32(e + 28);
                    if (delta) memcpy(o->base, e + RUN_ENTRY_BYTES + 16, ID_PREFIX_BYTES);
                }
                if (delta) k++;
            }
            struct digest name;
            if (rc == 0 && n) {
                rc = run_write(r, entries, n, packs, kept, &name, err);
                if (rc == 0) rc = digests_add(added, &name, err);
            }
        }
        seam_free(mem);
        seam_free(packs);
        seam_free(entries);
    }
    return rc < 0 ? rc : store_commit(r->store, err);
}

void gc_plan_free(struct gc_plan *p) {
    seam_free(p->dead);
    seam_free(p->dead_meta);
    seam_free(p->repack);
    *p = (struct gc_plan){0};
}

static int count_old(void *ctx, const struct store_object *o, struct error *err) {
    (void)err;
    struct {
        int64_t before;
        uint64_t n;
    } *c = ctx;
    if (o->created_ns < c->before) c->n++;
    return 0;
}

int gc_plan_make(struct repo *r, const struct gc_options *o, struct gc_plan *ret, struct error *err) {
    *ret = (struct gc_plan){0};
    struct digests live = {0};
    struct pack_facts all = {0};
    struct pack_use *use = NULL;
    size_t use_n = 0, cap = 0, cap2 = 0, cap3 = 0, dead_n = 0;
    if (r->keys->role != ROLE_ADMIN && r->keys->role != ROLE_PRUNE)
        return error_set(err, ERR_KEY_ROLE, "collecting needs a prune or admin key, and this one is a %s key",
                         key_role_name(r->keys->role));
    int rc = repo_sync(r, err);
    if (rc < 0) return rc;
    ret->log_size = ledger_size(r->ledger);
    if ((rc = live_pack_set(r, &live, err)) < 0) goto out;
    if ((rc = store_packs(r, &all, err)) < 0) goto out;
    for (size_t i = 0; i < all.n; i++) {
        const struct pack_fact *f = &all.f[i];
        if (digest_in(live.d, live.n, &f->name)) {
            ret->live_packs++;
            ret->live_bytes += f->bytes;
        } else if (f->created_ns > o->now_ns - o->grace_ns) {
            ret->young_packs++;
            ret->young_bytes += f->bytes;
        } else {
            if ((rc = mem_grow((void **)&ret->dead, &cap, dead_n + 1, sizeof *ret->dead, err)) < 0) goto out;
            if ((rc = mem_grow((void **)&ret->dead_meta, &cap2, dead_n + 1, sizeof *ret->dead_meta, err)) < 0) goto out;
            ret->dead[dead_n] = f->name;
            ret->dead_meta[dead_n++] = f->meta;
            ret->dead_packs++;
            ret->dead_bytes += f->bytes;
        }
    }
    if (o->repack_below > 0 && r->keys->read_secret) {
        struct error e = ERROR_INIT;
        rc = packs_use(r, &use, &use_n, &e);
        if (is_damage(rc) && !repo_log_moved(r)) {
            /* what a damaged snapshot still needs cannot be told chunk by chunk; its pack list still holds */
            ret->damaged = true;
            use_n = 0;
            rc = 0;
        }
        if (rc < 0) {
            *err = e;
            goto out;
        }
        for (size_t i = 0; i < use_n; i++) {
            const struct pack_fact *f = pack_fact_find(&all, &use[i].name);
            if (!f || !digest_in(live.d, live.n, &f->name) || f->created_ns > o->now_ns - o->grace_ns ||
                (double)use[i].live >= o->repack_below * (double)use[i].total)
                continue;
            if ((rc = mem_grow((void **)&ret->repack, &cap3, ret->repack_count + 1, sizeof *ret->repack, err)) < 0)
                goto out;
            ret->repack[ret->repack_count++] = f->name;
            ret->repack_packs++;
            ret->repack_bytes += f->bytes;
            ret->repack_live_bytes +=
                use[i].total ? (uint64_t)((double)f->bytes * (double)use[i].live / (double)use[i].total) : 0;
        }
    }
    struct {
        int64_t before;
        uint64_t n;
    } old = {o->now_ns - o->grace_ns, 0};
    rc = store_list(r->store, "sess/", count_old, &old, err);
    ret->sessions = old.n;
out:
    digests_free(&live);
    seam_free(all.f);
    seam_free(use);
    if (rc < 0) gc_plan_free(ret);
    if (rc == -ERR_OBJECT_MISSING && repo_log_moved(r)) {
        error_clear(err);
        rc = error_set(err, ERR_REPO_COMMIT_LOST, "another collection came in between");
    }
    return rc;
}

/* What is to be swept: index objects that nothing refers to, and resume states that nobody came back for. */
struct sweep {
    struct digests keep, index;
    int64_t before;
    char (*sessions)[96];
    size_t n, cap;
};

static void sweep_free(struct sweep *s) {
    digests_free(&s->keep);
    digests_free(&s->index);
    seam_free(s->sessions);
}

static int sweep_see(void *ctx, const struct store_object *o, struct error *err) {
    struct sweep *s = ctx;
    struct digest d;
    const char *name = strrchr(o->key, '/');
    if (!name || strlen(o->key) >= 96 || o->created_ns >= s->before) return 0;
    if (strncmp(o->key, "index/", 6) == 0) {
        if (!hex_decode(name + 1, strlen(name + 1), d.b, DIGEST_BYTES) || digest_in(s->keep.d, s->keep.n, &d)) return 0;
        return digests_add(&s->index, &d, err);
    }
    int rc = mem_grow((void **)&s->sessions, &s->cap, s->n + 1, sizeof *s->sessions, err);
    if (rc == 0) snprintf(s->sessions[s->n++], 96, "%s", o->key);
    return rc;
}

/* Before the entry: a writer that is about to refer to one of these must be able to read so in the log, like with
 * packs. */
static int sweep_plan(struct repo *r, const struct gc_options *o, const struct digests *added,
                      const struct digests *removed, struct sweep *ret, struct error *err) {
    struct sweep s = {.before = o->now_ns - o->grace_ns};
    const struct state *st = &r->state;
    int rc = 0;
    for (size_t i = 0; i < st->run_count && rc == 0; i++) {
        bool goes = false;
        for (size_t k = 0; k < removed->n; k++) goes |= digest_equal(&removed->d[k], &st->runs[i]);
        if (!goes) rc = digests_add(&s.keep, &st->runs[i], err);
    }
    for (size_t i = 0; i < added->n && rc == 0; i++) rc = digests_add(&s.keep, &added->d[i], err);
    for (size_t i = 0; i < st->epoch_count && rc == 0; i++) rc = digests_add(&s.keep, &st->epochs[i].keys, err);
    for (size_t i = 0; i < st->snapshot_count && rc == 0; i++)
        if (!st->snapshots[i].forgotten) rc = digests_add(&s.keep, &st->snapshots[i].packs, err);
    for (size_t i = 0; i < st->delete_count && rc == 0; i++) {
        rc = st->deletes[i].has_packs ? digests_add(&s.keep, &st->deletes[i].packs, err) : 0;
        if (rc == 0 && st->deletes[i].has_replacement) rc = digests_add(&s.keep, &st->deletes[i].replaced_by, err);
        if (rc == 0 && st->deletes[i].has_swept) rc = digests_add(&s.keep, &st->deletes[i].swept, err);
    }
    s.keep.n = digest_sort_unique(s.keep.d, s.keep.n);
    if (rc == 0) rc = store_list(r->store, "index/", sweep_see, &s, err);
    if (rc == 0) rc = store_list(r->store, "sess/", sweep_see, &s, err);
    if (rc < 0)
        sweep_free(&s);
    else
        *ret = s;
    return rc;
}

/* What is locked is counted and left. */
static int reclaim(struct repo *r, const char *key, uint64_t bytes, struct gc_plan *plan, struct error *err) {
    int64_t until_ns;
    int rc = store_reclaim(r->store, key, &until_ns, err);
    if (rc < 0 || until_ns == 0) return rc;
    plan->locked++;
    plan->locked_packs += bytes > 0;
    plan->locked_bytes += bytes;
    if (until_ns > plan->locked_until_ns) plan->locked_until_ns = until_ns;
    return 0;
}

static int sweep_act(struct repo *r, const struct sweep *s, struct gc_plan *plan, struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < s->index.n && rc == 0; i++) {
        char key[96];
        run_key(&s->index.d[i], key);
        rc = reclaim(r, key, 0, plan, err);
    }
    for (size_t i = 0; i < s->n && rc == 0; i++) rc = store_remove(r->store, s->sessions[i], err);
    return rc;
}

/* Takes out of `names` what an earlier entry has deleted: it only still lies there, and the log need not say so twice.
 */
static int forget_deleted(struct repo *r, bool swept, struct digests *names, struct error *err) {
    int rc = 0;
    for (size_t i = r->state.delete_count; i-- > 0 && names->n > 0 && rc == 0;) {
        const struct delete_info *d = &r->state.deletes[i];
        struct digest *list;
        size_t n, w = 0;
        if (swept ? !d->has_swept : !d->has_packs) continue;
        if ((rc = packlist_read(r, swept ? &d->swept : &d->packs, &list, &n, err)) < 0) break;
        for (size_t k = 0; k < names->n; k++)
            if (!digest_in(list, n, &names->d[k])) names->d[w++] = names->d[k];
        names->n = w;
        seam_free(list);
    }
    return rc;
}

static int copy_digests(struct digests *to, const struct digests *from, struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < from->n && rc == 0; i++) rc = digests_add(to, &from->d[i], err);
    return rc;
}

static int collect_once(struct repo *r, const struct gc_options *o, struct gc_plan *plan, struct error *err) {
    struct digests gone = {0}, fresh = {0}, added = {0}, removed = {0}, gone_new = {0}, swept_new = {0};
    struct pack_facts all = {0}, again = {0};
    struct sweep sweep = {0};
    int rc = gc_plan_make(r, o, plan, err);
    if (rc < 0) return rc;
    if (plan->dead_packs || plan->repack_count) {
        if ((rc = store_packs(r, &all, err)) < 0) goto out;
        for (size_t i = 0; i < plan->repack_count && rc == 0; i++) {
            const struct pack_fact *f = pack_fact_find(&all, &plan->repack[i]);
            rc = f ? mem_grow((void **)&again.f, &again.cap, again.n + 1, sizeof *again.f, err) : 0;
            if (f && rc == 0) again.f[again.n++] = *f;
        }
        if (rc == 0 && again.n) rc = repack(r, &again, &fresh, &added, &plan->repack_live_bytes, err);
        for (size_t i = 0; i < plan->dead_packs && rc == 0; i++) rc = digests_add(&gone, &plan->dead[i], err);
        for (size_t i = 0; i < again.n && rc == 0; i++) rc = digests_add(&gone, &again.f[i].name, err);
        gone.n = digest_sort_unique(gone.d, gone.n);
        if (rc == 0) rc = runs_without(r, &gone, &added, &removed, err);
    }
    if (rc == 0) rc = sweep_plan(r, o, &added, &removed, &sweep, err);
    if (rc == 0) rc = copy_digests(&gone_new, &gone, err);
    if (rc == 0) rc = copy_digests(&swept_new, &sweep.index, err);
    if (rc == 0 && gone.n && !again.n) rc = forget_deleted(r, false, &gone_new, err);
    if (rc == 0 && sweep.index.n) rc = forget_deleted(r, true, &swept_new, err);
    if (rc == 0 && (gone_new.n || swept_new.n || added.n || removed.n)) {
        /* an empty list is one too: snapshots may list a pack of which they need nothing any more */
        rc = delete_append(r, plan->log_size, &gone_new, again.n ? &fresh : NULL, &added, &removed, &swept_new,
                           plan->dead_bytes + plan->repack_bytes, err);
        if (rc == 0) rc = repo_sync(r, err);
    }
    for (size_t i = 0; i < gone.n && rc == 0; i++) {
        const struct pack_fact *f = pack_fact_find(&all, &gone.d[i]);
        char key[96];
        if (!f) continue;
        pack_key(f->meta, &f->name, key);
        rc = reclaim(r, key, f->bytes, plan, err);
    }
    if (rc == 0) rc = sweep_act(r, &sweep, plan, err);
out:
    sweep_free(&sweep);
    digests_free(&gone_new);
    digests_free(&swept_new);
    digests_free(&gone);
    digests_free(&fresh);
    digests_free(&added);
    digests_free(&removed);
    seam_free(all.f);
    seam_free(again.f);
    return rc;
}

int gc_run(struct repo *r, const struct gc_options *o, struct gc_plan *ret, struct error *err) {
    for (int attempt = 1;; attempt++) {
        int rc = collect_once(r, o, ret, err);
        if (rc == 0) return 0;
        gc_plan_free(ret);
        if (rc != -ERR_REPO_COMMIT_LOST) return error_wrap(err, "collecting");
        error_clear(err);
        if (attempt < MARKINGS_MAX) continue;
        error_set(err, ERR_REPO_BUSY,
                  "others committed to the log each of the %d times that this collection had marked what is in use",
                  attempt);
        error_state(err, "no pack was removed; every recovery point is whole");
        return error_next(err, "Run 'proofkeep prune' again when fewer jobs commit to this repository.");
    }
}

struct forget {
    struct repo *r;
    const uint64_t *seqs;
    size_t n;
    json_t *statement;
};

static int build_forget(void *ctx, uint64_t seq, json_t **ret, struct error *err) {
    struct forget *f = ctx;
    (void)seq;
    for (size_t i = 0; i < f->n; i++)
        for (size_t k = 0; k < f->r->state.snapshot_count; k++) {
            const struct snapshot_info *s = &f->r->state.snapshots[k];
            if (s->seq == f->seqs[i] && s->holds)
                return error_set(err, ERR_PRUNE_HELD, "snapshot %s is on hold", s->id);
        }
    *ret = json_deep_copy(f->statement);
    return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a log entry");
}

int repo_forget(struct repo *r, const uint64_t *seqs, size_t n, const char *reason, struct error *err) {
    if (r->keys->role != ROLE_ADMIN && r->keys->role != ROLE_PRUNE)
        return error_set(err, ERR_KEY_ROLE, "pruning needs a prune or admin key, and this one is a %s key",
                         key_role_name(r->keys->role));
    int rc = repo_writable(r, err);
    if (rc < 0) return rc;
    /* an entry is bounded, so long lists become several entries */
    for (size_t at = 0; at < n && rc == 0; at += 1024) {
        size_t part = n - at < 1024 ? n - at : 1024;
        json_t *p = json_object(), *s = NULL, *a = json_array();
        struct digest d;
        rc = json_put(p, "seqs", a, err);
        for (size_t i = 0; i < part && rc == 0; i++) rc = json_push(a, json_integer((json_int_t)seqs[at + i]), err);
        if (rc == 0) rc = json_put_str(p, "reason", reason, err);
        sha256(BYTES_OF(seqs + at, part * sizeof *seqs), &d);
        if (rc == 0)
            rc = statement_make(PREDICATE_FORGET, "snapshots", &d, p, &s, err);
        else
            json_decref(p);
        struct forget f = {r, seqs + at, part, s};
        if (rc == 0) rc = ledger_append(r->ledger, secret_bytes(r->keys->sign_seed), build_forget, &f, NULL, NULL, err);
        json_decref(s);
    }
    return rc;
}
